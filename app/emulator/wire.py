"""One HTTP exchange as plain values: the client's request, and its answer.

Nothing in a request is verified.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from app.emulator.fault_kinds import FaultKind

FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it arrived. The client chooses all names and values in it."""

    method: str
    path: str
    query_string: str
    query: Sequence[tuple[str, str]]
    """The decoded query string, duplicates included."""
    headers: Mapping[str, tuple[str, ...]]
    """The headers by their lower-case names. Several values of one name are in the order of their arrival."""
    body: bytes

    @property
    def host(self) -> str:
        """The Host header as sent, port included."""
        return self.header("host") or ""

    @property
    def accepts_json(self) -> bool:
        """Whether the client asks for JSON; AWS's default is XML."""
        ranges = (part.partition(";")[0].strip() for part in (self.header("accept") or "").split(","))
        return "application/json" in ranges

    @property
    def is_form(self) -> bool:
        """Whether the body is a form; AWS reads no other body."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower() == FORM

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        values = self.headers.get(name)
        return values[0] if values else None

    def form(self) -> list[tuple[str, str]]:
        """Return the parameters of the body in their order."""
        return read_pairs(self.body.decode("utf-8", "replace")) if self.is_form else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, and how to deliver it."""

    status: int
    content_type: str | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delivery: FaultKind | None = None
    """The fault that the delivery has; None sends the answer as a whole."""
    latch: Future[None] | None = None
    """For `HANG`: the answer is sent when this is done."""
    latency: float = 0.0
    """Seconds before the answer."""
    pace: float = 0.0
    """For `SLOW_DRIP`: seconds before each byte."""


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Decode a query string or a form into pairs, duplicates and empty values included."""
    return parse_qsl(text, keep_blank_values=True)
