import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from app import settings as settings_package
from app.core.kuma_version import KumaVersion
from app.core.proxy import ProxyType
from app.core.signed_request import CredentialForm
from app.local.addresses import TcpAddress, UnixAddress
from app.local.unix_socket import SocketGroup, SocketMode
from app.settings.environment import Settings
from app.settings.loading import SettingsError
from tests.conftest import LoadSettings
from tests.support.world import ACCOUNT, NEW_GENERATION, OLD_GENERATION, OTHER_ACCOUNT

ACCOUNTS = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"
ACCOUNTS_FILE = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE"
AUTH_TYPE = "KUMA_DP_SERVER_AUTH_TYPE"
DP_TYPE = "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"
ZONE_TYPE = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"
TOKEN_PATH = "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH"
RELOADABLE = "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS"
LISTEN = "KMESH_AWSIAM_LISTEN"
DIAGNOSTICS = "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"
READER = "KMESH_AWSIAM_READER_ROLE_NAME"
EXTERNAL_ID = "KMESH_AWSIAM_READER_EXTERNAL_ID"

Problems = dict[str, str]
ProblemsOf = Callable[..., Problems]


@pytest.fixture
def problems_of(settings_of: LoadSettings) -> ProblemsOf:
    """Return the problems of an environment by variable; there is at least one."""

    def problems(**variables: str | None) -> Problems:
        with pytest.raises(SettingsError) as raised:
            settings_of(**variables)
        found = {problem.variable: problem.remedy for problem in raised.value.problems}
        assert len(found) == len(raised.value.problems), "a variable is reported twice"
        assert str(raised.value).splitlines() == [f"{name}: {remedy}" for name, remedy in found.items()]
        return found

    return problems


GOOD: list[tuple[str, str, str, Any]] = [
    (DP_TYPE, "aws-iam", "dp_proxy_type", "aws-iam"),
    (ZONE_TYPE, "dpToken", "zone_proxy_type", "dpToken"),
    (ZONE_TYPE, "zoneToken", "zone_proxy_type", "zoneToken"),
    (ZONE_TYPE, "serviceAccountToken", "zone_proxy_type", "serviceAccountToken"),
    (ZONE_TYPE, "none", "zone_proxy_type", "none"),
    (RELOADABLE, "True", "reloadable_tokens", True),
    (RELOADABLE, "1", "reloadable_tokens", True),
    (TOKEN_PATH, "false", "use_token_path", False),
    (ACCOUNTS, f" {ACCOUNT} ,\t{OTHER_ACCOUNT}", "accounts", {ACCOUNT, OTHER_ACCOUNT}),
    (ACCOUNTS, "000000000001", "accounts", {"000000000001"}),
    ("KMESH_AWSIAM_AUDIENCE", "prod control plane", "audience", "prod control plane"),
    ("KMESH_AWSIAM_AUDIENCE", "x" * 255, "audience", "x" * 255),
    ("KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS", "true", "allow_unbound", True),
    ("KMESH_AWSIAM_REGIONS", "eu-west-1, aws-global", "regions", {"eu-west-1", "aws-global"}),
    ("KMESH_AWSIAM_PARTITION", "aws-cn", "partition", "aws-cn"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7, ap-south-9", "extra_regions", {"eu-north-7", "ap-south-9"}),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-1", "extra_regions", {"eu-north-1"}),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "native, eks", "credential_forms", {"native", "eks"}),
    (
        "KMESH_AWSIAM_CREDENTIAL_FORMS",
        "native,jwt,eks,envelope,plain_envelope",
        "credential_forms",
        set(CredentialForm),
    ),
    ("KMESH_AWSIAM_HTTPS_PROXY", "http://proxy.internal:3128", "https_proxy", "http://proxy.internal:3128"),
    ("KMESH_AWSIAM_REQUIRE_SERVICE_TAG", "yes", "require_service_tag", True),
    ("KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG", "yes", "require_workload_tag", True),
    ("KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS", "true", "allow_unbound_workloads", True),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh/", "role_path_prefix", "/mesh/"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh/a:b//", "role_path_prefix", "/mesh/a:b//"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/", "role_path_prefix", "/"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", f"/{'p' * 510}/", "role_path_prefix", f"/{'p' * 510}/"),
    (LISTEN, "127.0.0.1:6000", "listen", TcpAddress("127.0.0.1", 6000)),
    (LISTEN, "[::1]:6000", "listen", TcpAddress("::1", 6000)),
    (LISTEN, "localhost:6000", "listen", TcpAddress("localhost", 6000)),
    (LISTEN, "unix:/run/api.sock", "listen", UnixAddress(Path("/run/api.sock"))),
    (DIAGNOSTICS, "0.0.0.0:9100", "diagnostics_listen", TcpAddress("0.0.0.0", 9100)),  # noqa: S104 - probes and metrics are for others
    ("KMESH_AWSIAM_DECISION_TIMEOUT", "2.5", "decision_timeout", 2.5),
    ("KMESH_AWSIAM_ROLE_TTL", "3600", "role_ttl", 3600),
    ("KMESH_AWSIAM_ROLE_MAX_STALE", "0", "role_max_stale", 0),
    ("KMESH_AWSIAM_STS_RATE", "250.5", "sts_rate", 250.5),
    ("KMESH_AWSIAM_IAM_RATE", "0.5", "iam_rate", 0.5),
    ("KMESH_AWSIAM_ROLE_PREFETCH", "true", "role_prefetch", True),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}=*", "account_meshes", {ACCOUNT: frozenset({"*"})}),
    (
        "KMESH_AWSIAM_ACCOUNT_MESHES",
        f"{ACCOUNT}=default|payments, 444455556666=*",
        "account_meshes",
        {ACCOUNT: frozenset({"default", "payments"}), "444455556666": frozenset({"*"})},
    ),
    ("KMESH_AWSIAM_WORKERS", "1", "workers", 1),
    ("KMESH_AWSIAM_TOKEN_VALIDITY", "60", "token_validity", 60),
    ("KMESH_AWSIAM_TOKEN_VALIDITY", "86400", "token_validity", 86_400),
    ("KMESH_AWSIAM_TOKEN_NAMES", "true", "token_names", True),
    ("KMESH_AWSIAM_DECISIONS_PAGE", "false", "decisions_page", False),
    ("KMESH_AWSIAM_ZONE", "east-1", "zone", "east-1"),
    ("KMESH_AWSIAM_KUMA_VERSION", "3.0", "kuma_version", KumaVersion(3, 0)),
    ("KMESH_AWSIAM_KUMA_VERSION", "2.14.3", "kuma_version", KumaVersion(2, 14)),
    ("KMESH_AWSIAM_SOCKET_MODE", "0600", "socket_mode", SocketMode(0o600)),
    ("KMESH_AWSIAM_SOCKET_GROUP", "65532", "socket_group", SocketGroup("65532", 65532)),
    (READER, "mesh/kuma-reader", "reader_role_name", "mesh/kuma-reader"),
    ("KMESH_AWSIAM_LOG_LEVEL", "debug", "log_level", "debug"),
    ("KMESH_AWSIAM_LOG_FORMAT", "human", "log_format", "human"),
    ("KMESH_AWSIAM_TRACING", "false", "tracing", False),
    ("AWS_REGION", "eu-west-1", "aws_region", "eu-west-1"),
    ("AWS_DEFAULT_REGION", "eu-west-1", "aws_default_region", "eu-west-1"),
    ("AWS_ENDPOINT_URL_STS", "https://vpce.example/", "sts_endpoint_url", "https://vpce.example"),
    ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:4599", "sts_endpoint_url", "http://127.0.0.1:4599"),
    ("AWS_ENDPOINT_URL_IAM", "http://[::1]:4599", "iam_endpoint_url", "http://[::1]:4599"),
    ("AWS_ENDPOINT_URL", "http://localhost:4599", "endpoint_url", "http://localhost:4599"),
    ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", "ignore_endpoint_urls", True),
    ("AWS_USE_FIPS_ENDPOINT", "true", "use_fips", True),
    ("AWS_USE_DUALSTACK_ENDPOINT", "true", "use_dual_stack", True),
]

BAD: list[tuple[str, str, str]] = [  # variable, value, a word of the remedy
    ("AWS_ENDPOINT_URL_STS", "http://[::1]*4566/", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "http://pi.[::1]:4566/", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "https://a..b", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "http://[::1]:0566/", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", f"https://{'x' * 64}.example", "URL of a host"),
    ("KMESH_AWSIAM_AUDIENCE", "prod  cp", "two in a row"),
    ("KMESH_AWSIAM_ROLE_MAX_STALE", "-1", "greater"),
    ("KMESH_AWSIAM_STS_RATE", "0", "greater"),
    ("KMESH_AWSIAM_IAM_RATE", "inf", "less"),
    ("KMESH_AWSIAM_ROLE_PREFETCH", "always", "boolean"),
    ("KMESH_AWSIAM_ROLE_MAX_STALE", "nan", "86400"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", "444455556666=default", ACCOUNT),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}", "default|payments"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}=", "default|payments"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}=Default", "lower case"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}=a|", "default|payments"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", "*=default", "default|payments"),
    ("KMESH_AWSIAM_ACCOUNT_MESHES", f"{ACCOUNT}=a,{ACCOUNT}=b", "twice"),
    ("KMESH_AWSIAM_TLS_CERT_FILE", "/nowhere/tls.crt", "KMESH_AWSIAM_TLS_KEY_FILE"),
    ("KMESH_AWSIAM_TLS_KEY_FILE", "/nowhere/tls.key", "KMESH_AWSIAM_TLS_CERT_FILE"),
    ("KMESH_AWSIAM_TLS_CLIENT_CA_FILE", "/nowhere/ca.crt", "KMESH_AWSIAM_TLS_CERT_FILE"),
    ("KMESH_AWSIAM_CALLER_TOKEN_FILE", "/nowhere/tokens", "path"),
    ("KMESH_AWSIAM_STORE", "store.internal:6379", "redis://"),
    ("KMESH_AWSIAM_STORE", "rediss://store.internal", "KMESH_AWSIAM_STORE_KEY_FILE"),
    ("KMESH_AWSIAM_STORE_KEY_FILE", "/nowhere/store-keys", "path"),
    ("KMESH_AWSIAM_STORE_CA_FILE", "/nowhere/ca.crt", "PEM"),
    ("KMESH_AWSIAM_WORKERS", "0", "unset it"),
    ("KMESH_AWSIAM_WORKERS", "2", "KMESH_AWSIAM_STORE"),
    ("KMESH_AWSIAM_WORKERS", "auto", "replicas"),
    ("KMESH_AWSIAM_DATAPLANE_KEYS_FILE", "/nowhere/dataplane.keys", "path"),
    ("KMESH_AWSIAM_ZONE_KEYS_FILE", "/nowhere/zone.keys", "path"),
    ("KMESH_AWSIAM_TOKEN_VALIDITY", "59", "60"),
    ("KMESH_AWSIAM_TOKEN_VALIDITY", "86401", "86400"),
    ("KMESH_AWSIAM_TOKEN_VALIDITY", "1h", "integer"),
    ("KMESH_AWSIAM_TOKEN_NAMES", "perhaps", "boolean"),
    ("KMESH_AWSIAM_DECISIONS_PAGE", "perhaps", "boolean"),
    ("KMESH_AWSIAM_ZONE", "East", "0-9 a-z"),
    ("KMESH_AWSIAM_ZONE", "*", "0-9 a-z"),
    ("KMESH_AWSIAM_KUMA_VERSION", "3", "such as 3.0"),
    ("KMESH_AWSIAM_KUMA_VERSION", "v3.0", "such as 3.0"),
    ("KMESH_AWSIAM_SOCKET_MODE", "rw-rw----", "0660"),
    ("KMESH_AWSIAM_SOCKET_GROUP", "nobody-has-this-name", "group"),
    (DP_TYPE, "aws_iam", "aws-iam"),
    (ZONE_TYPE, "AWS-IAM", "aws-iam"),
    (RELOADABLE, "maybe", "boolean"),
    (RELOADABLE, "false", "true"),
    (TOKEN_PATH, "2", "boolean"),
    (ACCOUNTS, "11112222333", "12 digits"),
    (ACCOUNTS, f"{ACCOUNT},*", "no wildcard"),
    (ACCOUNTS, f"{ACCOUNT},", "12 digits"),
    (ACCOUNTS, "1111 2222 3333", "12 digits"),
    (ACCOUNTS, "１１１１２２２２３３３３", "12 digits"),  # noqa: RUF001 - digits of another script
    (ACCOUNTS_FILE, "/nowhere/accounts", "path"),
    ("KMESH_AWSIAM_AUDIENCE", " kuma", "blanks"),
    ("KMESH_AWSIAM_AUDIENCE", "kuma\r\nX-Evil: 1", "printable"),
    ("KMESH_AWSIAM_AUDIENCE", "müsli", "ASCII"),
    ("KMESH_AWSIAM_AUDIENCE", "x" * 256, "255"),
    ("KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS", "perhaps", "boolean"),
    ("KMESH_AWSIAM_REGIONS", "eu-west-9", "no STS region"),
    ("KMESH_AWSIAM_REGIONS", "eu-west-1,cn-north-1", "cn-north-1"),
    ("KMESH_AWSIAM_PARTITION", "aws-moon", "aws-cn"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-é-1", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-evil_x-1", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7\n", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "EU-north-7", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7.evil.example", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", f"eu-{'x' * 28}-1", "32 characters"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7,", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", " ", "a-z 0-9"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7,cn-north-9", "partition aws: cn-north-9;"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "us-gov-west-9", "partition aws"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "aws-global", "partition aws"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "eu-north-7-x", "partition aws"),
    ("KMESH_AWSIAM_EXTRA_REGIONS", "x-eu-north-7", "partition aws"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "native,jwts", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "Native", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "token", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "native,", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", ",", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", " ", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_CREDENTIAL_FORMS", "", "native,jwt,eks,envelope,plain_envelope"),
    ("KMESH_AWSIAM_HTTPS_PROXY", "proxy.internal:3128", "URL of a proxy"),
    ("KMESH_AWSIAM_HTTPS_PROXY", "socks5://proxy.internal", "URL of a proxy"),
    ("KMESH_AWSIAM_REQUIRE_SERVICE_TAG", "sure", "boolean"),
    ("KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG", "sure", "boolean"),
    ("KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS", "never", "boolean"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh", "both ends"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "mesh/", "both ends"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh/*", "both ends"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh*/", "no pattern"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/me?h/", "no pattern"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/mesh/\n", "both ends"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", "/m\u00e9sh/", "both ends"),
    ("KMESH_AWSIAM_ROLE_PATH_PREFIX", f"/{'p' * 511}/", "both ends"),
    ("KMESH_AWSIAM_CANDIDATE_POLICY_FILE", "/no/such/file", "cannot be read as UTF-8"),
    (LISTEN, "0.0.0.0:5690", "127.0.0.1:5690"),
    (LISTEN, "[::]:5690", "127.0.0.1:5690"),
    (LISTEN, "10.0.0.7:5690", "other hosts"),
    (LISTEN, "control-plane:5690", "other hosts"),
    (LISTEN, "5690", "host:port"),
    (LISTEN, ":5690", "host:port"),
    (LISTEN, "127.0.0.1:65536", "host:port"),
    (LISTEN, "[[\u00db]]:0", "host:port"),
    (LISTEN, "[localhost]:5690", "host:port"),
    (LISTEN, "[::1:5690", "host:port"),
    (LISTEN, "::1:5690", "[::1]:5690"),
    (LISTEN, "local host:5690", "host:port"),
    (LISTEN, "127.0.0.1:http", "host:port"),
    (LISTEN, "unix:api.sock", "absolute path"),
    (DIAGNOSTICS, "9100", "host:port"),
    (DIAGNOSTICS, "127.0.0.1:5690", "another"),
    ("KMESH_AWSIAM_DECISION_TIMEOUT", "0", "greater than 0"),
    ("KMESH_AWSIAM_DECISION_TIMEOUT", "61", "60"),
    ("KMESH_AWSIAM_DECISION_TIMEOUT", "nan", "60"),
    ("KMESH_AWSIAM_DECISION_TIMEOUT", "10s", "number"),
    ("KMESH_AWSIAM_ROLE_TTL", "-1", "greater than 0"),
    ("KMESH_AWSIAM_ROLE_TTL", "inf", "3600"),
    (READER, "arn:aws:iam::111122223333:role/reader", "name of an IAM role"),
    (READER, "/mesh/kuma-reader", "name of an IAM role"),
    (READER, "reader role", "name of an IAM role"),
    (EXTERNAL_ID, "x", "2 to 1224"),
    (EXTERNAL_ID, "external-id", READER),
    ("KMESH_AWSIAM_LOG_LEVEL", "INFO", "info"),
    ("KMESH_AWSIAM_LOG_FORMAT", "text", "human"),
    ("KMESH_AWSIAM_TRACING", "sometimes", "boolean"),
    ("AWS_REGION", "cn-north-1", "KMESH_AWSIAM_PARTITION"),
    ("AWS_DEFAULT_REGION", "nowhere-1", "KMESH_AWSIAM_PARTITION"),
    ("AWS_ENDPOINT_URL_STS", "http://sts.internal", "https"),
    ("AWS_ENDPOINT_URL_STS", "http://10.0.0.7:4599", "https"),
    ("AWS_ENDPOINT_URL_STS", "https://vpce.example/path", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "https://vpce.example/?x=1", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "https://user@vpce.example", "user information"),
    ("AWS_ENDPOINT_URL_STS", "vpce.example", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "https://vpce.example:99999", "URL of a host"),
    ("AWS_ENDPOINT_URL_STS", "https://vpce.example\n", "URL of a host"),
    ("AWS_ENDPOINT_URL_IAM", "ftp://iam.example", "URL of a host"),
    ("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1.evil.example", "https"),
    ("AWS_ENDPOINT_URL", "http://0.0.0.0:4599", "https"),
    ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "sometimes", "boolean"),
    ("AWS_USE_FIPS_ENDPOINT", "sometimes", "boolean"),
    ("AWS_USE_DUALSTACK_ENDPOINT", "sometimes", "boolean"),
    ("AWS_CA_BUNDLE", "/nowhere/ca.pem", "PEM"),
]


def _variables() -> set[str]:
    return {str(field.validation_alias) for field in Settings.model_fields.values()}


@pytest.mark.parametrize(("variable", "text", "name", "expected"), GOOD)
def test_load_settings_reads_each_variable(
    settings_of: LoadSettings, variable: str, text: str, name: str, expected: object
) -> None:
    assert getattr(settings_of(**{**NEW_GENERATION, variable: text}), name) == expected


@pytest.mark.parametrize(("variable", "text", "remedy"), BAD)
def test_load_settings_names_the_one_variable_at_fault_and_what_to_do(
    problems_of: ProblemsOf, variable: str, text: str, remedy: str
) -> None:
    base = {**NEW_GENERATION, ACCOUNTS: None} if variable == ACCOUNTS_FILE else NEW_GENERATION
    problems = problems_of(**{**base, variable: text})
    assert list(problems) == [variable]
    assert remedy in problems[variable]


def test_every_variable_has_a_good_and_a_bad_value_here() -> None:
    # Read in tests of their own: the old generation's type, files (those of the listener in server/test_listeners.py), the
    # store (settings/test_store_settings.py), and what needs a second variable.
    files = {variable for variable in _variables() if variable.endswith("_FILE")} | {"AWS_CA_BUNDLE"}
    assert _variables() - {case[0] for case in GOOD} == {
        *(AUTH_TYPE, EXTERNAL_ID, "KMESH_AWSIAM_STORE"),
        *files,
    }
    assert _variables() - {case[0] for case in BAD} == {AUTH_TYPE}


def test_load_settings_has_the_documented_defaults(settings_of: LoadSettings) -> None:
    """Contract, section 2."""
    settings = settings_of(**NEW_GENERATION)
    assert settings.audience == "kuma-control-plane"
    assert settings.allow_unbound is False
    assert settings.regions == frozenset()
    assert settings.partition == "aws"
    assert settings.extra_regions is None
    assert settings.credential_forms == set(CredentialForm)
    assert settings.https_proxy is None
    assert settings.require_service_tag is False
    assert settings.listen == TcpAddress("127.0.0.1", 5690)
    assert settings.diagnostics_listen is None
    assert (settings.tls_files, settings.caller_token_file, settings.socket_group) == (None, None, None)
    assert settings.socket_mode == SocketMode(0o660)
    assert settings.decision_timeout == 10
    assert settings.role_ttl == 300
    assert (settings.reader_role_name, settings.reader_external_id) == (None, None)
    assert (settings.log_level, settings.log_format) == ("info", "json")


def test_load_settings_takes_an_empty_variable_for_unset(settings_of: LoadSettings) -> None:
    """Compose files and task definitions write an empty value for a variable without a value."""
    # Except for the forms: an empty list would otherwise mean that all are accepted.
    empty = dict.fromkeys(_variables() - NEW_GENERATION.keys() - {"KMESH_AWSIAM_CREDENTIAL_FORMS"}, "")
    assert settings_of(**NEW_GENERATION, **empty) == settings_of(**NEW_GENERATION)


def test_settings_cannot_be_changed(settings_of: LoadSettings) -> None:
    settings = settings_of(**NEW_GENERATION)
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "audience", "another")  # noqa: B010 - mypy checks it too


# The control plane's two generations.


@pytest.mark.parametrize(
    ("variables", "enabled"),
    [
        pytest.param(OLD_GENERATION, set(ProxyType), id="2.0-2.6"),
        pytest.param(NEW_GENERATION, set(ProxyType), id="2.7"),
        pytest.param({**NEW_GENERATION, ZONE_TYPE: "zoneToken"}, {ProxyType.DATAPLANE}, id="2.7-dataplanes"),
        pytest.param({**NEW_GENERATION, ZONE_TYPE: None}, {ProxyType.DATAPLANE}, id="2.7-zone-unset"),
        pytest.param(
            {**NEW_GENERATION, DP_TYPE: "dpToken"}, {ProxyType.INGRESS, ProxyType.EGRESS}, id="2.7-zone-proxies"
        ),
        pytest.param({**OLD_GENERATION, **NEW_GENERATION}, set(ProxyType), id="both-and-they-agree"),
        pytest.param({**NEW_GENERATION, AUTH_TYPE: None, TOKEN_PATH: "false"}, set(ProxyType), id="2.7-old-path-off"),
    ],
)
def test_enabled_types_are_those_whose_variable_says_aws_iam(
    settings_of: LoadSettings, variables: dict[str, str | None], enabled: set[ProxyType]
) -> None:
    assert settings_of(**variables).enabled_types == enabled


@pytest.mark.parametrize("generation", [OLD_GENERATION, NEW_GENERATION], ids=["2.0-2.6", "2.7"])
def test_load_settings_names_each_missing_variable(problems_of: ProblemsOf, generation: dict[str, str]) -> None:
    for missing in generation.keys() - {ZONE_TYPE, DP_TYPE}:
        problems = problems_of(**{**generation, missing: None})
        expected = f"{AUTH_TYPE} or {DP_TYPE} / {ZONE_TYPE}" if missing == AUTH_TYPE else missing
        assert list(problems) == [expected]


def test_load_settings_refuses_to_serve_nobody(problems_of: ProblemsOf) -> None:
    """No value turns authentication off: a service that has nothing to authenticate does not start."""
    problems = problems_of(**{**NEW_GENERATION, DP_TYPE: "dpToken", ZONE_TYPE: "none"})
    assert list(problems) == [f"{AUTH_TYPE} or {DP_TYPE} / {ZONE_TYPE}"]


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("aws-iam", DP_TYPE, "dpToken"),
        ("aws-iam", ZONE_TYPE, "none"),
        ("dpToken", DP_TYPE, "aws-iam"),
        ("none", ZONE_TYPE, "aws-iam"),
    ],
)
def test_load_settings_refuses_generations_that_disagree(
    problems_of: ProblemsOf, old: str, name: str, new: str
) -> None:
    variables = {AUTH_TYPE: old, name: new, TOKEN_PATH: "true", RELOADABLE: "true", ACCOUNTS: ACCOUNT}
    assert list(problems_of(**variables)) == [f"{AUTH_TYPE} and {name}"]


def test_load_settings_names_an_unknown_type_of_the_old_generation(problems_of: ProblemsOf) -> None:
    problems = problems_of(**{**OLD_GENERATION, AUTH_TYPE: "awsiam"})
    assert AUTH_TYPE in problems
    assert "aws-iam" in problems[AUTH_TYPE]


# Rules about several variables.


def test_an_account_without_meshes_is_told_beside_other_problems(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        **NEW_GENERATION, KMESH_AWSIAM_ACCOUNT_MESHES="444455556666=*", KMESH_AWSIAM_LOG_LEVEL="loud"
    )
    assert set(problems) == {"KMESH_AWSIAM_ACCOUNT_MESHES", "KMESH_AWSIAM_LOG_LEVEL"}
    assert ACCOUNT in problems["KMESH_AWSIAM_ACCOUNT_MESHES"]


def test_a_bad_list_of_accounts_is_no_fault_of_their_meshes(problems_of: ProblemsOf) -> None:
    problems = problems_of(**{**NEW_GENERATION, ACCOUNTS: "everybody", "KMESH_AWSIAM_ACCOUNT_MESHES": "444455556666=*"})
    assert set(problems) == {ACCOUNTS}


@pytest.mark.parametrize(
    ("variables", "at_fault"),
    [
        pytest.param({DP_TYPE: "awsiam", ZONE_TYPE: None}, {DP_TYPE}, id="type-none-says-aws-iam"),
        pytest.param({AUTH_TYPE: "awsiam"}, {AUTH_TYPE}, id="type-generations"),
        pytest.param(
            {AUTH_TYPE: "dpToken", ZONE_TYPE: "awsiam"},
            {ZONE_TYPE, f"{AUTH_TYPE} and {DP_TYPE}"},
            id="type-of-another-pair",
        ),
        pytest.param(
            {"KMESH_AWSIAM_STORE": "store", "KMESH_AWSIAM_STORE_KEY_FILE": "/nowhere"},
            {"KMESH_AWSIAM_STORE", "KMESH_AWSIAM_STORE_KEY_FILE"},
            id="store-and-its-key",
        ),
        pytest.param(
            {
                "KMESH_AWSIAM_EXTRA_REGIONS": "EU-north-7",
                "KMESH_AWSIAM_REGIONS": "eu-north-7",
                "AWS_REGION": "eu-north-7",
            },
            {"KMESH_AWSIAM_EXTRA_REGIONS"},
            id="regions-that-the-extra-ones-would-make-known",
        ),
        pytest.param(
            {"KMESH_AWSIAM_PARTITION": "moon", "KMESH_AWSIAM_REGIONS": "moon-1", "AWS_REGION": "moon-1"},
            {"KMESH_AWSIAM_PARTITION"},
            id="regions-of-no-partition",
        ),
        pytest.param({LISTEN: "nowhere", DIAGNOSTICS: "127.0.0.1:5690"}, {LISTEN}, id="address-beside-the-default"),
        pytest.param(
            {LISTEN: "unix:/run/api.sock", "KMESH_AWSIAM_SOCKET_MODE": "rw"}, {"KMESH_AWSIAM_SOCKET_MODE"}, id="mode"
        ),
        pytest.param(
            {LISTEN: "10.0.0.7:5690", "KMESH_AWSIAM_CALLER_TOKEN_FILE": "/nowhere"},
            {LISTEN, "KMESH_AWSIAM_CALLER_TOKEN_FILE"},
            id="token-file-that-would-be-sent-in-clear",
        ),
    ],
)
def test_an_invalid_variable_causes_no_misleading_problem_of_another(
    problems_of: ProblemsOf, variables: dict[str, str | None], at_fault: set[str]
) -> None:
    assert set(problems_of(**{**NEW_GENERATION, **variables})) == at_fault


def test_two_spellings_of_one_address_are_one_listener(problems_of: ProblemsOf) -> None:
    problems = problems_of(**NEW_GENERATION, **{LISTEN: "[::1]:6000", DIAGNOSTICS: "[::1]:06000"})
    assert list(problems) == [DIAGNOSTICS]


def test_load_settings_reports_every_problem_at_once(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        **{
            DP_TYPE: "aws-iam",
            ACCOUNTS: "everybody",
            LISTEN: "0.0.0.0:5690",
            DIAGNOSTICS: "nowhere",
            "KMESH_AWSIAM_REGIONS": "mars-1",
            "KMESH_AWSIAM_LOG_LEVEL": "loud",
            "KMESH_AWSIAM_AUDIANCE": "kuma",
            "AWS_ENDPOINT_URL_STS": "http://sts.internal",
            "AWS_CA_BUNDLE": "/nowhere/ca.pem",
            EXTERNAL_ID: "external-id",
        }
    )
    assert set(problems) == {
        RELOADABLE,
        ACCOUNTS,
        LISTEN,
        DIAGNOSTICS,
        "KMESH_AWSIAM_REGIONS",
        "KMESH_AWSIAM_LOG_LEVEL",
        "KMESH_AWSIAM_AUDIANCE",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CA_BUNDLE",
        EXTERNAL_ID,
    }


@pytest.mark.parametrize(
    ("misspelt", "hint"),
    [
        ("KMESH_AWSIAM_AUDIANCE", "did you mean KMESH_AWSIAM_AUDIENCE?"),
        ("KMESH_AWSIAM_AUTHORIZED_ACCOUNT_IDS", f"did you mean {ACCOUNTS}?"),
        ("KMESH_AWSIAM_XYZZY", "no such setting"),
    ],
)
def test_load_settings_refuses_a_misspelt_variable(problems_of: ProblemsOf, misspelt: str, hint: str) -> None:
    """A misspelt restriction would silently have no effect."""
    problems = problems_of(**NEW_GENERATION, **{misspelt: "x"})
    assert list(problems) == [misspelt]
    assert hint in problems[misspelt]


def test_load_settings_leaves_other_variables_of_kong_mesh_alone(settings_of: LoadSettings) -> None:
    settings_of(**NEW_GENERATION, KMESH_VAULT_ADDRESS="x", KUMA_MODE="zone")


def test_load_settings_wants_exactly_one_list_of_accounts(problems_of: ProblemsOf, tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text(ACCOUNT)
    assert list(problems_of(**NEW_GENERATION, **{ACCOUNTS_FILE: str(path)})) == [f"{ACCOUNTS} and {ACCOUNTS_FILE}"]


def test_authorized_accounts_come_out_of_a_file(settings_of: LoadSettings, tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text(f"# ours\n\n  {ACCOUNT}  # the control plane's\n{OTHER_ACCOUNT}\n", encoding="utf-8")
    settings = settings_of(**{**NEW_GENERATION, ACCOUNTS: None, ACCOUNTS_FILE: str(path)})
    assert settings.authorized_accounts == {ACCOUNT, OTHER_ACCOUNT}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"# nobody\n\n", id="comments-alone"),
        pytest.param(b"111122223333 444455556666\n", id="two-on-a-line"),
        pytest.param(b"111122223333,444455556666\n", id="commas"),
        pytest.param(b"111122223333\n*\n", id="wildcard"),
        pytest.param(b"111122223333\n\xff\n", id="not-utf-8"),
    ],
)
def test_load_settings_refuses_a_file_that_lists_no_accounts(
    problems_of: ProblemsOf, tmp_path: Path, content: bytes
) -> None:
    """Fail closed: an empty list is a mistake, never everybody."""
    path = tmp_path / "accounts"
    path.write_bytes(content)
    assert list(problems_of(**{**NEW_GENERATION, ACCOUNTS: None, ACCOUNTS_FILE: str(path)})) == [ACCOUNTS_FILE]


def test_load_settings_takes_the_external_id_beside_a_reader_role(settings_of: LoadSettings) -> None:
    settings = settings_of(**NEW_GENERATION, **{READER: "reader", EXTERNAL_ID: "external-id"})
    assert settings.reader_external_id == "external-id"


@pytest.mark.parametrize("level", get_args(Settings.model_fields["log_level"].annotation))
def test_load_settings_knows_every_log_level(settings_of: LoadSettings, level: str) -> None:
    assert settings_of(**NEW_GENERATION, KMESH_AWSIAM_LOG_LEVEL=level).log_level == level


def test_every_variable_that_a_message_names_is_a_setting() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(settings_package.__path__[0]).glob("*.py")]
    assert set(re.findall(r"KMESH_AWSIAM_[A-Z_]*[A-Z]", "".join(sources))) <= _variables()


# No secret is printed.


def test_no_problem_repeats_a_secret(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        **NEW_GENERATION,
        **{
            READER: "reader",
            EXTERNAL_ID: "canary canary",
            "KMESH_AWSIAM_HTTPS_PROXY": "socks5://user:canary@proxy",
            "AWS_ENDPOINT_URL_STS": "https://user:canary@vpce.example",
        },
    )
    assert len(problems) == 3
    assert "canary" not in str(problems)


def test_effective_shows_every_variable_and_no_secret(settings_of: LoadSettings) -> None:
    settings = settings_of(
        **NEW_GENERATION,
        **{
            READER: "reader",
            EXTERNAL_ID: "canary",
            "KMESH_AWSIAM_HTTPS_PROXY": "http://user:canary@proxy.internal:3128",
        },
    )
    shown = {variable: (value, is_set) for variable, value, is_set in settings.effective()}
    assert shown.keys() == _variables()
    assert shown["KMESH_AWSIAM_HTTPS_PROXY"] == ("http://proxy.internal:3128", True)
    assert shown[READER] == ("reader", True)
    assert shown["KMESH_AWSIAM_ROLE_TTL"] == ("300", False)
    assert "canary" not in str(shown)
    assert "canary" not in repr(settings).replace("http://user:canary@proxy.internal:3128", "")
