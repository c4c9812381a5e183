"""Say in words why a call to AWS failed: through which proxy, with which certificates, and what to do about it."""

from typing import Final

from app.http.http1 import HttpError, TunnelRefusedError
from app.http.network import NetworkOptions
from app.http.pool import Origin, Progress
from app.local.causes import Cause, Peer, explain_failure

_PROXY_VARIABLE: Final = "KMESH_AWSIAM_HTTPS_PROXY"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_NEEDS_LOGIN: Final = 407
_CANNOT_REACH: Final = frozenset({500, 502, 503, 504})


def explain_call(error: BaseException, origin: Origin, options: NetworkOptions, progress: Progress) -> Cause:
    """Return the cause of a call that got no answer.

    Args:
        error: the exception of `app.http.pool.HttpPool.exchange`.
        origin: the server of the call.
        options: the proxy and the trusted certificates of the call.
        progress: how far the call came.
    """
    proxy = None if options.proxy_url is None else _name(Origin.of(options.proxy_url))
    if isinstance(error, TunnelRefusedError):
        return _refused_tunnel(error.status, proxy or "", _name(origin))
    if progress.is_at_proxy and proxy is not None:
        peer = Peer(name=f"the proxy {proxy}", setting=_PROXY_VARIABLE, trust=_trust(options))
    else:
        peer = Peer(name=_name(origin), trust=_trust(options))
    if isinstance(error, HttpError):
        return Cause(
            f"what {peer.name} sent is no HTTP answer that can be used ({error})",
            "something else may answer there: check DNS, and a proxy or firewall on the path",
        )
    return explain_failure(error, peer, progress.stage)


def _name(origin: Origin) -> str:
    """Return host and port, without the port if it is the scheme's own. User information is no part of an origin."""
    return origin.host if _DEFAULT_PORTS.get(origin.scheme) == origin.port else origin.authority


def _trust(options: NetworkOptions) -> str:
    if options.ca_file is None:
        return (
            "if a proxy or firewall intercepts TLS here, set AWS_CA_BUNDLE to a PEM file with its authority; otherwise do "
            "not trust what answers"
        )
    return f"AWS_CA_BUNDLE ({options.ca_file}) has no authority for it: add that of what intercepts TLS, or AWS's own"


def _refused_tunnel(status: int, proxy: str, host: str) -> Cause:
    problem = f"the proxy {proxy} ({_PROXY_VARIABLE}) refuses CONNECT to {host} with status {status}"
    if status == _NEEDS_LOGIN:
        return Cause(problem, f"put the proxy's user and password into {_PROXY_VARIABLE}")
    if status in _CANNOT_REACH:
        return Cause(problem, f"the proxy itself may not reach {host}: check its DNS and its way out")
    return Cause(problem, f"allow {host} in the proxy's rules")
