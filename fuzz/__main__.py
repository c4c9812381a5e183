"""Fuzz every parser for a while, two at a time, and print a table; exit status 1 if one of them broke a property."""

import argparse
import base64
import hashlib
import importlib.util
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).parents[1]
AT_ONCE: Final = 3
MAX_INPUT_BYTES: Final = 13 * 1024  # a credential has at most 12 KiB
SECONDS_FOR_ONE_INPUT: Final = 5
MEMORY_MIB: Final = 2048
# To start, to read the seeds, and to write the statistics.
SPARE_SECONDS: Final = 120
# libFuzzer's own, where an input is found that breaks something: a crash, an exception, too slow, or too large.
_FOUND: Final = re.compile(r"(?:crash|leak|oom|timeout|slow-unit)-[0-9a-f]{40}")
_STATUS: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one target.

    Attributes:
        target: its name.
        executions: calls of it.
        edges: places in the instrumented code that were reached.
        features: places with how often, as libFuzzer counts them.
        corpus: inputs that reached something of their own.
        seconds: of wall time.
        finding: the input that breaks a property.
        output: what the worker wrote of it.
        ended_well: whether it ended by itself, with nothing found.
    """

    target: str
    executions: int
    edges: int
    features: int
    corpus: int
    seconds: float
    finding: bytes | None
    output: str
    ended_well: bool


def main() -> int:
    """Run the targets that are named, or all."""
    if importlib.util.find_spec("atheris") is None:
        print(
            "Nothing is fuzzed: atheris is not installed. It has wheels for CPython 3.11 to 3.13 on Linux x86-64; this is "
            f"Python {platform.python_version()} on {platform.system()} {platform.machine()}. There, run: make fuzz",
            file=sys.stderr,
        )
        return 2
    options = _parse_arguments()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda target: _fuzz(target, options.seconds), options.targets))
    print("\n".join(_table(outcomes)))
    failed = [outcome for outcome in outcomes if not outcome.ended_well]
    for outcome in failed:
        print(f"\n{outcome.target}:\n{outcome.output}")
        if outcome.finding is not None:
            print(f"reproducer (base64): {base64.b64encode(outcome.finding).decode()}")
            print(f"again: echo BASE64 | base64 -d > input; python -m fuzz.worker {outcome.target} input")
    return 1 if failed else 0


def _parse_arguments() -> argparse.Namespace:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - not before atheris is known to be there

    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all of them without")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    options.targets = options.targets or list(TARGETS)
    return options


def _fuzz(target: str, seconds: int) -> Outcome:
    """Fuzz one target in a process of its own, from seeds in a folder that goes with it."""
    with TemporaryDirectory(prefix=f"fuzz-{target}-") as folder:
        seeds, words = Path(folder, "seeds"), Path(folder, "words")
        _write_seeds(target, seeds, words)
        command = [
            *(sys.executable, "-m", "fuzz.worker", target, str(seeds)),
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={SECONDS_FOR_ONE_INPUT}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-dict={words}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
            "-verbosity=1",
        ]
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=seconds + SPARE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        output = (done.stdout + done.stderr).decode(errors="replace")
        found = [path.read_bytes() for path in sorted(Path(folder).iterdir()) if _FOUND.fullmatch(path.name)]
    edges, features, corpus = map(int, (_STATUS.findall(output) or [(0, 0, 0)])[-1])
    executions = [int(total or number) for total, number in _EXECUTIONS.findall(output)]
    return Outcome(
        target=target,
        executions=max(executions, default=0),
        edges=edges,
        features=features,
        corpus=corpus,
        seconds=time.perf_counter() - started,
        finding=found[0] if found else None,
        output=_excerpt(output),
        ended_well=done.returncode == 0 and not found and bool(executions),
    )


def _excerpt(output: str) -> str:
    """Return the traceback of a finding, else the end of the output."""
    found = re.search(r"=== Uncaught Python exception: ===\n(.*?)\n\n", output, re.DOTALL)
    return found[1] if found else "\n".join(output.splitlines()[-20:])


def _write_seeds(target: str, seeds: Path, words: Path) -> None:
    from fuzz.seeds import seeds_of, words_of  # noqa: PLC0415 - they need the tests' own tools

    seeds.mkdir()
    for seed in seeds_of(target):
        (seeds / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    words.write_text("".join(f"{_quote(word)}\n" for word in words_of(target)), encoding="ascii")


def _quote(word: str) -> str:
    """Write a word as libFuzzer's dictionaries have it."""
    return '"' + "".join(f"\\x{byte:02x}" if chr(byte) in '"\\' else chr(byte) for byte in word.encode("ascii")) + '"'


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    yield f"{'target':<14}{'executions':>12}{'cov':>7}{'ft':>7}{'corpus':>8}{'seconds':>9}  finding"
    for outcome in outcomes:
        finding = "none" if outcome.ended_well else "BROKEN"
        yield (
            f"{outcome.target:<14}{outcome.executions:>12,}{outcome.edges:>7}{outcome.features:>7}{outcome.corpus:>8}"
            f"{outcome.seconds:>9.0f}  {finding}"
        )


if __name__ == "__main__":
    sys.exit(main())
