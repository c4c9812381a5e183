"""A stream that nobody takes anything from any more."""

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def unread_pipe() -> Iterator[TextIO]:
    """Yield the text end of a pipe whose reader has gone: each flush fails."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # what was not taken is tried once more
            stream.close()
