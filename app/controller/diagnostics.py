"""``/healthy``, ``/ready`` and ``/metrics`` of a controller. They expose only status, in plain HTTP."""

import contextlib
import io
import socket
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.exposition import ThreadingWSGIServer

from app.controller.metrics import CONTENT_TYPE, ControllerMetrics
from app.local.addresses import TcpAddress
from app.local.clock import Timer

# A pass takes seconds. If none has ended for so long, or for ten intervals, the process hangs.
MAX_SILENT_SECONDS: Final = 300.0
SILENT_INTERVALS: Final = 10
# A client that sends its request more slowly is cut off, so that it does not keep a thread.
REQUEST_SECONDS: Final = 10.0
# The request of a probe or of a scraper has 300 bytes. It is read at once.
MAX_REQUEST_BYTES: Final = 8192
MAX_PROBES: Final = 16

_TEXT: Final = "text/plain; charset=utf-8"
_STATUSES: Final = {200: "200 OK", 404: "404 Not Found", 405: "405 Method Not Allowed", 503: "503 Service Unavailable"}
_Answer = tuple[int, str, bytes]


@dataclass(slots=True, kw_only=True)
class State:
    """What the probes report.

    Attributes:
        timer: seconds of a monotonic clock.
        silent_seconds: the time without the end of a pass after which `healthy` fails.
        ended_at: when the last pass ended, full or not; at first the start of the process.
        had_full_pass: whether one pass could read all tasks and secrets, and get all tokens that were due.
        is_stopping: whether the process ends.
    """

    timer: Timer
    silent_seconds: float
    ended_at: float = field(init=False)
    had_full_pass: bool = False
    is_stopping: bool = False

    def __post_init__(self) -> None:
        self.ended_at = self.timer()

    def healthy(self) -> _Answer:
        """Whether passes end. It does not depend on AWS: if AWS fails, a restart would not help."""
        if self.timer() - self.ended_at > self.silent_seconds:
            return 503, _TEXT, b"no pass has ended for too long\n"
        return 200, _TEXT, b"healthy\n"

    def ready(self) -> _Answer:
        """Whether the controller could do its work once."""
        if self.is_stopping:
            return 503, _TEXT, b"stopping\n"
        if not self.had_full_pass:
            return 503, _TEXT, b"no full pass yet: see the log, and kuma_aws_iam_controller_failures_total\n"
        return 200, _TEXT, b"ready\n"


@contextlib.contextmanager
def serve_diagnostics(address: TcpAddress, state: State, metrics: ControllerMetrics) -> Iterator[str]:
    """Serve in a thread until the end of the block. Yield the address, with the port that was found if it was 0.

    Raises:
        OSError: the address cannot be listened on.
    """
    pages: dict[str, Callable[[], _Answer]] = {
        "/healthy": state.healthy,
        "/ready": state.ready,
        "/metrics": lambda: (200, CONTENT_TYPE, metrics.expose()),
    }

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        status, kind, body = (404, _TEXT, b"not found\n") if page is None else page()
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, kind, body = 405, _TEXT, b"only GET\n"
        start_response(_STATUSES[status], [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    server = wsgiref.simple_server.make_server(
        address.host, address.port, application, _server_class(address), _Handler
    )
    thread = threading.Thread(target=server.serve_forever, name="diagnostics", daemon=True)
    with server:
        thread.start()
        try:
            yield str(TcpAddress(address.host, server.server_port))
        finally:
            server.shutdown()
            thread.join()


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(REQUEST_SECONDS)
        # One reading, and not one for each part: otherwise a client that sends a byte every few seconds would never come to
        # an end.
        self.rfile = io.BufferedReader(io.BytesIO(self.connection.recv(MAX_REQUEST_BYTES)))

    def log_message(self, *_: Any) -> None:
        """Write no line for a probe."""


class _Server(ThreadingWSGIServer):
    """A server with a bounded number of threads. A probe beyond it is not answered, and its connection is closed."""

    # By default the kernel drops the sixth connection that waits, and its client tries again only after a second.
    request_queue_size = 2 * MAX_PROBES

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._places = threading.BoundedSemaphore(MAX_PROBES)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def server_bind(self) -> None:
        # `http.server` would ask DNS for the name of this host.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """Print no traceback about a client that went away."""


class _Ipv6Server(_Server):
    address_family = socket.AF_INET6


def _server_class(address: TcpAddress) -> type[_Server]:
    return _Ipv6Server if ":" in address.host else _Server
