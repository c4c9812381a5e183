"""``/metrics`` of the agent, on a port that a collector in the same task scrapes.

The listener has a thread of its own, so a scraper never delays a renewal. A scraper has one second to send its request and
to read the answer. If it sends nothing, the next scraper waits for that second.
"""

import io
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, Final

from app.agent.state import CONTENT_TYPE
from app.local.addresses import TcpAddress

SECONDS: Final = 1.0
# A request of a scraper has 300 bytes. Only its first line is used.
MAX_REQUEST_BYTES: Final = 8192
_OK: Final = 200
_NOT_FOUND: Final = 404


def serve_metrics(address: TcpAddress, render: Callable[[], str]) -> TcpAddress:
    """Serve until the process ends. Return the address, with the port that the system chose for port 0.

    Raises:
        OSError: the address cannot be used.
    """
    server = _Server(address, render)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return TcpAddress(address.host, server.server_address[1])


class _Server(socketserver.TCPServer):
    allow_reuse_address = True

    def __init__(self, address: TcpAddress, render: Callable[[], str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.render = render
        super().__init__((address.host, address.port), _Scrape)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a scraper that leaves or sends nothing. The base class would print a traceback into the agent's log."""


class _Scrape(BaseHTTPRequestHandler):
    timeout: ClassVar[float] = SECONDS
    server: _Server

    def setup(self) -> None:
        super().setup()
        # One reading, and not one for each part: otherwise a scraper that sends a byte a second would never come to an end.
        self.rfile = io.BufferedReader(io.BytesIO(self.connection.recv(MAX_REQUEST_BYTES)))

    def do_GET(self) -> None:
        found = self.path == "/metrics"
        body = (self.server.render() if found else "only /metrics is here\n").encode()
        self.send_response(_OK if found else _NOT_FOUND)
        self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "kuma-aws-iam-agent"

    def log_message(self, *_: Any) -> None:
        """Write no line: a scrape is no event."""
