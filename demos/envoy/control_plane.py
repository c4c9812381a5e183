"""What stands behind Envoy: a gRPC server with the method names of a DP server, and its bootstrap.

It writes down what it saw: which method, which metadata, which body. It lets everybody in, unless it is given a judge.
"""

import http.server
import json
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from demos.envoy.certificates import Certificate

ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
DELTA: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
HDS: Final = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck"
# Of every stream that was taken, as the beginning of its answer.
TAKEN: Final = ("x-control-plane", "taken")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream or a call as it arrived."""

    method: str
    headers: Headers = field(repr=False)
    """They hold what was presented."""
    body: bytes = field(default=b"", repr=False)

    def values(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key == name]


Judge = Callable[[Seen, bytes], str | None]
"""Given a stream and its first message: why it is refused, or None."""


@dataclass(slots=True)
class ControlPlane:
    """Where it listens, and what came."""

    judge: Judge = lambda _seen, _request: None
    is_silent: bool = False
    """Whether messages stay unanswered: a real proxy would not understand the answers of this one."""

    streams_port: int = 0
    bootstrap_port: int = 0
    streams: list[Seen] = field(default_factory=list)
    """Every stream that was opened, also those that have ended."""
    open_streams: int = 0
    bootstraps: list[Seen] = field(default_factory=list)


@asynccontextmanager
async def open_control_plane(certificate: Certificate) -> AsyncIterator[ControlPlane]:
    """Serve both on loopback, with TLS as a DP server does."""
    control_plane = ControlPlane()
    server = grpc.aio.server(options=[("grpc.max_metadata_size", 65536), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Streams(control_plane),))
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.cert)])
    control_plane.streams_port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        with _bootstrap_server(control_plane, certificate) as control_plane.bootstrap_port:
            yield control_plane
    finally:
        await server.stop(grace=None)


class _Streams(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers each message of a stream with one, in bytes: protocol buffers are nobody's business here."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method not in (ADS, DELTA, HDS):
            return None
        headers = tuple((str(key), str(value)) for key, value in handler_call_details.invocation_metadata)
        seen = Seen(handler_call_details.method, headers)

        async def talk(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            await context.send_initial_metadata((TAKEN,))
            self._control_plane.streams.append(seen)
            self._control_plane.open_streams += 1
            try:
                async for request in requests:
                    if refusal := self._control_plane.judge(seen, request):
                        # As a DP server's callbacks end a stream: an error without a status of its own.
                        await context.abort(grpc.StatusCode.UNKNOWN, f"authentication failed: {refusal}")
                    if not self._control_plane.is_silent:
                        yield b"answer to " + request
            finally:
                self._control_plane.open_streams -= 1

        return grpc.stream_stream_rpc_method_handler(talk)


@contextmanager
def _bootstrap_server(control_plane: ControlPlane, certificate: Certificate) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = tuple((name.lower(), value) for name, value in self.headers.items())
            control_plane.bootstraps.append(Seen(f"POST {self.path}", headers, body))
            answer = json.dumps({"bootstrap": "", "host": self.headers["host"]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing: the demo prints a table."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "cert", Path(folder) / "key"
        certificate.write(*files)
        context.load_cert_chain(*files)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), name="bootstrap", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
