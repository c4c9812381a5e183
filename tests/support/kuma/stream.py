"""The first message of a proxy's xDS stream, as ``kuma-dp``'s Envoy sends it, without an Envoy.

A table of tokens is compared with a real control plane in milliseconds a row, where a start of Envoy takes seconds. The
message is a ``DiscoveryRequest`` of Envoy's protocol buffers, from 3.0 on a ``DeltaDiscoveryRequest``, written by hand from
the few fields that Kuma reads.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc

from demos.envoy.certificates import NAME
from demos.envoy.control_plane import ADS, DELTA
from tests.support.kuma.release import KUMA
from tests.support.patience import PATIENCE

_CLUSTERS: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_AUTHENTICATION_FAILED: Final = "authentication failed: "
# The control plane has not yet noticed the end of the stream before; the limit of the whole test ends the retries.
_STILL_ACTIVE: Final = "already an active stream from this node"
_NO_SUCH_PROXY: Final = "unsupported proxy type"
_RETRY_SECONDS: Final = 0.2


def refusal_of(port: int, authority: bytes, token: str, resource: Mapping[str, Any], proxy_type: str) -> str | None:
    """Open a stream with a token as this proxy, and return the control plane's refusal; `None` if it accepts.

    Args:
        port: of the DP server.
        authority: PEM of the authority of its certificate.
        token: sent as ``authorization``.
        resource: the ``Dataplane``, ``ZoneIngress`` or ``ZoneEgress``.
        proxy_type: kuma-dp's word for the kind of resource.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", NAME)]
    credentials = grpc.ssl_channel_credentials(authority)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        call = channel.stream_stream(DELTA if KUMA.has_only_labels else ADS)(
            iter([_discovery_request(resource, proxy_type)]), metadata=(("authorization", token),), timeout=PATIENCE
        )
        try:
            # After the one message the proxy's side is closed, so the control plane ends the stream that it accepted.
            next(call, None)
        except grpc.RpcError as error:
            if _STILL_ACTIVE in str(error.details()):
                time.sleep(_RETRY_SECONDS)
                return refusal_of(port, authority, token, resource, proxy_type)
            if _NO_SUCH_PROXY in str(error.details()):
                return str(error.details())
            _, mark, refusal = str(error.details()).partition(_AUTHENTICATION_FAILED)
            if not mark:
                raise
            return refusal
    return None


def is_let_in(
    port: int, authority: bytes, token: str, resource: Mapping[str, Any], is_known: Callable[[], bool]
) -> bool:
    """Open a stream with a token as this new data plane proxy, and return whether the control plane lets it in.

    A control plane stores the Dataplane of a stream as soon as it has authenticated the first message. It ends the stream
    only some seconds later, so for thousands of proxies this is faster than `refusal_of`.

    Args:
        port: of the DP server.
        authority: PEM of the authority of its certificate.
        token: sent as ``authorization``.
        resource: a ``Dataplane`` of a name that the control plane does not know.
        is_known: whether the control plane has stored the Dataplane.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", NAME)]
    credentials = grpc.ssl_channel_credentials(authority)
    end = time.monotonic() + PATIENCE
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        call = channel.stream_stream(DELTA if KUMA.has_only_labels else ADS)(
            iter([_discovery_request(resource, "dataplane")]), metadata=(("authorization", token),), timeout=PATIENCE
        )
        while call.is_active():
            if is_known():
                call.cancel()
                return True
            assert time.monotonic() < end, "the control plane neither refuses the stream nor stores the Dataplane"
        assert _AUTHENTICATION_FAILED in str(call.details()), call.details()
        return False


def _discovery_request(resource: Mapping[str, Any], proxy_type: str) -> bytes:
    metadata = {
        "dataplane.proxyType": _text(3, proxy_type),
        "dataplane.resource": _text(3, json.dumps(resource)),
        "dataplane.admin.port": _text(3, "9901"),
    }
    entries = b"".join(_field(1, _text(1, key) + _field(2, value)) for key, value in metadata.items())
    node = _text(1, f"{resource.get('mesh', '')}.{resource['name']}") + _text(2, "test") + _field(3, entries)
    if KUMA.has_only_labels:
        return _field(1, node) + _text(2, _CLUSTERS)
    return _field(2, node) + _text(4, _CLUSTERS)


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, content: bytes) -> bytes:
    """Encode one length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
