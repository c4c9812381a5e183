"""Warnings about settings that are a risk or have no effect. Each rule yields sentences; none prevents the start."""

from collections.abc import Callable, Iterator
from typing import Final

from app.core.kuma_version import LABELS_ONLY
from app.local.addresses import UnixAddress
from app.settings.admission import AWS_IAM
from app.settings.environment import Settings
from app.settings.values import DEFAULT_AUDIENCE
from app.sts.endpoints import load_sts_endpoints


def find_warnings(settings: Settings) -> Iterator[str]:
    """Apply every rule."""
    for rule in _RULES:
        yield from rule(settings)


def _audience(settings: Settings) -> Iterator[str]:
    if settings.audience == DEFAULT_AUDIENCE:
        yield (
            "KMESH_AWSIAM_AUDIENCE is the default: a control plane that shares it can replay credentials to this one; give "
            "each control plane its own"
        )


def _unbound(settings: Settings) -> Iterator[str]:
    if settings.allow_unbound:
        yield ("KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS is on: a credential captured anywhere can be replayed here")
    if settings.allow_unbound_workloads:
        yield (
            "KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS is on: a proxy whose role has no kuma.io/workload can carry the label of "
            "any workload, and from Kuma 2.13 on have its SPIFFE id; tag the roles with kuma.io/workload, and set it to "
            "false"
        )


def _store(settings: Settings) -> Iterator[str]:
    if settings.store is not None and not settings.store.is_private:
        yield (
            "KMESH_AWSIAM_STORE crosses the network in clear: what is stored is sealed, but whoever is on the way reads the "
            "password, and can empty the store and hold back calls to AWS; write rediss:// (TLS)"
        )


def _without_effect(settings: Settings) -> Iterator[str]:
    given = settings.model_fields_set
    sockets = any(isinstance(address, UnixAddress) for address in (settings.listen, settings.diagnostics_listen))
    if not sockets and given & {"socket_mode", "socket_group"}:
        yield (
            "KMESH_AWSIAM_SOCKET_MODE and KMESH_AWSIAM_SOCKET_GROUP do nothing: no listener is a Unix socket (unix:/path)"
        )
    if "workers" in given:
        yield "KMESH_AWSIAM_WORKERS does nothing any more: one process serves; unset it"
    if settings.dataplane_keys_file is None and settings.zone_keys_file is None:
        without_keys = {"token_validity": "KMESH_AWSIAM_TOKEN_VALIDITY", "token_names": "KMESH_AWSIAM_TOKEN_NAMES"}
        for variable in (variable for field, variable in without_keys.items() if field in given):
            yield (
                f"{variable} does nothing: no token is issued without KMESH_AWSIAM_DATAPLANE_KEYS_FILE or "
                "KMESH_AWSIAM_ZONE_KEYS_FILE"
            )


def _tokens(settings: Settings) -> Iterator[str]:
    if settings.dataplane_keys_file is None:
        return
    if settings.kuma_version is not None and settings.kuma_version >= LABELS_ONLY:
        if not settings.require_workload_tag:
            yield (
                "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG is false: from Kuma 3.0 on the label kuma.io/workload makes the service, "
                "and the control plane can refuse a token without a workload; set it to true, and tag roles with "
                "kuma.io/workload"
            )
    elif not settings.require_service_tag:
        yield (
            "KMESH_AWSIAM_REQUIRE_SERVICE_TAG is false: the token of a role without kuma.io/service lets its proxy be every "
            "service of its mesh, below Kuma 2.13 even where the role has kuma.io/workload; set it to true, and from"
            " 2.13 on tag roles with both"
        )
    if settings.token_names:
        yield (
            "KMESH_AWSIAM_TOKEN_NAMES is true: /v1/ext-authz, which KMESH_AWSIAM_DATAPLANE_KEYS_FILE turns on, knows no "
            "name of a proxy and gives no data plane a token (proxy_name_missing); set it to false where Envoy is in "
            "front of a control plane"
        )


def _zone_tokens(settings: Settings) -> Iterator[str]:
    version = settings.kuma_version
    if version is None or version < LABELS_ONLY:
        return
    if settings.zone_keys_file is not None:
        yield (
            f"KMESH_AWSIAM_ZONE_KEYS_FILE is set, and {version} accepts no zone tokens: a zone proxy is a Dataplane with "
            "listeners, and presents a data plane token; unset it"
        )
    if settings.zone_proxy_type == AWS_IAM:
        yield (
            f"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE is aws-iam, and {version} has no ZoneIngress and no ZoneEgress; unset it"
        )
    if settings.auth_type is not None:
        yield (
            f"KUMA_DP_SERVER_AUTH_TYPE is for control planes before 2.7, and KMESH_AWSIAM_KUMA_VERSION says {version}; set "
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE instead"
        )


def _regions(settings: Settings) -> Iterator[str]:
    known = {endpoint.region for endpoint in load_sts_endpoints()}
    if superfluous := sorted(known & (settings.extra_regions or frozenset())):
        yield (
            f"KMESH_AWSIAM_EXTRA_REGIONS does nothing for regions that botocore knows: remove {', '.join(superfluous)}"
        )


def _files(settings: Settings) -> Iterator[str]:
    for variable, file in (
        ("KMESH_AWSIAM_DATAPLANE_KEYS_FILE", settings.dataplane_keys_file),
        ("KMESH_AWSIAM_ZONE_KEYS_FILE", settings.zone_keys_file),
        ("KMESH_AWSIAM_STORE_KEY_FILE", settings.store_key_file),
        ("KMESH_AWSIAM_CALLER_TOKEN_FILE", settings.caller_token_file),
        ("KMESH_AWSIAM_TLS_KEY_FILE", settings.tls_files),
    ):
        if file is not None:
            yield from (f"{variable}: {warning}" for warning in file.warnings())


def _candidate(settings: Settings) -> Iterator[str]:
    if settings.candidate_policy is not None and settings.candidate_policy.ignored:
        yield (
            f"KMESH_AWSIAM_CANDIDATE_POLICY_FILE sets {', '.join(settings.candidate_policy.ignored)}, which are not "
            "evaluated, since they belong to no policy; remove them from the file"
        )


def _plain_http(settings: Settings) -> Iterator[str]:
    specific = {"sts": settings.sts_endpoint_url, "iam": settings.iam_endpoint_url}
    reached: dict[str, list[str]] = {}
    for upstream in settings.upstreams_without_tls:
        name = upstream.upper()
        variable = "AWS_ENDPOINT_URL" if specific[upstream] is None else f"AWS_ENDPOINT_URL_{name}"
        reached.setdefault(variable, []).append(name)
    for variable, names in reached.items():
        yield (
            f"{variable} sends requests to {' and '.join(names)} in plain http: this service trusts whatever listens "
            "on that port as if it were AWS; use https, and http only for an emulator"
        )


def _ignored_proxies(settings: Settings) -> Iterator[str]:
    for name in settings.ignored_proxies:
        yield f"{name} is ignored; set KMESH_AWSIAM_HTTPS_PROXY to reach STS and IAM through a proxy"


_RULES: Final[tuple[Callable[[Settings], Iterator[str]], ...]] = (
    _audience,
    _unbound,
    _store,
    _without_effect,
    _tokens,
    _zone_tokens,
    _regions,
    _files,
    _candidate,
    _plain_http,
    _ignored_proxies,
)
