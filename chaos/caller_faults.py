"""Callers misbehave: they dribble, fall silent, or are more than there are file descriptors."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from typing import Final

from app.api.authenticate import BODY_TIMEOUT_SECONDS, MAX_DECISIONS
from app.api.protocol import HEAD_TIMEOUT_SECONDS
from chaos.calls import PATH
from chaos.row import Promise, Row, Seen
from chaos.stage import Service, Stage

_DRIBBLING: Final = MAX_DECISIONS + 200
_HEAD: Final = f"POST {PATH} HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
_DESCRIPTORS: Final = 256
_SILENT: Final = 300
_SECONDS: Final = 2.0
_IDLE_CPU_SECONDS: Final = 0.5


def rows() -> Iterator[Row]:
    """Yield the rows; each starts a service of its own."""
    yield Row(
        fault=f"{_DRIBBLING:,} callers send a head and never the body",
        promise=Promise(
            outcomes=("200",), within=_SECONDS, recovery=BODY_TIMEOUT_SECONDS + 1, words="other callers are decided"
        ),
        play=_dribbling,
    )
    yield Row(
        fault=f"{_SILENT} silent connections, {_DESCRIPTORS} file descriptors",
        promise=Promise(
            outcomes=("200", "no answer"),
            within=HEAD_TIMEOUT_SECONDS + 2,
            recovery=HEAD_TIMEOUT_SECONDS + 2,
            words="it lives",
        ),
        play=_too_many,
    )


def _dribbling(stage: Stage, promise: Promise) -> Seen:
    service = _started(stage)
    known = stage.known()
    with _connections(service.caller.port, _DRIBBLING, _HEAD.encode()):
        time.sleep(1.0)
        seen = Seen([stage.caller.ask(known), stage.caller.ask(stage.tasks.credential())])
        seen.recovered = stage.recovery(lambda: known, 3 * (promise.recovery or 0))
    service.end()
    return seen


def _too_many(stage: Stage, promise: Promise) -> Seen:
    service = _started(stage)
    known = stage.known()
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    with _connections(service.caller.port, _SILENT, b""):
        time.sleep(1.0)
        began = time.monotonic()
        seen = Seen([stage.caller.ask(known)])
        left = stage.recovery(lambda: known, 3 * (promise.recovery or 0))
        seen.recovered = None if left is None else time.monotonic() - began
        cpu = service.cpu()
    time.sleep(1.0)
    seen.expect(service.cpu() - cpu < _IDLE_CPU_SECONDS, "it is busy with nothing")
    service.end()
    return seen


def _started(stage: Stage) -> Service:
    service = stage.start()
    service.until_ready()
    service.until_own_account()
    return service


@contextlib.contextmanager
def _connections(port: int, number: int, first: bytes) -> Iterator[None]:
    """Hold so many connections, each of which has sent something and says no more."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            if first:
                connection.sendall(first)
        yield
