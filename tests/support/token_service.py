"""A service as the contract describes it, which answers ``POST /v1/token`` with the answers of a test.

It is another process's part of a real conversation: HTTP over a socket, TLS where a test wants it. The service itself
cannot be made to throttle for a minute or to answer garbage.
"""

import contextlib
import json
import math
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.signing import jwt


@dataclass(frozen=True)
class Answer:
    """One answer: a status, JSON or raw bytes, and headers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Made = Callable[[], Answer]


def make_token(lifetime: timedelta = timedelta(hours=1), **claims: Any) -> str:
    """Return a text in the form of a token, without a valid signature; no test here verifies it."""
    now = datetime.now(UTC)
    ends = math.ceil((now + lifetime).timestamp())
    payload = {"iat": int(now.timestamp()), "exp": ends, "jti": "j", **claims}
    return jwt({"alg": "RS256", "kid": "k1", "typ": "JWT"}, payload, "c2lnbmF0dXJl")


def issued(token: str | None = None) -> Answer:
    """Return an answer with a token, as the contract describes it."""
    return Answer(body={"token": token or make_token(), "kid": "k1", "expiresAt": "2026-11-25T00:00:00Z"})


def lasting(seconds: float) -> Made:
    """Return an answer with a token that lasts so long from the time of the call."""
    return lambda: issued(make_token(timedelta(seconds=seconds)))


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """A problem document."""
    body = {"title": "no", "status": status, "detail": "Do something about it.", "reason": reason}
    return Answer(status, body, {"X-Request-Id": "request-1", **headers})


@dataclass
class TokenService:
    """Records its calls, and returns its answers in order; the last one repeats."""

    address: str
    answers: list[Answer | Made]
    calls: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.calls.append((path, headers, json.loads(body)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.asked.release()
        return answer if isinstance(answer, Answer) else answer()


@contextlib.contextmanager
def token_service(
    *answers: Answer | Made, unix: str | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[TokenService]:
    """Serve on a loopback port, or on a Unix socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = service.answer(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response_only(answer.status)
            data = answer.data()
            own = {"Date": self.date_time_string(), **answer.headers, "Content-Length": str(len(data))}
            for name, value in own.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Print nothing."""

        def address_string(self) -> str:
            return "client"

    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            return (connection if tls is None else tls.wrap_socket(connection, server_side=True)), address

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Ignore a client that ends a handshake, which is what a test wants."""

    class UnixServer(Server):
        address_family = socket.AF_UNIX

    server = Server(("127.0.0.1", 0), Handler) if unix is None else UnixServer(unix, Handler)  # type: ignore[arg-type]
    port = server.server_address[1]
    address = f"unix:{unix}" if unix else f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    service = TokenService(address, list(answers) or [issued()])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
