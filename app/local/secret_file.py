"""A file that holds a secret: replaced as a whole, for its owner and at most one group, exactly the text and no newline.

Who has the old one open keeps it, and nobody ever reads half of one. gRPC refuses a newline in metadata.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

OWNER_ALONE: Final = 0o600


def write_secret_file(path: Path, text: str, *, mode: int = OWNER_ALONE, gid: int | None = None) -> None:
    """Write it to the disk under another name in the same directory, then put it in the place of the old one.

    The new file has its group and its mode before it has its name, and is never laxer on the way.

    Raises:
        OSError: it cannot be written, given to the group, or put there; the old file stays as it was.
    """
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600, and nobody else's
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
            file.flush()
            if gid is not None:
                os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the name on the disk too, where the file system can do that."""
    # The file is in its place already: a folder that may be written and not read (mode 0300) makes no failure of that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
