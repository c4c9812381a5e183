"""A workload that answers with what it received, so that a test sees which headers the mesh added, and its caller."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator

import httpx

from tests.support.kuma.program import wait_until


@contextlib.contextmanager
def echo_server(name: str) -> Iterator[int]:
    """Serve on a loopback port, which is yielded: each answer has the server's name and the request's headers as JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = json.dumps({"served_by": name, "path": self.path, "headers": headers}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def call_until(port: int, status: int) -> httpx.Response:
    """Call an outbound until the proxies have the configuration that leads to this status."""
    answers: list[httpx.Response] = []

    def call() -> bool:
        try:
            answers.append(httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=10))
        except httpx.TransportError:
            return False
        return answers[-1].status_code == status

    wait_until(call, lambda: f"never {status}: {answers[-1:]} {[each.text for each in answers[-1:]]}")
    return answers[-1]
