"""The environment, read once at start. The only module that reads it; everything else is handed a `Settings`.

All problems are reported together, each with its variable and what to do. No setting turns authentication off.
The page docs/reference/configuration.md is compared with the fields below by a test.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.aws.own_endpoints import OwnEndpoint, find_own_endpoint
from app.core.endpoints import StsEndpoint, StsEndpoints, select_endpoints
from app.core.proxy import ProxyType
from app.core.role_grant import AccountMeshes
from app.core.signed_request import ALL_FORMS, CredentialForm
from app.local.addresses import ListenAddress, UnixAddress, parse_listen_address
from app.local.caller_tokens import CallerTokenFile, read_caller_token_file
from app.local.tls import TlsFiles, TlsPart, find_problems
from app.local.unix_socket import DEFAULT_MODE, SocketGroup, SocketMode, parse_socket_group, parse_socket_mode
from app.settings.checks import (
    ACCOUNT_MESHES,
    ACCOUNTS,
    ACCOUNTS_FILE,
    AUTH_TYPE,
    CALLER_TOKENS,
    CREDENTIAL_FORMS,
    DATAPLANE_KEYS,
    DEFAULT_LISTEN,
    DP_PROXY_TYPE,
    EXTRA_REGIONS,
    IGNORED_VARIABLES,
    LOG_LEVEL,
    RELOADABLE_TOKENS,
    REQUIRE_SERVICE_TAG,
    SOCKET_MODE,
    STORE,
    STORE_CA,
    STORE_KEY,
    TLS_CERT,
    TLS_CLIENT_CA,
    TLS_KEY,
    TOKEN_NAMES,
    TOKEN_VALIDITY,
    USE_TOKEN_PATH,
    WORKERS,
    ZONE,
    ZONE_KEYS,
    ZONE_PROXY_TYPE,
    Problem,
    cross_problems,
    enabled_types,
    environment_warnings,
    form_problems,
    region_problems,
    require_meshes,
)
from app.settings.values import (
    AccountsFile,
    mask_url,
    parse_account_meshes,
    parse_accounts,
    parse_audience,
    parse_ca_file,
    parse_endpoint_url,
    parse_external_id,
    parse_extra_regions,
    parse_forms,
    parse_proxy_url,
    parse_regions,
    parse_role_name,
    parse_role_path_prefix,
    parse_workers,
    parse_zone,
    read_accounts_file,
)
from app.store.keys import StoreKeyFile, read_store_key_file
from app.store.url import StoreAddress, parse_store_url
from app.sts.endpoints import implicit_region, load_sts_endpoints, make_sts_endpoints, partition_of
from app.tokens.claims import MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS
from app.tokens.key_files import SigningKeyFile, read_dataplane_key_file, read_zone_key_file
from app.tokens.keys import SigningKeys

PREFIX: Final = "KMESH_AWSIAM_"
DEFAULT_AUDIENCE: Final = "kuma-control-plane"

_Upstream = Literal["sts", "iam"]
_AuthType = Literal["aws-iam", "dpToken", "zoneToken", "serviceAccountToken", "none"]
# NoDecode: pydantic-settings would read these as JSON.
_Accounts = Annotated[frozenset[str] | None, NoDecode, BeforeValidator(parse_accounts)]
_AccountsFile = Annotated[AccountsFile | None, NoDecode, BeforeValidator(read_accounts_file)]
_AccountMeshes = Annotated[AccountMeshes | None, NoDecode, BeforeValidator(parse_account_meshes)]
_Regions = Annotated[frozenset[str], NoDecode, BeforeValidator(parse_regions)]
_ExtraRegions = Annotated[frozenset[str] | None, NoDecode, BeforeValidator(parse_extra_regions)]
_Forms = Annotated[frozenset[CredentialForm], NoDecode, BeforeValidator(parse_forms)]
_Listen = Annotated[ListenAddress, NoDecode, BeforeValidator(parse_listen_address)]
_OptionalListen = Annotated[ListenAddress | None, NoDecode, BeforeValidator(parse_listen_address)]
_CallerTokens = Annotated[CallerTokenFile | None, NoDecode, BeforeValidator(read_caller_token_file)]
_SocketMode = Annotated[SocketMode, NoDecode, BeforeValidator(parse_socket_mode)]
_SocketGroup = Annotated[SocketGroup | None, NoDecode, BeforeValidator(parse_socket_group)]
_Store = Annotated[StoreAddress | None, NoDecode, BeforeValidator(parse_store_url)]
_StoreKeys = Annotated[StoreKeyFile | None, NoDecode, BeforeValidator(read_store_key_file)]
# InstanceOf: else pydantic looks for the types inside, `cryptography`'s among them.
_DataplaneKeys = Annotated[InstanceOf[SigningKeyFile] | None, NoDecode, BeforeValidator(read_dataplane_key_file)]
_ZoneKeys = Annotated[InstanceOf[SigningKeyFile] | None, NoDecode, BeforeValidator(read_zone_key_file)]
_OneProcess = Annotated[int, BeforeValidator(parse_workers)]
_Zone = Annotated[str, BeforeValidator(parse_zone)]
_EndpointUrl = Annotated[str, BeforeValidator(parse_endpoint_url)]

_Audience = Annotated[str, BeforeValidator(parse_audience)]
_RoleName = Annotated[str, BeforeValidator(parse_role_name)]
_RolePath = Annotated[str, BeforeValidator(parse_role_path_prefix)]
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
    credential_forms: _Forms = Field(
        ALL_FORMS, validation_alias=CREDENTIAL_FORMS, description="the forms of credential that are accepted"
    )
    regions: _Regions = Field(
        frozenset(),
        validation_alias=f"{PREFIX}REGIONS",
        description="STS regions accepted; empty: all of the partition",
    )
    extra_regions: _ExtraRegions = Field(
        None,
        validation_alias=EXTRA_REGIONS,
        description="STS regions of the partition that are newer than the installed botocore",
    )
    partition: str = Field("aws", validation_alias=f"{PREFIX}PARTITION", description="the AWS partition")
    https_proxy: Annotated[str, BeforeValidator(parse_proxy_url)] | None = Field(
        None, validation_alias=f"{PREFIX}HTTPS_PROXY", description="one explicit proxy towards STS and IAM"
    )
    require_service_tag: bool = Field(
        default=False,
        validation_alias=REQUIRE_SERVICE_TAG,
        description="refuse data plane roles without kuma.io/service",
    )
    require_workload_tag: bool = Field(
        default=False,
        validation_alias=f"{PREFIX}REQUIRE_WORKLOAD_TAG",
        description="refuse roles of Dataplanes without kuma.io/workload, which can be their SPIFFE id from Kuma 2.13 on",
    )
    allow_unbound_workloads: bool = Field(
        default=False,
        validation_alias=f"{PREFIX}ALLOW_UNBOUND_WORKLOADS",
        description="let a proxy carry a kuma.io/workload label although its role has no such tag",
    )
    role_path_prefix: _RolePath | None = Field(
        None,
        validation_alias=f"{PREFIX}ROLE_PATH_PREFIX",
        description="only roles whose path begins with it, as /mesh/",
    )
    listen: _Listen = Field(
        parse_listen_address(DEFAULT_LISTEN), validation_alias=f"{PREFIX}LISTEN", description="host:port or unix:/path"
    )
    diagnostics_listen: _OptionalListen = Field(
        None,
        validation_alias=f"{PREFIX}DIAGNOSTICS_LISTEN",
        description="where probes and metrics live instead of the API's listener",
    )
    tls_cert_file: Path | None = Field(
        None, validation_alias=TLS_CERT, description="the API listener's certificate, in PEM, its chain behind it"
    )
    tls_key_file: Path | None = Field(None, validation_alias=TLS_KEY, description="its private key, in PEM")
    tls_client_ca_file: Path | None = Field(
        None, validation_alias=TLS_CLIENT_CA, description="authorities whose client certificates make a caller known"
    )
    caller_token_file: _CallerTokens = Field(
        None, validation_alias=CALLER_TOKENS, description="a file of one or two tokens; then callers must send one"
    )
    socket_mode: _SocketMode = Field(
        DEFAULT_MODE, validation_alias=SOCKET_MODE, description="octal mode of Unix sockets"
    )
    socket_group: _SocketGroup = Field(
        None, validation_alias=f"{PREFIX}SOCKET_GROUP", description="group of Unix sockets, by name or number"
    )
    workers: _OneProcess = Field(
        1, validation_alias=WORKERS, description="does nothing any more: one process serves; unset it"
    )
    decision_timeout: float = Field(
        10, gt=0, le=60, validation_alias=f"{PREFIX}DECISION_TIMEOUT", description="seconds for a whole decision"
    )
    role_ttl: float = Field(
        300, gt=0, le=3600, validation_alias=f"{PREFIX}ROLE_TTL", description="seconds that a role's tags are believed"
    )
    role_max_stale: float = Field(
        3600,
        ge=0,
        le=86_400,
        validation_alias=f"{PREFIX}ROLE_MAX_STALE",
        description="seconds that a known role is believed while IAM is down: the bound of a revocation then",
    )
    sts_rate: float = Field(
        500,
        ge=1,
        le=100_000,
        validation_alias=f"{PREFIX}STS_RATE",
        description="calls a second to STS, for each account and region; AWS allows 600, the workloads' own included",
    )
    iam_rate: float = Field(
        8,
        ge=0.1,
        le=1_000,
        validation_alias=f"{PREFIX}IAM_RATE",
        description="calls a second to IAM, for each account; AWS is said to allow 10 to 20",
    )
    role_prefetch: bool = Field(
        default=False,
        validation_alias=f"{PREFIX}ROLE_PREFETCH",
        description="read the roles of every listed account by pages, ahead of their proxies",
    )
    account_meshes: _AccountMeshes = Field(
        None,
        validation_alias=ACCOUNT_MESHES,
        description="the meshes that each account's roles may claim: account=mesh|mesh,account=*",
    )
    reader_role_name: _RoleName | None = Field(
        None,
        validation_alias=f"{PREFIX}READER_ROLE_NAME",
        description="role to assume in listed accounts other than the service's own",
    )
    reader_external_id: _ExternalId | None = Field(
        None, validation_alias=f"{PREFIX}READER_EXTERNAL_ID", description="its external id", repr=False
    )
    store: _Store = Field(
        None,
        validation_alias=STORE,
        description="Redis or Valkey that replicas share: rediss://user:password@host:6379",
    )
    store_key_file: _StoreKeys = Field(
        None, validation_alias=STORE_KEY, description="a file of one or two keys that seal what is shared"
    )
    store_ca_file: Annotated[str, BeforeValidator(parse_ca_file)] | None = Field(
        None,
        validation_alias=STORE_CA,
        description="certificates to trust towards the store instead of the public ones",
    )
    dataplane_keys_file: _DataplaneKeys = Field(
        None,
        validation_alias=DATAPLANE_KEYS,
        description="a file of keys that sign data plane tokens: KID MESH PATH a line; it turns /v1/token on",
    )
    zone_keys_file: _ZoneKeys = Field(
        None, validation_alias=ZONE_KEYS, description="a file of keys that sign zone tokens: KID PATH a line"
    )
    token_validity: int = Field(
        3600,
        ge=MIN_VALIDITY_SECONDS,
        le=MAX_VALIDITY_SECONDS,
        validation_alias=TOKEN_VALIDITY,
        description="seconds that a token is valid: the bound of a revocation that is not made in Kuma",
    )
    token_names: bool = Field(
        default=False,
        validation_alias=TOKEN_NAMES,
        description="hold a data plane token to the name that the call gives; a call without one gets none",
    )
    zone: _Zone | None = Field(
        None,
        validation_alias=ZONE,
        description="the one zone of ingresses and egresses; also that of zone tokens whose role and proxy name none",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias=LOG_LEVEL, description="least level logged; decisions are info"
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
    use_fips: bool = Field(
        default=False,
        validation_alias="AWS_USE_FIPS_ENDPOINT",
        description="make the service's own calls to the FIPS endpoints of STS and IAM",
    )
    use_dual_stack: bool = Field(
        default=False,
        validation_alias="AWS_USE_DUALSTACK_ENDPOINT",
        description="make the service's own calls to the dual-stack (IPv6) endpoints of STS and IAM",
    )
    ca_bundle: Annotated[str, BeforeValidator(parse_ca_file)] | None = Field(
        None, validation_alias="AWS_CA_BUNDLE", description="certificates to trust instead of the system's"
    )

    _sts_endpoints: tuple[StsEndpoint, ...] = PrivateAttr(default_factory=load_sts_endpoints)

    _ignored: tuple[str, ...] = PrivateAttr(default_factory=lambda: tuple(environment_warnings(os.environ)))

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
    def accepted_endpoints(self) -> StsEndpoints:
        """The STS endpoints that a credential may be signed for."""
        extra = (endpoint for region in self.extra_regions or () for endpoint in make_sts_endpoints(region))
        return select_endpoints((*self._sts_endpoints, *extra), partition=self.partition, regions=self.regions)

    @property
    def own_region(self) -> str:
        """The region of the service's own calls; botocore itself reads ``AWS_DEFAULT_REGION`` alone."""
        return self.aws_region or self.aws_default_region or implicit_region(self.partition)

    @property
    def own_sts_url(self) -> str | None:
        """Where requests to STS are sent instead of the host that they are signed for."""
        return None if self.ignore_endpoint_urls else self.sts_endpoint_url or self.endpoint_url

    @property
    def own_iam_url(self) -> str | None:
        """Where requests to IAM are sent instead."""
        return None if self.ignore_endpoint_urls else self.iam_endpoint_url or self.endpoint_url

    @property
    def upstreams_without_tls(self) -> tuple[_Upstream, ...]:
        """Which of STS and IAM are reached without TLS, on loopback: nothing proves that they are AWS's."""
        urls: dict[_Upstream, str | None] = {"sts": self.own_sts_url, "iam": self.own_iam_url}
        return tuple(name for name, url in urls.items() if url is not None and url.startswith("http:"))

    @property
    def own_sts_endpoint(self) -> OwnEndpoint:
        """Where the service's own calls to STS go, as they are signed."""
        return find_own_endpoint(
            "sts", self.own_region, fips=self.use_fips, dual_stack=self.use_dual_stack, url=self.own_sts_url
        )

    @property
    def own_iam_endpoint(self) -> OwnEndpoint:
        """Where calls to IAM go, as they are signed."""
        return find_own_endpoint(
            "iam", self.own_region, fips=self.use_fips, dual_stack=self.use_dual_stack, url=self.own_iam_url
        )

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of the API listener's TLS, if it has any."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(cert=self.tls_cert_file, key=self.tls_key_file, client_ca=self.tls_client_ca_file)

    @property
    def caller_checks(self) -> list[str]:
        """What a caller of the API must show; empty where whoever reaches the listener is known by that."""
        checks = {"certificate": self.tls_client_ca_file, "token": self.caller_token_file}
        return [check for check, file in checks.items() if file is not None]

    def check_accounts(self, accounts: AbstractSet[str]) -> None:
        """Hold a list of accounts, at start or later, to the other settings.

        Raises:
            ValueError: an account has no entry in ``KMESH_AWSIAM_ACCOUNT_MESHES``.
        """
        if self.account_meshes is not None:
            require_meshes(accounts, self.account_meshes)

    def warnings(self) -> Iterator[str]:
        """Say what is allowed and yet worth a second thought."""
        if self.audience == DEFAULT_AUDIENCE:
            yield (
                f"{PREFIX}AUDIENCE is the default: a control plane that shares it can replay credentials to this one; give "
                "each control plane its own"
            )
        if self.allow_unbound:
            yield f"{PREFIX}ALLOW_UNBOUND_CREDENTIALS is on: a credential captured anywhere can be replayed here"
        if self.allow_unbound_workloads:
            yield (
                f"{PREFIX}ALLOW_UNBOUND_WORKLOADS is on: a proxy whose role has no kuma.io/workload can carry the label of "
                "any workload, and from Kuma 2.13 on have its SPIFFE id; tag the roles with kuma.io/workload, and set it to "
                "false"
            )
        if self.store is not None and not self.store.is_private:
            yield (
                f"{STORE} crosses the network in clear: what is stored is sealed, but whoever is on the way reads the "
                "password, and can empty the store and hold back calls to AWS; write rediss:// (TLS)"
            )
        sockets = any(isinstance(address, UnixAddress) for address in (self.listen, self.diagnostics_listen))
        if not sockets and {"socket_mode", "socket_group"} & self.model_fields_set:
            yield f"{SOCKET_MODE} and {PREFIX}SOCKET_GROUP do nothing: no listener is a Unix socket (unix:/path)"
        if "workers" in self.model_fields_set:
            yield f"{WORKERS} does nothing any more: one process serves; unset it"
        yield from self._warnings_of_tokens()
        yield from self._region_warnings()
        yield from self._file_warnings()
        yield from self._tls_warnings()
        yield from self._ignored

    def _warnings_of_tokens(self) -> Iterator[str]:
        if self.dataplane_keys_file is None and self.zone_keys_file is None:
            useless = {"token_validity": TOKEN_VALIDITY, "token_names": TOKEN_NAMES}
            for variable in (useless[name] for name in useless if name in self.model_fields_set):
                yield f"{variable} does nothing: no token is issued without {DATAPLANE_KEYS} or {ZONE_KEYS}"
        if self.dataplane_keys_file is None:
            return
        if not self.require_service_tag:
            yield (
                f"{REQUIRE_SERVICE_TAG} is false: the token of a role without kuma.io/service lets its proxy be every "
                "service of its mesh, below Kuma 2.13 even where the role has kuma.io/workload; set it to true, and from"
                " 2.13 on tag roles with both"
            )
        if self.token_names:
            yield (
                f"{TOKEN_NAMES} is true: /v1/ext-authz, which {DATAPLANE_KEYS} turns on, knows no name of a proxy and gives "
                "no data plane a token (proxy_name_missing); set it to false where Envoy stands in front of a control plane"
            )

    def _region_warnings(self) -> Iterator[str]:
        if known := sorted((self.extra_regions or set()) & {endpoint.region for endpoint in self._sts_endpoints}):
            yield f"{EXTRA_REGIONS} does nothing for regions that botocore knows: remove {', '.join(known)}"

    def _file_warnings(self) -> Iterator[str]:
        for variable, file in (
            (DATAPLANE_KEYS, self.dataplane_keys_file),
            (ZONE_KEYS, self.zone_keys_file),
            (STORE_KEY, self.store_key_file),
            (CALLER_TOKENS, self.caller_token_file),
            (TLS_KEY, self.tls_files),
        ):
            if file is not None:
                yield from (f"{variable}: {warning}" for warning in file.warnings())

    def _tls_warnings(self) -> Iterator[str]:
        specific = {"sts": self.sts_endpoint_url, "iam": self.iam_endpoint_url}
        reached: dict[str, list[str]] = {}
        for upstream in self.upstreams_without_tls:
            name = upstream.upper()
            variable = "AWS_ENDPOINT_URL" if specific[upstream] is None else f"AWS_ENDPOINT_URL_{name}"
            reached.setdefault(variable, []).append(name)
        for variable, names in reached.items():
            yield (
                f"{variable} sends requests to {' and '.join(names)} in plain http: this service trusts whatever listens "
                "on that port as if it were AWS; use https, and http only for an emulator"
            )

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
    found = (
        *cross_problems(environ, known, PREFIX),
        *region_problems(environ, load_sts_endpoints(), partition_of),
        *form_problems(os.environ),
        *_tls_file_problems(environ),
        *_mesh_problems(environ),
        *_store_package_problems(environ),
        *_key_problems(environ),
    )
    for problem in found:
        if problem.variable not in faulty:
            problems.append(problem)
            faulty.add(problem.variable)
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def discard_ignored_environment() -> None:
    """Take out of this process's environment what is ignored on purpose, since the SDK's own fetchers would heed it (I9).

    ``serve`` calls it once the settings, and so the warnings, are read.
    """
    for name in IGNORED_VARIABLES:
        os.environ.pop(name, None)


def _problems_of(error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        yield Problem(str(detail["loc"][0]), _remedy(detail["type"], str(detail["msg"]), detail.get("ctx", {})))


def _mesh_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Compare the accounts with their meshes, where both can be read; where one cannot, that is its own problem."""
    with contextlib.suppress(ValueError):
        listed = parse_accounts(environ[ACCOUNTS]) if ACCOUNTS in environ else None
        if listed is None and ACCOUNTS_FILE in environ:
            listed = read_accounts_file(environ[ACCOUNTS_FILE]).accounts
        meshes = parse_account_meshes(environ[ACCOUNT_MESHES]) if ACCOUNT_MESHES in environ else None
        if listed is None or meshes is None:
            return
        try:
            require_meshes(listed, meshes)
        except ValueError as error:
            yield Problem(ACCOUNT_MESHES, str(error))


def _tls_file_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    variables: dict[TlsPart, str] = {"cert": TLS_CERT, "key": TLS_KEY, "client_ca": TLS_CLIENT_CA}
    paths = {part: Path(environ[name]) for part, name in variables.items() if name in environ}
    if "cert" in paths and "key" in paths:
        for error in find_problems(TlsFiles(cert=paths["cert"], key=paths["key"], client_ca=paths.get("client_ca"))):
            yield Problem(variables[error.part], error.remedy)


def _store_package_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    if STORE in environ and importlib.util.find_spec("redis") is None:
        yield Problem(STORE, "it needs a package that is not installed; pip install 'kuma-aws-iam[redis]'")


def _key_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Hold the two files of keys apart, where both can be read; where one cannot, that is its own problem."""
    with contextlib.suppress(ValueError):
        files = [
            read(environ[name])
            for name, read in ((DATAPLANE_KEYS, read_dataplane_key_file), (ZONE_KEYS, read_zone_key_file))
            if name in environ
        ]
        try:
            SigningKeys(key for file in files for key in file.keys)
        except ValueError as error:
            yield Problem(f"{DATAPLANE_KEYS} and {ZONE_KEYS}", str(error))


def _remedy(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    return f"{message[0].lower()}{message[1:]}"


def _shown(name: str, value: Any) -> str:
    if name == "reader_external_id" and value is not None:
        return "(set, not shown)"
    match value:
        case None:
            shown = "(unset)"
        case bool():
            shown = str(value).lower()
        case frozenset():
            shown = ",".join(sorted(value)) or "(all)"
        case dict():
            shown = ",".join(f"{account}={'|'.join(sorted(meshes))}" for account, meshes in sorted(value.items()))
        case str() if name.endswith(("_proxy", "_url")):
            shown = mask_url(value)
        case _:
            shown = str(value)
    return shown
