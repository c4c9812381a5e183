"""Read the environment once, at the start, and report all problems together, each with its variable and its remedy."""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from app.settings.admission_rules import ADMISSION_RULES, ROLE_RULES
from app.settings.environment import Settings
from app.settings.parsing import InvalidFieldError, Problem, variable_of
from app.settings.serving_rules import SERVING_RULES

PREFIX: Final = "KMESH_AWSIAM_"


class SettingsError(Exception):
    """The environment is invalid; ``problems`` lists every fault."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


# A rule yields the problems that involve several variables. When a rule reads a field whose text is invalid, the rule ends:
# that field already has a problem of its own, and without its value the rule could report a wrong problem. A rule reads
# ``model_fields_set`` to know whether a variable is set.
Rule = Callable[[Settings], Iterator[Problem]]
RULES: Final[tuple[Rule, ...]] = (*ADMISSION_RULES, *SERVING_RULES)


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: the environment is invalid; the error has all problems, one for each variable.
    """
    return _require(*examine_settings())


def load_role_settings() -> Settings:
    """Read the environment of a process that reads roles and serves no API. Which proxies use aws-iam need not be set.

    Raises:
        SettingsError: as `load_settings` does.
    """
    return _require(*examine_settings(ROLE_RULES))


def _require(settings: Settings, problems: list[Problem]) -> Settings:
    if problems:
        raise SettingsError(problems)
    return settings


def examine_settings(rules: Iterable[Rule] = RULES) -> tuple[Settings, list[Problem]]:
    """Read the environment for a diagnosis. The list has all problems, one for each variable.

    If there are problems, the settings may break rules, and reading a field whose text is invalid raises
    `InvalidFieldError`.
    """
    settings = Settings()
    problems: dict[str, Problem] = {}
    for problem in (*settings.faults(), *_find_broken_rules(settings, rules), *_find_unknown(settings)):
        problems.setdefault(problem.variable, problem)
    return settings, list(problems.values())


def _find_broken_rules(settings: Settings, rules: Iterable[Rule]) -> Iterator[Problem]:
    for rule in rules:
        with contextlib.suppress(InvalidFieldError):
            yield from rule(settings)


def _find_unknown(settings: Settings) -> Iterator[Problem]:
    known = [variable_of(Settings, field) for field in Settings.model_fields]
    for name in sorted(settings.given_variables):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            yield Problem(name, f"no such setting; {hint} (a misspelt one would be silently without effect)")
