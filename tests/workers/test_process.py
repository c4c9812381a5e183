"""One worker as its parent sees it, played by small programs."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from app.sockets import Sockets
from app.workers.process import WorkerProcess
from tests.support.service import until

SAY = """
import json, os, socket, sys, time

seat = json.loads(os.environ["_KUMA_AWS_IAM_SEAT"])
lifeline = socket.socket(fileno=seat["lifeline"])
"""


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with socket.create_server(("127.0.0.1", 0)) as api:
        yield Sockets(api, None)


def start(sockets: Sockets, program: str, monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """Start what stands for the command line of this process."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", SAY + program])
    return WorkerProcess(1, sockets, "/nowhere")


async def test_it_tells_how_a_worker_has_ended(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await start(sockets, "sys.exit(3)", monkeypatch).wait() == 3
    assert await start(sockets, "os.kill(os.getpid(), 9)", monkeypatch).wait() == -signal.SIGKILL


async def test_a_worker_serves_once_it_has_said_so(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(sockets, "lifeline.send(b'1'); lifeline.recv(1)", monkeypatch)
    assert not worker.serves
    waiting = asyncio.create_task(worker.wait())
    await until(lambda: worker.serves)
    worker.send(signal.SIGTERM)
    assert await waiting == -signal.SIGTERM
    assert not worker.serves
    worker.send(signal.SIGTERM)  # to nobody


async def test_it_hands_over_the_socket_that_it_listens_on(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(sockets, "socket.socket(fileno=seat['api']).accept()[0].send(b'here')", monkeypatch)
    reader, writer = await asyncio.open_connection(*sockets.api.getsockname())
    assert await reader.read() == b"here"
    writer.close()
    assert await worker.wait() == 0


async def test_one_that_served_and_hangs_is_killed(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.workers.process.SILENCE_SECONDS", 0.05)
    says = "for _ in range(20): lifeline.send(b'1'); time.sleep(0.01)"
    with capture_logs() as log:
        assert await start(sockets, f"{says}\ntime.sleep(60)", monkeypatch).wait() == -signal.SIGKILL
    assert {event["event"] for event in log} == {"worker hangs"}


async def test_one_that_takes_long_to_start_is_not(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that start on few cores take their time."""
    monkeypatch.setattr("app.workers.process.SILENCE_SECONDS", 0.001)
    assert await start(sockets, "time.sleep(0.2); sys.exit(4)", monkeypatch).wait() == 4


async def test_one_that_cannot_be_started_leaves_nothing_open(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError, match="No such file"):
        start(sockets, "", monkeypatch)
