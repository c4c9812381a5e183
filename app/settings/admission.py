"""The settings that say which proxies may join, from which accounts, and how the service reads their roles."""

from collections.abc import Set as AbstractSet
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from app.core.endpoints import StsEndpoints, select_endpoints
from app.core.kuma_version import KumaVersion, parse_kuma_version
from app.core.proxy import ProxyType
from app.core.role_grant import AccountMeshes
from app.core.signed_request import ALL_FORMS, CredentialForm
from app.settings.parsing import SettingsGroup, setting
from app.settings.values import (
    DEFAULT_AUDIENCE,
    AccountsFile,
    parse_account_meshes,
    parse_accounts,
    parse_audience,
    parse_external_id,
    parse_extra_regions,
    parse_forms,
    parse_regions,
    parse_role_name,
    parse_role_path_prefix,
    parse_zone,
    read_accounts_file,
)
from app.sts.endpoints import load_sts_endpoints, make_sts_endpoints

AWS_IAM: Final = "aws-iam"
_AuthType = Literal["aws-iam", "dpToken", "zoneToken", "serviceAccountToken", "none"]


class ProxyTypeSettings(SettingsGroup):
    """The types of proxies that use aws-iam. The variables are the control plane's own."""

    auth_type: _AuthType | None = setting(
        "KUMA_DP_SERVER_AUTH_TYPE",
        "Control plane 2.0 to 2.6. `aws-iam` turns on data plane proxies, ingresses and egresses. `dpToken`, "
        "`zoneToken`, `serviceAccountToken` and `none` leave them off.",
    )
    dp_proxy_type: _AuthType | None = setting(
        "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
        "Control plane 2.7 and later. `aws-iam` turns on data plane proxies.",
    )
    zone_proxy_type: _AuthType | None = setting(
        "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
        "Control plane 2.7 and later. `aws-iam` turns on ingresses and egresses.",
    )
    use_token_path: bool = setting(
        "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH",
        "Control plane 2.0 to 2.6. Must be `true` beside `aws-iam`: a credential lives 15 minutes and is renewed in"
        " a file.",
        default=False,
    )
    reloadable_tokens: bool = setting(
        "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS",
        "Control plane 2.7 and later. Must be `true` beside `aws-iam`, for the same reason.",
        default=False,
    )

    kuma_version: Annotated[KumaVersion | None, BeforeValidator(parse_kuma_version)] = setting(
        "KMESH_AWSIAM_KUMA_VERSION",
        "The version of the control plane, such as `3.0` or `2.14.3`. It changes no decision: the warnings at start, "
        "`check-config` and `doctor` name what this version does not accept, and the agent what it does not read in a file.",
    )

    @property
    def enabled_types(self) -> frozenset[ProxyType]:
        """The proxy types that use aws-iam."""
        if self.auth_type == AWS_IAM:
            return frozenset(ProxyType)
        dataplanes = {ProxyType.DATAPLANE} if self.dp_proxy_type == AWS_IAM else set()
        zone_proxies = {ProxyType.INGRESS, ProxyType.EGRESS} if self.zone_proxy_type == AWS_IAM else set()
        return frozenset(dataplanes | zone_proxies)


class AdmissionSettings(SettingsGroup):
    """The requirements on a credential and its role."""

    accounts: Annotated[frozenset[str] | None, BeforeValidator(parse_accounts)] = setting(
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS",
        "The AWS accounts whose roles may join: 12 digits each, separated by commas, without wildcards. Required, "
        "unless `KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE` is set. An empty list is refused.",
    )
    accounts_file: Annotated[AccountsFile | None, BeforeValidator(read_accounts_file)] = setting(
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE",
        "A UTF-8 file with the same list: one account a line; `#` starts a comment. The service reads the file "
        "again when it changes. Set exactly one of the two variables.",
    )
    account_meshes: Annotated[AccountMeshes | None, BeforeValidator(parse_account_meshes)] = setting(
        "KMESH_AWSIAM_ACCOUNT_MESHES",
        "The meshes that the roles of each account may have: `111122223333=default|payments,444455556666=*`. Every "
        "listed account needs an entry. `*` is every mesh, and **zone proxies need it**. Unset: no limit.",
    )
    audience: Annotated[str, BeforeValidator(parse_audience)] = setting(
        "KMESH_AWSIAM_AUDIENCE",
        "The audience that a credential's signature must cover: 1 to 255 printable ASCII characters. Give each "
        "control plane its own value. Do not use the name of an EKS cluster or the id of a Vault server, because "
        "their credentials would be accepted here, and the other way round. The default causes a warning.",
        default=DEFAULT_AUDIENCE,
    )
    allow_unbound: bool = setting(
        "KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS",
        "Also accept credentials whose signature covers no audience header. **Whoever received such a credential "
        "before can replay it**: only use this during a migration. A credential for another audience is still "
        "refused.",
        default=False,
    )
    credential_forms: Annotated[frozenset[CredentialForm], BeforeValidator(parse_forms)] = setting(
        "KMESH_AWSIAM_CREDENTIAL_FORMS",
        "The accepted [forms of credential](credential.md#forms), separated by commas: `native`, `jwt`, `eks`, "
        "`envelope`, `plain_envelope`. Any other form is `credential_malformed`. Tokens of this service are not "
        "affected. An empty list is refused.",
        default=ALL_FORMS,
    )
    regions: Annotated[frozenset[str], BeforeValidator(parse_regions)] = setting(
        "KMESH_AWSIAM_REGIONS",
        "The STS regions for which a credential may be signed, separated by commas. `aws-global` is the global "
        "endpoint. Unset: every region of the partition, and in `aws` the global endpoint. A list without a "
        "region, such as `,`, is refused.",
        default=frozenset(),
    )
    extra_regions: Annotated[frozenset[str] | None, BeforeValidator(parse_extra_regions)] = setting(
        "KMESH_AWSIAM_EXTRA_REGIONS",
        "Names of regions that are newer than the installed botocore, separated by commas: `eu-north-7`. Each has "
        "1 to 32 characters of `a-z 0-9 -`, in the form of the partition's region names. The service then accepts "
        "these regions in credentials and as `AWS_REGION`. If `KMESH_AWSIAM_REGIONS` is set, it must list them too.",
    )
    partition: str = setting(
        "KMESH_AWSIAM_PARTITION",
        "`aws`, `aws-cn`, `aws-us-gov`, `aws-eusc`, `aws-iso`, `aws-iso-b`, `aws-iso-e` or `aws-iso-f`.",
        default="aws",
    )
    require_service_tag: bool = setting(
        "KMESH_AWSIAM_REQUIRE_SERVICE_TAG",
        "Refuse data plane roles without `kuma.io/service`. Set it if a control plane below 2.13 checks tokens of "
        "this service, because it accepts a token without a service for every service. If "
        "`KMESH_AWSIAM_DATAPLANE_KEYS_FILE` is set and this is not, the service warns. Roles of zone proxies are "
        "not affected.",
        default=False,
    )
    require_workload_tag: bool = setting(
        "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG",
        "Refuse roles without `kuma.io/workload` (`role_workload_missing`), of data planes and of [zone proxies in "
        "a Dataplane](http-api.md#zone-proxies-in-a-dataplane). **Set it if a stock control plane of 2.13.0 to "
        "2.13.9, 2.14.0 or 2.14.1 checks tokens of this service**: these versions accept a token without a "
        "workload for every workload.",
        default=False,
    )
    allow_unbound_workloads: bool = setting(
        "KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS",
        "Let a proxy have the label `kuma.io/workload` although its role has no such tag. **Such a proxy chooses "
        "its workload itself**: only use this until the roles are tagged. It causes a warning.",
        default=False,
    )
    role_path_prefix: Annotated[str | None, BeforeValidator(parse_role_path_prefix)] = setting(
        "KMESH_AWSIAM_ROLE_PATH_PREFIX",
        "Accept only roles whose path in IAM begins with this text, for example `/mesh/`. The text begins and ends "
        "with `/`, and is no pattern. Other roles are denied with `role_path_not_allowed` ([Guard the "
        "tags](../how-to/guard-the-tags.md)). Presented tokens are not affected.",
    )
    zone: Annotated[str | None, BeforeValidator(parse_zone)] = setting(
        "KMESH_AWSIAM_ZONE",
        "The one zone of ingresses and egresses. If the role's tag or the proxy names another zone, the proxy is "
        "denied with `proxy_zone_mismatch`. If neither names a zone, a zone token is issued for this one. Zone "
        "proxies in a Dataplane are not affected. Unset: no limit.",
    )

    @property
    def authorized_accounts(self) -> frozenset[str]:
        """The authorized accounts, from the variable or from the file."""
        return self.accounts or (self.accounts_file.accounts if self.accounts_file else frozenset())

    @property
    def accepted_endpoints(self) -> StsEndpoints:
        """The STS endpoints that a credential may be signed for."""
        extra = (endpoint for region in self.extra_regions or () for endpoint in make_sts_endpoints(region))
        return select_endpoints((*load_sts_endpoints(), *extra), partition=self.partition, regions=self.regions)

    def check_accounts(self, accounts: AbstractSet[str]) -> None:
        """Check that ``KMESH_AWSIAM_ACCOUNT_MESHES``, if it is set, has an entry for every listed account.

        The service checks the list at the start, and again whenever it reads a new list from the file of accounts.

        Raises:
            ValueError: an account has no entry, so the service would deny every role of this account.
        """
        if self.account_meshes is not None and (missing := sorted(accounts - self.account_meshes.keys())):
            raise ValueError(f"every listed account must have an entry; add {', '.join(missing)} (=* for every mesh)")


class RoleSettings(SettingsGroup):
    """How roles are read, and how long their tags may be used."""

    reader_role_name: Annotated[str | None, BeforeValidator(parse_role_name)] = setting(
        "KMESH_AWSIAM_READER_ROLE_NAME",
        "The role to assume in each listed account other than the service's own, with its path if it has one: "
        "`kuma-reader` or `mesh/kuma-reader`.",
    )
    reader_external_id: Annotated[str | None, BeforeValidator(parse_external_id)] = setting(
        "KMESH_AWSIAM_READER_EXTERNAL_ID",
        "The external id that the trust policies of the reader roles require. Needs "
        "`KMESH_AWSIAM_READER_ROLE_NAME`. The value is never printed.",
        repr=False,
    )
    role_ttl: Annotated[float, Field(gt=0, le=3600)] = setting(
        "KMESH_AWSIAM_ROLE_TTL",
        "Seconds for which a role is cached after IAM's answer; over 0, at most 3600. A changed tag takes effect "
        "within this time. A longer time means fewer calls to IAM.",
        default=300,
    )
    role_max_stale: Annotated[float, Field(ge=0, le=86_400)] = setting(
        "KMESH_AWSIAM_ROLE_MAX_STALE",
        "Seconds for which a cached role is used while IAM does not answer, counted from IAM's last answer; 0 to "
        "86400. During an outage of IAM, a revocation takes effect after this time at the latest. A value below "
        "`KMESH_AWSIAM_ROLE_TTL` has no effect.",
        default=3600,
    )
    sts_rate: Annotated[float, Field(ge=1, le=100_000)] = setting(
        "KMESH_AWSIAM_STS_RATE",
        "Calls a second to STS, for each account and region; 1 to 100000. AWS allows 600, which the workloads' own "
        "`AssumeRole` calls share. Further calls wait, or are refused with `Retry-After`.",
        default=500,
    )
    iam_rate: Annotated[float, Field(ge=0.1, le=1_000)] = setting(
        "KMESH_AWSIAM_IAM_RATE",
        "Calls a second to IAM, for each account; 0.1 to 1000. AWS publishes no quota; users report 10 to 20.",
        default=8,
    )
    role_prefetch: bool = setting(
        "KMESH_AWSIAM_ROLE_PREFETCH",
        "Read all roles of every listed account by pages, at the start and before `KMESH_AWSIAM_ROLE_TTL` is over. "
        "The service's own role and each reader role need the permission `iam:GetAccountAuthorizationDetails`, "
        "which shows all policies of an account. Without the permission the service reads roles one by one.",
        default=False,
    )
