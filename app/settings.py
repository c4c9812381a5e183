"""The environment, read once at start. The only module that reads it; everything else is handed a `Settings`.

All problems are reported together, each with its variable and what to do. No setting turns authentication off.
The page docs/reference/configuration.md is compared with the fields below by a test.
"""

import os
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.adapters.sts_endpoints import implicit_region, load_sts_endpoints
from app.core.endpoints import StsEndpoint, StsEndpoints, select_endpoints
from app.core.proxy import ProxyType
from app.settings_checks import (
    ACCOUNTS,
    ACCOUNTS_FILE,
    AUTH_TYPE,
    DEFAULT_LISTEN,
    DP_PROXY_TYPE,
    RELOADABLE_TOKENS,
    USE_TOKEN_PATH,
    ZONE_PROXY_TYPE,
    Problem,
    cross_problems,
    enabled_types,
    environment_warnings,
    region_problems,
)
from app.settings_values import (
    AccountsFile,
    ListenAddress,
    mask_url,
    parse_accounts,
    parse_audience,
    parse_ca_file,
    parse_endpoint_url,
    parse_external_id,
    parse_listen_address,
    parse_proxy_url,
    parse_regions,
    parse_role_name,
    read_accounts_file,
)

PREFIX: Final = "KMESH_AWSIAM_"
DEFAULT_AUDIENCE: Final = "kuma-control-plane"

_AuthType = Literal["aws-iam", "dpToken", "zoneToken", "serviceAccountToken", "none"]
# NoDecode: pydantic-settings would read these as JSON.
_Accounts = Annotated[frozenset[str] | None, NoDecode, BeforeValidator(parse_accounts)]
_AccountsFile = Annotated[AccountsFile | None, NoDecode, BeforeValidator(read_accounts_file)]
_Regions = Annotated[frozenset[str], NoDecode, BeforeValidator(parse_regions)]
_Listen = Annotated[ListenAddress, NoDecode, BeforeValidator(parse_listen_address)]
_OptionalListen = Annotated[ListenAddress | None, NoDecode, BeforeValidator(parse_listen_address)]
_EndpointUrl = Annotated[str, BeforeValidator(parse_endpoint_url)]
_Audience = Annotated[str, BeforeValidator(parse_audience)]
_RoleName = Annotated[str, BeforeValidator(parse_role_name)]
_ExternalId = Annotated[str, BeforeValidator(parse_external_id)]


class SettingsError(Exception):
    """The environment does not do. ``problems`` holds all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Settings(BaseSettings):
    """Every setting, parsed. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=True, env_ignore_empty=True, validate_default=False
    )

    auth_type: _AuthType | None = Field(
        None, validation_alias=AUTH_TYPE, description="control plane 2.0-2.6: aws-iam turns on every proxy type"
    )
    dp_proxy_type: _AuthType | None = Field(
        None, validation_alias=DP_PROXY_TYPE, description="2.7+: aws-iam turns on data plane proxies"
    )
    zone_proxy_type: _AuthType | None = Field(
        None, validation_alias=ZONE_PROXY_TYPE, description="2.7+: aws-iam turns on ingresses and egresses"
    )
    use_token_path: bool = Field(
        default=False, validation_alias=USE_TOKEN_PATH, description="2.0-2.6: must be true beside aws-iam"
    )
    reloadable_tokens: bool = Field(
        default=False, validation_alias=RELOADABLE_TOKENS, description="2.7+: must be true beside aws-iam"
    )
    accounts: _Accounts = Field(None, validation_alias=ACCOUNTS, description="AWS accounts whose roles may join")
    accounts_file: _AccountsFile = Field(
        None, validation_alias=ACCOUNTS_FILE, description="a file of such accounts, one a line, read at start"
    )
    audience: _Audience = Field(
        DEFAULT_AUDIENCE, validation_alias=f"{PREFIX}AUDIENCE", description="what a credential must be bound to"
    )
    allow_unbound: bool = Field(
        default=False,
        validation_alias=f"{PREFIX}ALLOW_UNBOUND_CREDENTIALS",
        description="also accept credentials without an audience header; they are replayable",
    )
    regions: _Regions = Field(
        frozenset(),
        validation_alias=f"{PREFIX}REGIONS",
        description="STS regions accepted; empty: all of the partition",
    )
    partition: str = Field("aws", validation_alias=f"{PREFIX}PARTITION", description="the AWS partition")
    https_proxy: Annotated[str, BeforeValidator(parse_proxy_url)] | None = Field(
        None, validation_alias=f"{PREFIX}HTTPS_PROXY", description="one explicit proxy towards STS and IAM"
    )
    require_service_tag: bool = Field(
        default=False,
        validation_alias=f"{PREFIX}REQUIRE_SERVICE_TAG",
        description="refuse data plane roles without kuma.io/service",
    )
    listen: _Listen = Field(
        parse_listen_address(DEFAULT_LISTEN), validation_alias=f"{PREFIX}LISTEN", description="host:port or unix:/path"
    )
    diagnostics_listen: _OptionalListen = Field(
        None,
        validation_alias=f"{PREFIX}DIAGNOSTICS_LISTEN",
        description="where probes and metrics live instead of the API's listener",
    )
    decision_timeout: float = Field(
        10, gt=0, le=60, validation_alias=f"{PREFIX}DECISION_TIMEOUT", description="seconds for a whole decision"
    )
    role_ttl: float = Field(
        300, gt=0, le=3600, validation_alias=f"{PREFIX}ROLE_TTL", description="seconds that a role's tags are believed"
    )
    reader_role_name: _RoleName | None = Field(
        None,
        validation_alias=f"{PREFIX}READER_ROLE_NAME",
        description="role to assume in listed accounts other than the service's own",
    )
    reader_external_id: _ExternalId | None = Field(
        None, validation_alias=f"{PREFIX}READER_EXTERNAL_ID", description="its external id", repr=False
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias=f"{PREFIX}LOG_LEVEL", description="least level logged; decisions are info"
    )
    log_format: Literal["json", "human"] = Field(
        "json", validation_alias=f"{PREFIX}LOG_FORMAT", description="json for machines, human for eyes"
    )
    aws_region: str | None = Field(None, validation_alias="AWS_REGION", description="region of the service's own calls")
    aws_default_region: str | None = Field(
        None, validation_alias="AWS_DEFAULT_REGION", description="the same, if AWS_REGION is unset"
    )
    sts_endpoint_url: _EndpointUrl | None = Field(
        None, validation_alias="AWS_ENDPOINT_URL_STS", description="where requests to STS are sent instead"
    )
    iam_endpoint_url: _EndpointUrl | None = Field(
        None, validation_alias="AWS_ENDPOINT_URL_IAM", description="where requests to IAM are sent instead"
    )
    endpoint_url: _EndpointUrl | None = Field(
        None, validation_alias="AWS_ENDPOINT_URL", description="both of them, where the specific one is unset"
    )
    ignore_endpoint_urls: bool = Field(
        default=False,
        validation_alias="AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        description="ignore the three AWS_ENDPOINT_URL variables, as SDKs do",
    )
    ca_bundle: Annotated[str, BeforeValidator(parse_ca_file)] | None = Field(
        None, validation_alias="AWS_CA_BUNDLE", description="certificates to trust instead of the system's"
    )

    _sts_endpoints: tuple[StsEndpoint, ...] = PrivateAttr(default_factory=load_sts_endpoints)

    @property
    def authorized_accounts(self) -> frozenset[str]:
        """The listed accounts, of the variable or the file."""
        return self.accounts or (self.accounts_file.accounts if self.accounts_file else frozenset())

    @property
    def enabled_types(self) -> frozenset[ProxyType]:
        """The proxy types that use aws-iam."""
        return enabled_types(
            {AUTH_TYPE: self.auth_type, DP_PROXY_TYPE: self.dp_proxy_type, ZONE_PROXY_TYPE: self.zone_proxy_type}
        )

    @property
    def partition_endpoints(self) -> StsEndpoints:
        """Every STS endpoint of the partition."""
        return select_endpoints(self._sts_endpoints, partition=self.partition)

    @property
    def accepted_endpoints(self) -> StsEndpoints:
        """The STS endpoints that a credential may be signed for."""
        return select_endpoints(self._sts_endpoints, partition=self.partition, regions=self.regions)

    @property
    def own_region(self) -> str:
        """The region of the service's own calls; boto3 itself reads ``AWS_DEFAULT_REGION`` alone."""
        return self.aws_region or self.aws_default_region or implicit_region(self.partition)

    @property
    def own_sts_url(self) -> str | None:
        """Where requests to STS are sent instead of the host that they are signed for."""
        return None if self.ignore_endpoint_urls else self.sts_endpoint_url or self.endpoint_url

    @property
    def own_iam_url(self) -> str | None:
        """Where requests to IAM are sent instead."""
        return None if self.ignore_endpoint_urls else self.iam_endpoint_url or self.endpoint_url

    def warnings(self) -> Iterator[str]:
        """Say what is allowed and yet worth a second thought."""
        if self.audience == DEFAULT_AUDIENCE:
            yield (
                f"{PREFIX}AUDIENCE is the default: a control plane that shares it can replay credentials to this one; give "
                "each control plane its own"
            )
        if self.allow_unbound:
            yield f"{PREFIX}ALLOW_UNBOUND_CREDENTIALS is on: a credential captured anywhere can be replayed here"
        yield from environment_warnings(os.environ)

    def effective(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each variable, its effective value without secrets, and whether the environment set it."""
        for name, field in type(self).model_fields.items():
            variable = str(field.validation_alias)
            yield variable, _shown(name, getattr(self, name)), name in self.model_fields_set


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: with every problem at once.
    """
    problems: list[Problem] = []
    settings = None
    try:
        settings = Settings()
    except ValidationError as error:
        problems = list(_problems_of(error))
    environ = {name: value for name, value in os.environ.items() if value}
    faulty = {problem.variable for problem in problems}
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    found = (*cross_problems(environ, known, PREFIX), *region_problems(environ, load_sts_endpoints()))
    problems += [problem for problem in found if problem.variable not in faulty]
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def _problems_of(error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        yield Problem(str(detail["loc"][0]), _remedy(detail["type"], str(detail["msg"]), detail.get("ctx", {})))


def _remedy(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    return f"{message[0].lower()}{message[1:]}"


def _shown(name: str, value: Any) -> str:
    match value:
        case None:
            return "(unset)"
        case bool():
            return str(value).lower()
        case frozenset():
            return ",".join(sorted(value)) or "(all)"
        case _ if name == "reader_external_id":
            return "(set, not shown)"
        case str() if name.endswith(("_proxy", "_url")):
            return mask_url(value)
        case _:
            return str(value)
