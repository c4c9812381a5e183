"""Callers misbehave: they dribble, hang up, or are more than there are file descriptors."""

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final

from app.api.call_bounds import BODY_TIMEOUT_SECONDS
from app.server.protocol import HEAD_TIMEOUT_SECONDS
from chaos.calls import PATH
from chaos.row import Promise, Row, Seen
from chaos.stage import Service, Stage

_DRIBBLING: Final = 4_296
_HEAD: Final = f"POST {PATH} HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
_DESCRIPTORS: Final = 256
_SILENT: Final = 300
_RESET: Final = 6_000
_AT_ONCE: Final = 200
_IDLE: Final = 0.05
_MEMORY_MB: Final = 15.0
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
    yield Row(
        fault=f"{_RESET:,} connections that are reset after their answer",
        promise=Promise(outcomes=("200",), within=_SECONDS, words=f"memory grows by less than {_MEMORY_MB:g} MB"),
        play=_reset,
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


def _reset(stage: Stage, promise: Promise) -> Seen:
    service = _started(stage)
    known = stage.known()
    # A credential that is refused without a call, after which the connection is kept.
    body = '{"credential": "x"}'
    request = f"{_HEAD.replace('100', str(len(body)))}{body}".encode()
    _reset_some(service.caller.port, _RESET // 10, request)
    before = service.memory()
    _reset_some(service.caller.port, _RESET, request)
    grown = service.memory() - before
    seen = Seen([stage.caller.ask(known), stage.caller.ask(stage.tasks.credential())])
    seen.expect(grown < _MEMORY_MB, f"memory grew by {grown:.0f} MB")
    seen.recovered = stage.recovery(stage.tasks.credential, promise.recovery or 0)
    service.end()
    return seen


def _reset_some(port: int, number: int, request: bytes) -> None:
    for _ in range(number // _AT_ONCE):
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(_AT_ONCE)
            ]
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                connection.recv(4096)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # The service is back to waiting for the next call on each of them.
            time.sleep(_IDLE)


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
