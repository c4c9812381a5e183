"""The part of a control plane's API that issues data plane tokens, by Kuma's rules and with none of the controller's code.

pkg/tokens/builtin/server/webservice.go and pkg/core/tokens/issuer.go of Kuma 2.14.
"""

import http.server
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

API_TOKEN: Final = "admin-token-of-the-control-plane"  # noqa: S105 - made up


@dataclass
class KumaApi:
    """A control plane's API, and what was asked of it.

    Attributes:
        binds_workloads: whether it is Kuma 2.13 or later; an older one ignores the member.
        key: signs the tokens.
        faults: the faults of the next calls: a status, ``hang``, ``garbage`` or ``close``.
        lasting: the fault of every call, after these.
        asked: the bodies of the calls that were answered with a token.
        tokens: these tokens.
        before: is called before each answer.
        released: ends calls that hang.
        clock: the date, in seconds since the epoch.
    """

    key: RSAPrivateKey
    url: str = ""
    binds_workloads: bool = True
    meshes: set[str] = field(default_factory=lambda: {"default", "payments"})
    faults: list[int | str] = field(default_factory=list)
    lasting: int | str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    before: Callable[[], object] | None = None
    clock: Callable[[], float] = time.time
    released: threading.Event = field(default_factory=threading.Event)

    def issue(self, asked: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body."""
        if asked["mesh"] not in self.meshes:
            return 404, b'{"title": "Could not issue a token"}'
        if not asked["validFor"].endswith("s"):
            return 400, b'{"title": "Invalid request"}'
        now = self.clock() - 5
        claims: dict[str, Any] = {
            "Name": asked.get("name", ""),
            "Mesh": asked["mesh"],
            "Tags": asked.get("tags") or {},
            "Type": asked.get("type", ""),
            "jti": str(uuid.uuid4()),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + int(asked["validFor"][:-1]) + 5,
        }
        if self.binds_workloads:
            claims["Workload"] = asked.get("workload", "")
        token = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "1"})
        self.asked.append(asked)
        self.tokens.append(token)
        return 200, token.encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: "_Server"
    wbufsize = -1  # headers and body in one packet

    def do_POST(self) -> None:
        state = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if state.before is not None:
            state.before()
        fault = state.faults.pop(0) if state.faults else state.lasting
        if fault == "hang":
            state.released.wait(60)
        if fault not in ("hang", "close"):
            self._send(*self._answer(fault, body))

    def _answer(self, fault: int | str | None, body: dict[str, Any]) -> tuple[int, bytes]:
        if isinstance(fault, int):  # a server can repeat what it was sent
            return fault, f'{{"title": "not for {self.headers["authorization"]}"}}'.encode()
        if fault == "garbage":
            return 200, b"<html>\xff"
        if self.path != "/tokens/dataplane":
            return 404, b""
        if self.headers["authorization"] != f"Bearer {API_TOKEN}":
            return 401, b""
        return self.server.state.issue(body)

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    state: KumaApi

    def handle_error(self, *_: object) -> None:
        """Print nothing about a client that gave up."""


@contextmanager
def kuma_api(key: RSAPrivateKey, certificate: tuple[Path, Path] | None = None) -> Iterator[KumaApi]:
    """Serve on a loopback port, with TLS if there is a certificate."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        scheme = "http" if certificate is None else "https"
        state = server.state = KumaApi(key, url=f"{scheme}://127.0.0.1:{server.server_port}")
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.released.set()
            server.shutdown()
            thread.join()
