"""The calls of a control plane: one, some at once, and very many at once."""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from chaos.aws import CLAIM

PATH: Final = "/v1/authenticate"
ALLOWED: Final = "200"
UNANSWERED: Final = "no answer"
# Longer than any decision may take: what does not end by then is a hang.
CALL_SECONDS: Final = 20.0
_OK: Final = 200
_UNAVAILABLE: Final = 503
_SIGNATURE_CHARS: Final = 40
# The kernel queues 4,096 connections for the service. One beyond that is tried again after 1, 3 and 7 s, and the time would
# count for the service.
_CONNECTING_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """What a control plane saw.

    Attributes:
        outcome: the status and the reason: ``503 sts_unavailable``; ``200``; or ``no answer``.
        seconds: from the call to the whole answer.
        complaint: what is wrong with the answer itself, or empty.
    """

    outcome: str
    seconds: float
    complaint: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it was an approval."""
        return self.outcome == ALLOWED


@dataclass(frozen=True, slots=True)
class Caller:
    """A control plane that calls one service, each time over a new connection."""

    port: int

    def get(self, path: str, seconds: float = CALL_SECONDS) -> int:
        """Return the status of a probe; 0 where there is no answer."""
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as connection:
                connection.request("GET", path)
                return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0

    def read(self, path: str, seconds: float = CALL_SECONDS) -> str:
        """Return what a path answers; nothing where there is no answer."""
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as connection:
                connection.request("GET", path)
                return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""

    def ask(self, credential: str) -> Answer:
        """Present one credential."""
        body = json.dumps({"credential": credential, "proxy": CLAIM})
        started = time.monotonic()
        try:
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS)
            ) as connection:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
        except (OSError, http.client.HTTPException):
            return Answer(UNANSWERED, time.monotonic() - started)
        return _read(response.status, response.headers.get("retry-after"), content, credential, started)

    def ask_all(self, credentials: Iterable[str]) -> list[Answer]:
        """Present some credentials at the same moment, each over a connection of its own."""
        pending = list(credentials)
        with ThreadPoolExecutor(len(pending)) as threads:
            return list(threads.map(self.ask, pending))

    def storm(self, credentials: Sequence[str]) -> list[Answer]:
        """Present very many at the same moment."""
        return asyncio.run(_storm(self.port, credentials))


def _read(status: int, retry_after: str | None, body: bytes, credential: str, started: float) -> Answer:
    seconds = time.monotonic() - started
    try:
        answer = json.loads(body)
    except ValueError:
        return Answer(f"{status} without JSON", seconds, "the answer is no JSON")
    if status == _OK:
        return Answer(ALLOWED, seconds)
    complaints = []
    if credential[-_SIGNATURE_CHARS:].encode() in body:
        complaints.append("the answer repeats the credential")
    if status == _UNAVAILABLE and not (retry_after or "").isdigit():
        complaints.append("503 without Retry-After")
    return Answer(f"{status} {answer.get('reason')}", seconds, "; ".join(complaints))


async def _storm(port: int, credentials: Sequence[str]) -> list[Answer]:
    connecting = asyncio.Semaphore(_CONNECTING_AT_ONCE)
    return await asyncio.gather(*(_ask(port, credential, connecting) for credential in credentials))


async def _ask(port: int, credential: str, connecting: asyncio.Semaphore) -> Answer:
    body = json.dumps({"credential": credential, "proxy": CLAIM}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\nConnection: close\r\n"
    started = time.monotonic()
    try:
        async with connecting:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        started = time.monotonic()
        async with asyncio.timeout(CALL_SECONDS):
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return Answer(UNANSWERED, time.monotonic() - started)
    if not answer:
        return Answer(UNANSWERED, time.monotonic() - started)
    head_part, _, content = answer.partition(b"\r\n\r\n")
    lines = head_part.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return _read(int(lines[0].split()[1]), headers.get("retry-after"), content, credential, started)
