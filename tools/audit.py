"""Look for known vulnerabilities in the packages that are pinned for the image: ``make audit``.

pip-audit asks a service about each distribution. On its own it exits with 0 when the service knows none of them, and with
1 both for a vulnerability and for a service that cannot be reached. Here each is said, and has an exit status of its own:

  0  every distribution was looked up, and none has a known vulnerability
  1  there is a known vulnerability
  3  some could not be looked up, and none of the others has one: unknown, which is not good

The services are asked one after the other, the next one when the one before left something open.

Usage: python -m tools.audit [--service NAME ...] [--osv-url URL]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tools.lock_file import pins_of

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = (ROOT / "requirements/runtime.txt", ROOT / "requirements/build.txt")
SERVICES: Final = ("pypi", "osv")
SECONDS: Final = 180
"""For each service."""

CLEAN: Final = 0
VULNERABLE: Final = 1
UNKNOWN: Final = 3

_WIDTH: Final = 100


@dataclass(slots=True)
class Answer:
    """The answer of one service."""

    looked_up: set[str] = field(default_factory=set)
    vulnerable: set[str] = field(default_factory=set)
    """A sentence for each vulnerability."""
    excuse: str = ""
    """Why something was not looked up."""


def read(output: str, errors: str) -> Answer:
    """Read the output of pip-audit, whose exit status is not enough."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Answer(excuse=(errors.strip().splitlines() or ["it said nothing"])[-1])
    answer = Answer()
    for each in dependencies:
        if "skip_reason" in each:
            answer.excuse = answer.excuse or each["skip_reason"]
            continue
        answer.looked_up.add(each["name"])
        for found in each["vulns"]:
            fixed = f"fixed in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "not fixed yet"
            answer.vulnerable.add(f"{each['name']} {each['version']}: {found['id']}, {fixed}")
    return answer


def ask(service: str, osv_url: str | None) -> Answer:
    """Ask one service about all distributions."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", f"--vulnerability-service={service}"]
    command += ["--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += [f"--requirement={lock}" for lock in LOCKS]
    if osv_url:
        command += [f"--osv-url={osv_url}"]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and constants
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(excuse=f"no answer in {SECONDS} s")
    return read(done.stdout, done.stderr)


def main(arguments: Sequence[str], ask: Callable[[str, str | None], Answer] = ask) -> int:
    """Ask, report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="make audit", description="Look for known vulnerabilities in what is pinned.")
    parser.add_argument("--service", action="append", choices=["pypi", "osv", "esms"], help="whom to ask, in turn")
    parser.add_argument("--osv-url", help="where OSV's API is, if not at its usual place")
    options = parser.parse_args(arguments)

    pinned = {pin.name for lock in LOCKS for pin in pins_of(lock) if pin.holds_here}
    answers: dict[str, Answer] = {}
    for service in options.service or SERVICES:
        answers[service] = ask(service, options.osv_url)
        if not pinned - _looked_up(answers):
            break
    return report(pinned, answers)


def report(pinned: set[str], answers: dict[str, Answer]) -> int:
    """Print the vulnerabilities and the distributions that are unknown, and return the exit status."""
    vulnerable = sorted({sentence for answer in answers.values() for sentence in answer.vulnerable})
    unknown = pinned - _looked_up(answers)
    for sentence in vulnerable:
        print(f"VULNERABLE  {sentence}")
    if unknown:
        print("*" * _WIDTH)
        print(f"NOT AUDITED: {len(unknown)} of {len(pinned)} pinned distributions could not be looked up.")
        for service, answer in answers.items():
            print(f"  {service}: {answer.excuse or 'not among those that it was asked about'}"[:_WIDTH])
        print("Whether they have known vulnerabilities is unknown. Run `make audit` where such a service is reached.")
        print("*" * _WIDTH)
    if vulnerable:
        return VULNERABLE
    if unknown:
        return UNKNOWN
    print(f"{len(pinned)} pinned distributions were looked up ({', '.join(answers)}): no known vulnerability.")
    return CLEAN


def _looked_up(answers: dict[str, Answer]) -> set[str]:
    return set[str]().union(*(answer.looked_up for answer in answers.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
