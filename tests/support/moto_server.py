"""A new moto server. moto keeps its state in the process, which the servers of other modules share."""

import contextlib
import http.client
from collections.abc import Iterator

from moto.server import ThreadedMotoServer

from tests.support.patience import PATIENCE


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Start a server on loopback, and yield its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        moto_api(f"http://{host}:{port}", "reset")
        moto_api(f"http://{host}:{port}", "reset-auth", "inf")  # no signature is verified
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def moto_api(url: str, action: str, body: str = "") -> None:
    """Call moto's own API."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("POST", f"/moto-api/{action}", body=body)
    assert connection.getresponse().status == 200
    connection.close()
