"""A stream whose reader has gone."""

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def unread_pipe() -> Iterator[TextIO]:
    """Yield the text end of a pipe without a reader: each flush fails."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # closing tries to write the rest once more
            stream.close()
