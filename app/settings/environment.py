"""The environment variables, each parsed by itself. `app.settings.loading` applies the rules that involve several of them.

No setting turns authentication off.
"""

import os
from collections.abc import Iterator
from typing import Any, Final

from pydantic import PrivateAttr

from app.aws.own_endpoints import OwnEndpoint, find_own_endpoint
from app.settings.admission import AdmissionSettings, ProxyTypeSettings, RoleSettings
from app.settings.candidate import CandidateSettings
from app.settings.parsing import variable_of
from app.settings.policy import PolicySettings
from app.settings.serving import ListenerSettings, LogSettings, StoreSettings, TokenSettings
from app.settings.upstreams import UpstreamSettings
from app.settings.values import mask_url
from app.sts.endpoints import implicit_region

_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
# The ignored variables: the proxy variables, and the variables with which other tools set trusted certificates. For trusted
# certificates, only AWS_CA_BUNDLE has an effect. The last one names propagators of OpenTelemetry: the service reads the W3C
# context alone, and a propagator that is not installed would end the start.
_IGNORED_VARIABLES: Final = (*_PROXY_VARIABLES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OTEL_PROPAGATORS")


# In the order of all fields, the fields of the last base class come first.
class Settings(
    UpstreamSettings,
    LogSettings,
    TokenSettings,
    StoreSettings,
    ListenerSettings,
    RoleSettings,
    CandidateSettings,
    PolicySettings,
    AdmissionSettings,
    ProxyTypeSettings,
):
    """Every setting, parsed. `app.settings.loading.load_settings` returns a value only if every rule is met."""

    _given: tuple[str, ...] = PrivateAttr(
        default_factory=lambda: tuple(name for name, text in os.environ.items() if text)
    )

    @property
    def given_variables(self) -> tuple[str, ...]:
        """The names of all environment variables that were not empty, including those of other programs."""
        return self._given

    @property
    def ignored_proxies(self) -> list[str]:
        """The variables that name a proxy and have no effect."""
        return [name for name in _PROXY_VARIABLES if name in self._given]

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

    def effective(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each variable, its effective value without secrets, and whether the environment set it."""
        for name in type(self).model_fields:
            yield variable_of(type(self), name), shown(name, getattr(self, name)), name in self.model_fields_set


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
