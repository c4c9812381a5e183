"""A policy in a file: for ``preview``, and for the report-only policy of the service.

The file has one ``NAME=VALUE`` a line, as ``docker run --env-file`` and ``environmentFiles`` of ECS read it: no quotes, no
expansion, and ``#`` starts a comment only at the beginning of a line. It is a whole policy: a variable that the file does
not set has its default, whatever the environment has. So the file means the same on every machine.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.local.trusted_files import read_lines, require_regular
from app.policy.verdict import AccessPolicy
from app.settings.parsing import Problem, variable_of
from app.settings.policy import GivenPolicySettings, PolicySettings, access_policy, policy_problems, policy_variables

_PREFIX: Final = "KMESH_AWSIAM_"
_QUOTES: Final = ("'", '"')


class PolicyError(ValueError):
    """The policy is invalid; ``problems`` lists every fault, each with its line where it has one."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy, and the file that it was read from.

    Attributes:
        path: the file.
        policy: the policy.
        paths: the file, and the file of accounts if it names one.
        ignored: variables in the file that belong to no policy.
    """

    path: Path
    policy: AccessPolicy
    paths: tuple[Path, ...]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.path)


def read_policy_file(text: str) -> PolicyFile:
    """Read a policy from a file.

    Raises:
        PolicyError: the file cannot be read, or its policy is invalid.
    """
    path = Path(text)
    try:
        require_regular(path)
        lines = read_lines(path, Path.read_bytes)
    except ValueError as error:
        raise PolicyError([str(error)]) from error
    values, numbers, problems = _read_variables(lines)
    policy_names = policy_variables()
    problems += [problem for name in values if (problem := _unknown(name, numbers[name]))]
    given: dict[str, Any] = {name: value for name, value in values.items() if name in policy_names}
    settings = GivenPolicySettings(**given)
    problems += [_with_line(problem, numbers) for problem in policy_problems(settings)]
    if problems:
        raise PolicyError(problems)
    accounts = () if settings.accounts_file is None else (settings.accounts_file.path,)
    ignored = tuple(name for name in values if name not in policy_names)
    return PolicyFile(path, access_policy(settings), (path, *accounts), ignored)


def read_policy_of_environment() -> AccessPolicy:
    """Read the policy that a service with this environment would enforce.

    Raises:
        PolicyError: the policy is invalid.
    """
    settings = PolicySettings()
    problems = policy_problems(settings)
    if problems:
        raise PolicyError(map(str, problems))
    return access_policy(settings)


def _read_variables(lines: list[str]) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """Return the value and the line of each variable, and the problems of lines that set none."""
    values: dict[str, str] = {}
    numbers: dict[str, int] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().partition("=")
        if not equals or not name.isidentifier():
            problems.append(f"line {number}: write NAME=VALUE, without export and without blanks around the =")
        elif name in values:
            problems.append(
                f"line {number}: {name} is already set in line {numbers[name]}; remove one of the two lines"
            )
        elif value.startswith(_QUOTES):
            problems.append(f"line {number}: {name}: remove the quotes; they would be part of the value")
            value = value.strip("".join(_QUOTES))
        values.setdefault(name, value)
        numbers.setdefault(name, number)
    return values, numbers, problems


def _unknown(name: str, number: int) -> str | None:
    """Return the problem of a variable that no part of the service knows, and that would have no effect."""
    known = _all_variables()
    if not name.startswith(_PREFIX) or name in known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    return f"line {number}: {name}: no such setting; {f'did you mean {near[0]}?' if near else 'remove it'}"


def _all_variables() -> list[str]:
    from app.settings.environment import Settings  # noqa: PLC0415 - it has a field that this module parses

    return [variable_of(Settings, field) for field in Settings.model_fields]


def _with_line(problem: Problem, numbers: dict[str, int]) -> str:
    number = numbers.get(problem.variable)
    return str(problem) if number is None else f"line {number}: {problem}"
