"""The settings that are a policy: which accounts, meshes, roles and types of proxies, and their rules.

The service enforces the policy of its environment. `app.settings.policy_file` reads another one from a file.
"""

import contextlib
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, TypedDict

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.core.proxy import ProxyType
from app.core.role_grant import AccountMeshes
from app.policy.verdict import AccessPolicy
from app.settings.admission import AWS_IAM, AdmissionSettings, ProxyTypeSettings
from app.settings.parsing import InvalidFieldError, Problem, variable_of

# Settings of `AdmissionSettings` about credentials and STS. A decision applies them before it knows the role.
_ABOUT_CREDENTIALS: Final = frozenset(
    {"audience", "allow_unbound", "credential_forms", "regions", "extra_regions", "partition"}
)
_KEEP_ONE: Final = "they disagree about aws-iam; keep the first for a control plane before 2.7, otherwise the second"


class PolicySettings(AdmissionSettings, ProxyTypeSettings):
    """The settings of a policy. `policy_variables` names them; the others of the two groups are about credentials."""


class GivenPolicySettings(PolicySettings):
    """The settings of a policy, from the keyword arguments alone. The environment is not read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes all of these by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the only source of values."""
        return (init_settings,)


def policy_variables() -> tuple[str, ...]:
    """Return the names of the variables of a policy, in the order of the documentation."""
    fields = PolicySettings.model_fields
    return tuple(variable_of(PolicySettings, field) for field in fields if field not in _ABOUT_CREDENTIALS)


def policy_problems(settings: PolicySettings) -> list[Problem]:
    """Return the problems of the variables of a policy, each variable once."""
    named = policy_variables()
    faults = [problem for problem in settings.faults() if problem.variable in named]
    problems: dict[str, Problem] = {}
    for problem in (*faults, *_find_broken_rules(settings)):
        problems.setdefault(problem.variable, problem)
    return list(problems.values())


class GrantOptions(TypedDict):
    """The arguments of `app.core.role_grant.GrantPolicy`, which `DecisionPolicy` and `AccessPolicy` extend."""

    enabled_types: AbstractSet[ProxyType]
    require_service: bool
    require_workload: bool
    allow_unbound_workloads: bool
    role_path_prefix: str | None
    account_meshes: AccountMeshes | None
    zone: str | None


def grant_options(settings: PolicySettings) -> GrantOptions:
    """Return what valid settings say about grants. Everything that decides about roles takes it from here."""
    return GrantOptions(
        enabled_types=settings.enabled_types,
        require_service=settings.require_service_tag,
        require_workload=settings.require_workload_tag,
        allow_unbound_workloads=settings.allow_unbound_workloads,
        role_path_prefix=settings.role_path_prefix,
        account_meshes=settings.account_meshes,
        zone=settings.zone,
    )


def access_policy(settings: PolicySettings) -> AccessPolicy:
    """Return the policy of valid settings, with the accounts that were listed when the settings were read."""
    return AccessPolicy(accounts=settings.authorized_accounts, **grant_options(settings))


def _find_broken_rules(settings: PolicySettings) -> Iterator[Problem]:
    for rule in POLICY_RULES:
        with contextlib.suppress(InvalidFieldError):
            yield from rule(settings)


def _a_proxy_type_uses_aws_iam(settings: PolicySettings) -> Iterator[Problem]:
    if not settings.enabled_types:
        yield Problem(
            "KUMA_DP_SERVER_AUTH_TYPE or KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE / KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
            "none of them says aws-iam, so there is nothing to authenticate; set the first for a control plane of 2.0 to "
            "2.6, or the others for 2.7 and later, to aws-iam",
        )


def _generations_agree_on_data_planes(settings: PolicySettings) -> Iterator[Problem]:
    if _disagree(settings.auth_type, settings.dp_proxy_type):
        yield Problem("KUMA_DP_SERVER_AUTH_TYPE and KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", _KEEP_ONE)


def _generations_agree_on_zone_proxies(settings: PolicySettings) -> Iterator[Problem]:
    if _disagree(settings.auth_type, settings.zone_proxy_type):
        yield Problem("KUMA_DP_SERVER_AUTH_TYPE and KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", _KEEP_ONE)


def _disagree(old: str | None, new: str | None) -> bool:
    return old is not None and new is not None and (old == AWS_IAM) != (new == AWS_IAM)


def _accounts_are_listed_once(settings: PolicySettings) -> Iterator[Problem]:
    given = settings.model_fields_set & {"accounts", "accounts_file"}
    if not given:
        yield Problem(
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS",
            "set it to the AWS account ids whose roles may join: 111122223333,444455556666 (or "
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE)",
        )
    if len(given) > 1:
        yield Problem(
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS and KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE",
            "exactly one of them is to be set; remove one",
        )


def _accounts_have_meshes(settings: PolicySettings) -> Iterator[Problem]:
    try:
        settings.check_accounts(settings.authorized_accounts)
    except ValueError as error:
        yield Problem("KMESH_AWSIAM_ACCOUNT_MESHES", str(error))


PolicyRule = Callable[[PolicySettings], Iterator[Problem]]
# These rules apply to the controller too, which has no types of proxies.
ACCOUNT_RULES: Final[tuple[PolicyRule, ...]] = (_accounts_are_listed_once, _accounts_have_meshes)
POLICY_RULES: Final[tuple[PolicyRule, ...]] = (
    _a_proxy_type_uses_aws_iam,
    _generations_agree_on_data_planes,
    _generations_agree_on_zone_proxies,
    *ACCOUNT_RULES,
)
