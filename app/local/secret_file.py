"""Write a file with a secret.

The file is replaced as a whole. Only its owner and at most one group can read it. It has no final newline.

A process that has the old file open can still read the old content to its end. No process ever reads half of a file. The
file has no newline because the text becomes gRPC metadata, and gRPC rejects a newline there.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

OWNER_ALONE: Final = 0o600


def write_secret_file(path: Path, text: str, *, mode: int = OWNER_ALONE, gid: int | None = None) -> None:
    """Write the text to the disk under another name in the same directory, then rename that file to the given name.

    The new file gets its group and its mode before its name, so at no moment can more users read it.

    Raises:
        OSError: the file cannot be written, given to the group, or renamed; the old file is unchanged.
    """
    descriptor, partial = tempfile.mkstemp(
        prefix=f".{path.name}-", dir=path.parent
    )  # mode 0600: only this user can read it
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
    """Write the directory entry to the disk too, if the file system supports that."""
    # The file is already in its place. So it is no failure if the directory cannot be opened, for example because it can be
    # written but not read (mode 0300).
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
