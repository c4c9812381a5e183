"""Read the environment variables once, at the start. All other modules receive a `Settings`.

The service reports all problems together, each with its variable and its remedy. No setting turns authentication off.
"""

import contextlib
import difflib
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from pydantic import PrivateAttr

from app.aws.own_endpoints import OwnEndpoint, find_own_endpoint
from app.settings.admission import AdmissionSettings, ProxyTypeSettings, RoleSettings
from app.settings.admission_rules import ADMISSION_RULES
from app.settings.parsing import InvalidFieldError, Problem, variable_of
from app.settings.serving import ListenerSettings, LogSettings, StoreSettings, TokenSettings
from app.settings.serving_rules import SERVING_RULES
from app.settings.upstreams import UpstreamSettings
from app.settings.values import mask_url
from app.settings.warnings import find_warnings
from app.sts.endpoints import implicit_region

PREFIX: Final = "KMESH_AWSIAM_"
_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
# The ignored variables: the proxy variables, and the variables with which other tools set trusted certificates. For trusted
# certificates, only AWS_CA_BUNDLE has an effect.
_IGNORED_VARIABLES: Final = (*_PROXY_VARIABLES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class SettingsError(Exception):
    """The environment is invalid; ``problems`` lists every fault."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


# In the order of all fields, the fields of the last base class come first.
class Settings(
    UpstreamSettings,
    LogSettings,
    TokenSettings,
    StoreSettings,
    ListenerSettings,
    RoleSettings,
    AdmissionSettings,
    ProxyTypeSettings,
):
    """Every setting, parsed. `load_settings` returns a value only if every rule is met."""

    _ignored: tuple[str, ...] = PrivateAttr(
        default_factory=lambda: tuple(name for name in _PROXY_VARIABLES if os.environ.get(name))
    )

    @property
    def own_region(self) -> str:
        """The region of the service's own calls. botocore itself reads only ``AWS_DEFAULT_REGION``."""
        return self.aws_region or self.aws_default_region or implicit_region(self.partition)

    @property
    def own_sts_endpoint(self) -> OwnEndpoint:
        """The endpoint of the service's own calls to STS, and the scope that they are signed for."""
        return find_own_endpoint(
            "sts", self.own_region, fips=self.use_fips, dual_stack=self.use_dual_stack, url=self.own_sts_url
        )

    @property
    def own_iam_endpoint(self) -> OwnEndpoint:
        """The endpoint of calls to IAM, and the scope that they are signed for."""
        return find_own_endpoint(
            "iam", self.own_region, fips=self.use_fips, dual_stack=self.use_dual_stack, url=self.own_iam_url
        )

    def warnings(self) -> Iterator[str]:
        """Return warnings about settings that are a risk, and about settings that have no effect."""
        yield from find_warnings(self)
        for name in self._ignored:
            yield f"{name} is ignored; set KMESH_AWSIAM_HTTPS_PROXY to reach STS and IAM through a proxy"

    def effective(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each variable, its effective value without secrets, and whether the environment set it."""
        for name in type(self).model_fields:
            yield variable_of(type(self), name), shown(name, getattr(self, name)), name in self.model_fields_set


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
    settings = Settings()
    given = [name for name, text in os.environ.items() if text]
    problems: dict[str, Problem] = {}
    for problem in (*settings.faults(), *_find_broken_rules(settings), *_find_unknown(given)):
        problems.setdefault(problem.variable, problem)
    if problems:
        raise SettingsError(list(problems.values()))
    return settings


def _find_broken_rules(settings: Settings) -> Iterator[Problem]:
    for rule in RULES:
        with contextlib.suppress(InvalidFieldError):
            yield from rule(settings)


def _find_unknown(given: Collection[str]) -> Iterator[Problem]:
    known = [variable_of(Settings, field) for field in Settings.model_fields]
    for name in sorted(given):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            yield Problem(name, f"no such setting; {hint} (a misspelt one would be silently without effect)")


def discard_ignored_environment() -> None:
    """Remove the ignored variables from this process's environment. The SDK's requests for credentials would use them (I9).

    ``serve`` calls this after it has read the settings and the warnings.
    """
    for name in _IGNORED_VARIABLES:
        os.environ.pop(name, None)


def shown(field: str, value: Any) -> str:
    """Return a field's value as ``check-config`` prints it, without secrets."""
    if field == "reader_external_id" and value is not None:
        return "(set, not shown)"
    match value:
        case None:
            text = "(unset)"
        case bool():
            text = str(value).lower()
        case frozenset():
            text = ",".join(sorted(value)) or "(all)"
        case dict():
            text = ",".join(f"{account}={'|'.join(sorted(meshes))}" for account, meshes in sorted(value.items()))
        case str() if field.endswith(("_proxy", "_url")):
            text = mask_url(value)
        case _:
            text = str(value)
    return text
