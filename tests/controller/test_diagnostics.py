"""The probes of a controller, over HTTP."""

import contextlib
import http.client
import socket

import httpx
import pytest

from app.controller.diagnostics import MAX_PROBES, State, serve_diagnostics
from app.controller.metrics import ControllerMetrics
from app.local.addresses import TcpAddress
from tests.support.exposition import read_samples
from tests.support.patience import PATIENCE

LOOPBACK = TcpAddress("127.0.0.1", 0)


def test_the_probes_say_what_the_state_is() -> None:
    now = [0.0]
    state = State(timer=lambda: now[0], silent_seconds=300)
    metrics = ControllerMetrics()
    with (
        serve_diagnostics(LOOPBACK, state, metrics) as address,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE) as client,
    ):
        assert (client.get("/healthy").status_code, client.get("/ready").status_code) == (200, 503)
        state.had_full_pass = True
        assert client.get("/ready").status_code == 200
        now[0] = 301
        assert client.get("/healthy").status_code == 503
        state.ended_at = 301
        assert client.get("/healthy").status_code == 200
        state.is_stopping = True
        assert client.get("/ready").status_code == 503
        page = client.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        assert read_samples(page.text) == read_samples(metrics.expose().decode())
        assert client.get("/else").status_code == 404
        assert client.post("/metrics").status_code == 405
        assert client.head("/healthy").status_code == 200


def test_a_client_without_a_place_is_closed_at_once() -> None:
    state = State(timer=lambda: 0.0, silent_seconds=300)
    with serve_diagnostics(LOOPBACK, state, ControllerMetrics()) as address, contextlib.ExitStack() as stack:
        host, port = address.split(":")
        for _ in range(MAX_PROBES):
            stack.enter_context(socket.create_connection((host, int(port))))
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            _ask(http.client.HTTPConnection(host, int(port), timeout=PATIENCE))


@pytest.mark.parametrize("sent", [b"", b"GET /hea"])
def test_clients_that_do_not_finish_their_request_lose_their_places(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Also if they send a byte now and then."""
    monkeypatch.setattr("app.controller.diagnostics.REQUEST_SECONDS", 1.0)
    state = State(timer=lambda: 0.0, silent_seconds=300)
    with serve_diagnostics(LOOPBACK, state, ControllerMetrics()) as address, contextlib.ExitStack() as stack:
        host, port = address.split(":")
        slow = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(MAX_PROBES)]
        for each in slow:
            each.sendall(sent)
        assert all(map(_wait_for_end, slow))
        _ask(http.client.HTTPConnection(host, int(port), timeout=PATIENCE))


def _wait_for_end(connection: socket.socket) -> bool:
    """Send a byte every half second until the server closes the connection. Return whether it does so within 20 s."""
    connection.settimeout(0.5)
    for _ in range(40):
        try:
            if not connection.recv(100):
                return True
            connection.sendall(b"l")
        except TimeoutError:
            with contextlib.suppress(OSError):
                connection.sendall(b"l")
        except OSError:
            return True
    return False


def _ask(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/healthy")
    connection.getresponse()


def test_a_taken_address_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = TcpAddress("127.0.0.1", taken.getsockname()[1])
        state = State(timer=lambda: 0.0, silent_seconds=300)
        with pytest.raises(OSError, match="in use"), serve_diagnostics(address, state, ControllerMetrics()):
            pass
