"""Open Unix sockets to listen on. The file's mode and group decide who may connect, from the first moment on."""

import errno
import grp
import os
import re
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MODE: Final = re.compile(r"0?o?([0-7]{3})", re.ASCII)
_OWNER: Final = 0o600
_OTHERS_WRITE: Final = 0o002
_ALL: Final = 0o777
_MAX_GID: Final = 2**32 - 2  # no bound: what a group's number is
PROBE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class SocketMode:
    """The mode of a socket's file. To connect, a process needs write permission."""

    bits: int

    @property
    def is_world_writable(self) -> bool:
        """Whether every local user may connect."""
        return bool(self.bits & _OTHERS_WRITE)

    def __str__(self) -> str:
        return f"{self.bits:04o}"


@dataclass(frozen=True, slots=True)
class SocketGroup:
    """The group of a socket: the text of the setting, and the group's number."""

    name: str
    gid: int

    def __str__(self) -> str:
        return self.name


DEFAULT_MODE: Final = SocketMode(0o660)


class SocketGroupError(Exception):
    """The socket cannot be given to the group."""


def parse_socket_mode(text: str) -> SocketMode:
    """Parse an octal mode: ``0660``."""
    match = _MODE.fullmatch(text)
    if match is None or int(match[1], 8) & _OWNER != _OWNER:
        raise ValueError("it must be an octal mode that lets the owner read and write: 0660, 0600")
    return SocketMode(int(match[1], 8))


def parse_socket_group(text: str) -> SocketGroup:
    """Look up a group by its name. A number is used as it is, because a container knows few names."""
    if text.isascii() and text.isdigit():
        if int(text) > _MAX_GID:
            raise ValueError("it is no group id: too large a number")
        return SocketGroup(text, int(text))
    try:
        return SocketGroup(text, grp.getgrnam(text).gr_gid)
    except (KeyError, ValueError) as error:
        raise ValueError(
            "there is no such group here; write a group of this system, or the number of one (a container knows few names)"
        ) from error


def open_unix_socket(
    path: Path, mode: SocketMode, group: SocketGroup | None, backlog: int
) -> tuple[socket.socket, Callable[[], None]]:
    """Listen on a path. Return the socket, and a function that removes its file.

    No process can connect before `listen`. The file gets its group and its mode before that. Its permissions are never
    wider than that mode.

    Raises:
        SocketGroupError: the process may not give the socket to the group.
        OSError: the socket cannot listen on the path.
    """
    _remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(_ALL & ~mode.bits)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        remove = _remover(path)
        try:
            _set_group_and_mode(path, mode, group)
            listener.listen(backlog)
        except BaseException:
            remove()
            raise
    except BaseException:
        listener.close()
        raise
    return listener, remove


def _set_group_and_mode(path: Path, mode: SocketMode, group: SocketGroup | None) -> None:
    if group is not None:
        try:
            os.chown(path, -1, group.gid, follow_symlinks=False)
        except OSError as error:
            raise SocketGroupError(f"the socket cannot be given to group {group}") from error
    if stat.S_IMODE(path.lstat().st_mode) != mode.bits:
        # A default ACL of the directory takes precedence over the umask.
        path.chmod(mode.bits)


def _remover(path: Path) -> Callable[[], None]:
    """Return a function that removes this process's socket file, but not that of a later process."""
    # While this descriptor is open, no other file gets the same inode number, even after the listener is closed.
    made = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def remove() -> None:
        try:
            if os.path.samestat(path.lstat(), os.fstat(made)):
                path.unlink()
        except FileNotFoundError:
            pass
        finally:
            os.close(made)

    return remove


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket file of a process that has ended. Any other file is not removed, and then bind fails."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()
