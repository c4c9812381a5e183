"""One call to the service has one time limit, whatever the answer is and however slowly it arrives."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from app.agent.errors import Failure, RenewalError
from app.agent.service_address import parse_service_url
from app.agent.service_client import TIMEOUT_SECONDS, ServiceAccess, ServiceClient
from tests.support.patience import PATIENCE

ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Clock:
    """A clock that only the test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def dripping(clock: Clock, comes_first: int) -> Iterator[str]:
    """A server whose answer begins after the deadline. It ends even if the client stays connected."""
    listening = socket.create_server(("127.0.0.1", 0))
    gone = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            while b"{}" not in connection.recv(65536):
                pass
            clock.now += TIMEOUT_SECONDS
            try:
                connection.sendall(ANSWER[:comes_first])
                connection.settimeout(PATIENCE)
                connection.recv(1)
                gone.set()
            except TimeoutError:
                connection.sendall(ANSWER[comes_first:])
            except ConnectionError:  # the client left without reading the answer
                gone.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        thread.join(PATIENCE)
        listening.close()
    assert gone.is_set()


@pytest.mark.parametrize("comes_first", [1, 30, len(ANSWER) - 1], ids=["status", "headers", "body"])
def test_an_answer_that_comes_by_single_bytes_is_not_waited_for(comes_first: int) -> None:
    """One byte now and then would block the only thread that renews."""
    clock = Clock()
    with dripping(clock, comes_first) as url:
        client = ServiceClient(parse_service_url(url), ServiceAccess(), clock)
        with pytest.raises(RenewalError) as raised:
            client.post("/v1/token", {})
    assert (raised.value.failure, raised.value.reason) == (Failure.UNDECIDED, "service_unreachable")
    assert "did not answer in time" in raised.value.detail
