"""Files of keys and caller tokens. Whoever can write to one of them can impersonate any proxy or caller.

The checks apply to the opened file, after all symbolic links, because Kubernetes and other systems mount secrets as links.
Root or the service's own user may own the file, since both can change the service anyway.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from app.local.causes import explain_file


def read_trusted(path: Path) -> bytes:
    """Read a file that only root, the service's user and the file's group could have written.

    Raises:
        ValueError: another user could have written the file, or it is not a regular file; the message names the remedy.
        OSError: the file cannot be read.
    """
    require_regular(path)
    with path.open("rb") as file:
        _require_trusted(os.fstat(file.fileno()))
        return file.read()


def require_regular(path: Path) -> None:
    """Reject a path that exists and is not a regular file, such as a pipe.

    Raises:
        ValueError: the message is a sentence with the fault.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file: reading it could wait for ever")


def read_lines(path: Path, read: Callable[[Path], bytes] = read_trusted) -> list[str]:
    """Read the lines of a file in UTF-8.

    Args:
        path: the file.
        read: reads the bytes of the file; by default with the checks of `read_trusted`.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of the file.
    """
    try:
        return read(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the file cannot be read as UTF-8 text ({explain_file(error)}); check path and mode"
        ) from error


def find_exposures(path: Path, *, is_secret: bool = True) -> Iterator[str]:
    """Return warnings about permissions that `read_trusted` allows but that are still a risk.

    Args:
        path: the file.
        is_secret: whether its content is secret, so that other users should not read it.
    """
    try:
        mode = path.stat().st_mode
        folders = {folder: folder.stat().st_mode for folder in {path.parent, path.resolve().parent}}
    except OSError:
        return  # the file was removed after it was read; the next reading reports that
    if is_secret and mode & stat.S_IROTH:
        yield f"{path} is readable by every user (mode {_octal(mode)}); remove the permission: chmod o-r {path}"
    if mode & stat.S_IWGRP:
        yield (
            f"{path} is writable by its group (mode {_octal(mode)}), so the group can replace what is in it; remove "
            f"the permission: chmod g-w {path}"
        )
    for folder, folder_mode in sorted(folders.items()):
        if folder_mode & stat.S_IWOTH and not folder_mode & stat.S_ISVTX:
            yield (
                f"{folder} is writable by every user (mode {_octal(folder_mode)}), so that every user can remove or rename "
                f"{path.name} in it; remove the permission: chmod o-w {folder}"
            )


def _require_trusted(status: os.stat_result) -> None:
    if status.st_mode & stat.S_IWOTH:
        raise ValueError(
            f"every user can write to the file (mode {_octal(status.st_mode)}), so every user can replace the keys or "
            "tokens in it; remove the permission (chmod o-w), and make new ones if somebody may have used it"
        )
    user = os.geteuid()
    if status.st_uid not in (0, user):
        raise ValueError(
            f"user {status.st_uid} owns the file and can change it at any time; give it to root or to user {user}, as whom "
            "this process runs (chown)"
        )


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"
