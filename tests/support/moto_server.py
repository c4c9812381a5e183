"""A moto server that knows nothing yet: what moto holds belongs to the process, and other modules' servers share it."""

import contextlib
import http.client
from collections.abc import Iterator

from moto.server import ThreadedMotoServer

from tests.support.patience import PATIENCE


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Start one on loopback; yields its URL."""
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
    """Ask moto itself for something."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("POST", f"/moto-api/{action}", body=body)
    assert connection.getresponse().status == 200
    connection.close()
