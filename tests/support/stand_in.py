"""A program on the service's port that is not the service: it answers every call as the test says, and records it."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

Headers = list[tuple[str, str]]


@dataclass
class StandIn:
    """Its address, its answer, and the calls that it got."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    port: int = 0
    calls: list[tuple[str, Headers]] = field(default_factory=list)
    """Method and target, and the headers as they came."""
    released: threading.Event | None = None
    """No answer before it is set."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def values(self, name: str) -> list[str]:
        """Every value of a header of the last call."""
        return [value for key, value in self.calls[-1][1] if key.lower() == name]


@contextlib.contextmanager
def standing_in(status: int = 200, *headers: tuple[str, str]) -> Iterator[StandIn]:
    """Listen on loopback."""
    stand_in = StandIn(status, list(headers))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            stand_in.calls.append((f"POST {self.path}", list(self.headers.items())))
            if stand_in.released is not None:
                stand_in.released.wait(30)
            with contextlib.suppress(BrokenPipeError):
                self.send_response(stand_in.status)
                for name, value in stand_in.headers:
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stand_in.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            if stand_in.released is not None:
                stand_in.released.set()
            server.shutdown()
            thread.join()
