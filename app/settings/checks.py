"""What one variable alone cannot tell: which variables must agree, and which are ignored or misspelt.

Pure: it sees the environment as a mapping and the variables that are at fault already, and returns sentences.
"""

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from app.core.endpoints import StsEndpoint
from app.core.proxy import ProxyType
from app.core.role_grant import AccountMeshes
from app.core.signed_request import CredentialForm
from app.local.addresses import UnixAddress, parse_listen_address
from app.local.unix_socket import DEFAULT_MODE, parse_socket_mode
from app.settings.values import parse_extra_regions

AUTH_TYPE: Final = "KUMA_DP_SERVER_AUTH_TYPE"
DP_PROXY_TYPE: Final = "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"
ZONE_PROXY_TYPE: Final = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"
USE_TOKEN_PATH: Final = "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH"  # noqa: S105 - a variable's name
WORKERS: Final = "KMESH_AWSIAM_WORKERS"
RELOADABLE_TOKENS: Final = "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS"
ACCOUNTS: Final = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"
ACCOUNTS_FILE: Final = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE"
ACCOUNT_MESHES: Final = "KMESH_AWSIAM_ACCOUNT_MESHES"
REGIONS: Final = "KMESH_AWSIAM_REGIONS"
EXTRA_REGIONS: Final = "KMESH_AWSIAM_EXTRA_REGIONS"
CREDENTIAL_FORMS: Final = "KMESH_AWSIAM_CREDENTIAL_FORMS"
LISTEN: Final = "KMESH_AWSIAM_LISTEN"
TLS_CERT: Final = "KMESH_AWSIAM_TLS_CERT_FILE"
TLS_KEY: Final = "KMESH_AWSIAM_TLS_KEY_FILE"
TLS_CLIENT_CA: Final = "KMESH_AWSIAM_TLS_CLIENT_CA_FILE"
CALLER_TOKENS: Final = "KMESH_AWSIAM_CALLER_TOKEN_FILE"
SOCKET_MODE: Final = "KMESH_AWSIAM_SOCKET_MODE"
STORE: Final = "KMESH_AWSIAM_STORE"
STORE_KEY: Final = "KMESH_AWSIAM_STORE_KEY_FILE"
STORE_CA: Final = "KMESH_AWSIAM_STORE_CA_FILE"
DATAPLANE_KEYS: Final = "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"
ZONE_KEYS: Final = "KMESH_AWSIAM_ZONE_KEYS_FILE"
TOKEN_VALIDITY: Final = "KMESH_AWSIAM_TOKEN_VALIDITY"  # noqa: S105 - a variable's name
TOKEN_NAMES: Final = "KMESH_AWSIAM_TOKEN_NAMES"  # noqa: S105 - likewise
ZONE: Final = "KMESH_AWSIAM_ZONE"
REQUIRE_SERVICE_TAG: Final = "KMESH_AWSIAM_REQUIRE_SERVICE_TAG"
LOG_LEVEL: Final = "KMESH_AWSIAM_LOG_LEVEL"

AWS_IAM: Final = "aws-iam"
DEFAULT_LISTEN: Final = "127.0.0.1:5690"
_ZONE_TYPES: Final = frozenset({ProxyType.INGRESS, ProxyType.EGRESS})
_GOVERNS: Final[Mapping[str, frozenset[ProxyType]]] = {
    AUTH_TYPE: frozenset(ProxyType),
    DP_PROXY_TYPE: frozenset({ProxyType.DATAPLANE}),
    ZONE_PROXY_TYPE: _ZONE_TYPES,
}
_TRUE_TEXTS: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
# Beside the proxies, other people's words for whom to trust: AWS_CA_BUNDLE is the one that counts.
IGNORED_VARIABLES: Final = (*_PROXY_VARIABLES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the environment: the variable, and what to do."""

    variable: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.remedy}"


def enabled_types(environ: Mapping[str, str | None]) -> frozenset[ProxyType]:
    """Return the proxy types whose variable says ``aws-iam``."""
    return frozenset().union(*(types for name, types in _GOVERNS.items() if environ.get(name) == AWS_IAM))


def cross_problems(environ: Mapping[str, str], known: Collection[str], prefix: str) -> Iterator[Problem]:
    """Find what is wrong between variables.

    Args:
        environ: the environment, without empty values.
        known: the variables that this service reads.
        prefix: that of its own variables; a variable with it that is not known is misspelt.
    """
    yield from _auth_type_problems(environ)
    yield from _account_problems(environ)
    yield from _listener_problems(environ)
    yield from _store_problems(environ)
    if "KMESH_AWSIAM_READER_EXTERNAL_ID" in environ and "KMESH_AWSIAM_READER_ROLE_NAME" not in environ:
        yield Problem(
            "KMESH_AWSIAM_READER_EXTERNAL_ID", "it belongs to KMESH_AWSIAM_READER_ROLE_NAME; set both or neither"
        )
    if environ.get(LOG_LEVEL) in ("warning", "error") and (DATAPLANE_KEYS in environ or ZONE_KEYS in environ):
        yield Problem(
            LOG_LEVEL,
            "it must be info or debug where tokens are issued: a token's id, by which Kuma revokes it, stands in its "
            "decision's line alone, which is info",
        )
    for name in sorted(environ):
        if name.startswith(prefix) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            yield Problem(name, f"no such setting; {hint} (a misspelt one would be silently without effect)")


def region_problems(
    environ: Mapping[str, str], endpoints: Iterable[StsEndpoint], partition_of: Callable[[str], str | None]
) -> Iterator[Problem]:
    """Check partition and regions against botocore's data.

    Args:
        environ: the environment, without empty values.
        endpoints: every STS endpoint that botocore knows.
        partition_of: tells the partition that a region's name belongs to by its pattern.
    """
    regions: dict[str, set[str]] = {}
    for endpoint in endpoints:
        regions.setdefault(endpoint.partition, set()).add(endpoint.region)
    partition = environ.get("KMESH_AWSIAM_PARTITION", "aws")
    if partition not in regions:
        yield Problem("KMESH_AWSIAM_PARTITION", f"it must be one of {', '.join(regions)}")
        return
    given = {region.strip() for region in environ.get(REGIONS, "").split(",")} - {""}
    extra: frozenset[str] = frozenset()
    with contextlib.suppress(ValueError):  # reported as the variable's own problem
        extra = parse_extra_regions(environ[EXTRA_REGIONS]) if EXTRA_REGIONS in environ else extra
    if foreign := sorted(region for region in extra if partition_of(region) != partition):
        yield Problem(
            EXTRA_REGIONS, f"no name of a region of partition {partition}: {', '.join(foreign)}; correct or remove it"
        )
    elif given and (unlisted := sorted(extra - given)):
        yield Problem(EXTRA_REGIONS, f"{REGIONS} is set and lacks {', '.join(unlisted)}; list it there as well")
    known = regions[partition] | extra
    if unknown := sorted(given - known):
        yield Problem(
            REGIONS,
            f"no STS region of partition {partition}: {', '.join(unknown)}; it has {', '.join(sorted(known))}; name a newer "
            f"one in {EXTRA_REGIONS} as well",
        )
    name = "AWS_REGION" if "AWS_REGION" in environ else "AWS_DEFAULT_REGION"
    if environ.get(name, next(iter(known))) not in known:
        yield Problem(
            name,
            f"no region of KMESH_AWSIAM_PARTITION, which is {partition}; correct one of them, or name a newer region in "
            f"{EXTRA_REGIONS}",
        )


def form_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Refuse an empty list of forms: other empty variables count as unset, which for this one would accept every form.

    Args:
        environ: the environment, with empty values.
    """
    if environ.get(CREDENTIAL_FORMS) == "":
        yield Problem(
            CREDENTIAL_FORMS, f"it is empty; list one or more of {','.join(CredentialForm)}, or unset it to accept all"
        )


def _auth_type_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    if not enabled_types(environ):
        yield Problem(
            f"{AUTH_TYPE} or {DP_PROXY_TYPE} / {ZONE_PROXY_TYPE}",
            "none of them says aws-iam, so there is nothing to authenticate; set the first for a control plane of 2.0 to "
            "2.6, or the others for 2.7 and later, to aws-iam",
        )
    for name in (DP_PROXY_TYPE, ZONE_PROXY_TYPE):
        old, new = environ.get(AUTH_TYPE), environ.get(name)
        if old is not None and new is not None and (old == AWS_IAM) != (new == AWS_IAM):
            yield Problem(
                f"{AUTH_TYPE} and {name}",
                "they disagree about aws-iam; keep the one of your control plane's generation (2.7 brought the second)",
            )
    if environ.get(AUTH_TYPE) == AWS_IAM and not _is_true(environ, USE_TOKEN_PATH):
        yield Problem(USE_TOKEN_PATH, "set it to true: a credential lives 15 minutes and is renewed in a file")
    if AWS_IAM in (environ.get(DP_PROXY_TYPE), environ.get(ZONE_PROXY_TYPE)) and not _is_true(
        environ, RELOADABLE_TOKENS
    ):
        yield Problem(RELOADABLE_TOKENS, "set it to true: a credential lives 15 minutes and is renewed in a file")


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in _TRUE_TEXTS


def _account_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    given = [name for name in (ACCOUNTS, ACCOUNTS_FILE) if name in environ]
    if not given:
        yield Problem(
            ACCOUNTS,
            f"set it to the AWS account ids whose roles may join: 111122223333,444455556666 (or {ACCOUNTS_FILE})",
        )
    if len(given) > 1:
        yield Problem(f"{ACCOUNTS} and {ACCOUNTS_FILE}", "exactly one of them is to be set; remove one")


def _listener_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Refuse a listener that unknown callers can reach: an answer names roles and accounts, and tells good credentials."""
    yield from _tls_problems(environ)
    listen = environ.get(LISTEN, DEFAULT_LISTEN)
    try:
        address = parse_listen_address(listen)
    except ValueError:
        return  # reported as the variable's own problem
    if isinstance(address, UnixAddress):
        yield from _socket_problems(environ)
    elif not address.is_loopback:
        yield from _reachable_problems(environ)
    if environ.get("KMESH_AWSIAM_DIAGNOSTICS_LISTEN") == listen:
        yield Problem(
            "KMESH_AWSIAM_DIAGNOSTICS_LISTEN", "it is the address of KMESH_AWSIAM_LISTEN; give it another or unset it"
        )


def _tls_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    given = [name for name in (TLS_CERT, TLS_KEY) if name in environ]
    if len(given) == 1:
        other = TLS_KEY if given[0] == TLS_CERT else TLS_CERT
        yield Problem(given[0], f"a certificate and its key belong together; set {other} as well, or unset both")
    if TLS_CLIENT_CA in environ and not given:
        yield Problem(TLS_CLIENT_CA, f"callers show a certificate over TLS alone; set {TLS_CERT} and {TLS_KEY} as well")
    elif len(given) > 1 and environ.get(LISTEN, "").startswith("unix:"):
        yield Problem(TLS_CERT, f"a Unix socket has no TLS; unset the TLS files, or set {LISTEN} to host:port")


def _reachable_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Another host may call: it must prove who it is, and what it proves it with must not cross the network in clear."""
    if TLS_CLIENT_CA in environ or (CALLER_TOKENS in environ and (TLS_CERT in environ or TLS_KEY in environ)):
        return
    if CALLER_TOKENS in environ:
        yield Problem(
            LISTEN,
            f"it is reachable from other hosts, and the token of {CALLER_TOKENS} would cross the network in clear; set "
            f"{TLS_CERT} and {TLS_KEY} as well, or listen on 127.0.0.1:5690 or unix:/path",
        )
        return
    yield Problem(
        LISTEN,
        "it is reachable from other hosts, and callers are not authenticated there; listen on 127.0.0.1:5690 (the "
        "containers of one ECS task share loopback) or on unix:/path, or authenticate callers: set "
        f"{TLS_CERT} and {TLS_KEY}, and {TLS_CLIENT_CA} (mutual TLS) or {CALLER_TOKENS} (a bearer token)",
    )


def _socket_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    try:
        mode = parse_socket_mode(environ.get(SOCKET_MODE, str(DEFAULT_MODE)))
    except ValueError:
        return  # reported as the variable's own problem
    if mode.is_world_writable and CALLER_TOKENS not in environ:
        yield Problem(
            SOCKET_MODE,
            f"every local user could call, and callers are not authenticated; take write from others (0660), or set "
            f"{CALLER_TOKENS}",
        )


def _store_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Refuse half of a store; what it holds would be unsealed, or not be there."""
    if STORE in environ and STORE_KEY not in environ:
        yield Problem(
            STORE,
            f"what is stored has to be sealed; set {STORE_KEY} to a file that every replica has; make its key with: "
            "openssl rand -base64 32",
        )
    if STORE_KEY in environ and STORE not in environ:
        yield Problem(STORE_KEY, f"it belongs to {STORE}; set both or neither")
    if STORE_CA in environ and not environ.get(STORE, "").startswith("rediss://"):
        yield Problem(
            STORE_CA, f"the store shows a certificate over TLS alone; set {STORE} to rediss://, or unset this"
        )


def environment_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """Say what stands in the environment and is ignored on purpose."""
    for name in _PROXY_VARIABLES:
        if environ.get(name):
            yield f"{name} is ignored; set KMESH_AWSIAM_HTTPS_PROXY to reach STS and IAM through a proxy"


def require_meshes(accounts: AbstractSet[str], meshes: AccountMeshes) -> None:
    """Hold the listed accounts to the map of meshes: one that stands in the list alone could claim nothing.

    Raises:
        ValueError: an account has no entry in ``KMESH_AWSIAM_ACCOUNT_MESHES``.
    """
    missing = sorted(accounts - meshes.keys())
    if missing:
        raise ValueError(f"every listed account must stand in it; add {', '.join(missing)} (=* for every mesh)")
