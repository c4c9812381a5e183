"""Find the audit lines in a log: plain or gzip, with or without what collectors put around a line."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import orjson

from app.telemetry.audit import DECISION

MAX_LINE_BYTES: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
# The member with the text of the line: in exports of CloudWatch Logs, and in files of Docker and of Fluent Bit.
_WRAPPERS: Final = ("message", "@message", "log")
_MARK: Final = DECISION.encode()


class LogError(ValueError):
    """The log cannot be read to its end."""


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a log, one by one. A line of more than `MAX_LINE_BYTES` is cut, so that it is no audit line.

    Raises:
        LogError: the stream is damaged.
    """
    buffered = io.BufferedReader(cast("io.RawIOBase", stream))
    compressed = buffered.peek(len(_GZIP)).startswith(_GZIP)
    lines: Any = gzip.GzipFile(fileobj=buffered) if compressed else buffered
    try:
        while line := lines.readline(MAX_LINE_BYTES):
            yield line
    except (OSError, EOFError, zlib.error) as error:
        raise LogError("the log cannot be read to its end: it is cut off or damaged; get it again") from error
    finally:
        buffered.detach()  # otherwise its end would close the stream, which belongs to the caller


def find_decision(line: bytes) -> dict[str, Any] | None:
    """Return the members of an audit line; None if the line is another one.

    Text before the JSON, such as the time and the stream that CloudWatch Logs puts there, is ignored.
    """
    if _MARK not in line:
        return None
    members = _read_object(line[line.find(b"{") :])
    for wrapper in _WRAPPERS:
        inner = members.get(wrapper)
        if isinstance(inner, str):
            members = _read_object(inner[inner.find("{") :])
            break
    return members if members.get("event") == DECISION else None


def _read_object(text: bytes | str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
