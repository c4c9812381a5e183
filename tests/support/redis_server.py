"""A real redis-server for one test: a process that stores nothing on disk."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from app.store.url import StoreAddress, parse_store_url
from tests.support.patience import PATIENCE
from tests.support.process import free_address
from tests.support.tls import Authority, Certificate

_REMEDY: Final = "there is no redis-server here; install it: apt-get install redis-server"


def require_redis() -> str:
    """Return the path of the program.

    In CI a missing program is a failure: otherwise sharing would silently stay untested.
    """
    path = shutil.which("redis-server")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(_REMEDY)
        pytest.skip(_REMEDY)
    return path


class RedisServer:
    """A running server at one address, which can be stopped, suspended and started again."""

    def __init__(self, url: str, *arguments: str) -> None:
        self.url = url
        self._command = [require_redis(), "--save", "", "--appendonly", "no", "--daemonize", "no", *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def address(self) -> StoreAddress:
        return parse_store_url(self.url)

    def start(self) -> None:
        """Start an empty server. Return once it accepts connections."""
        process = subprocess.Popen(  # noqa: S603 - what a test names
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                break
        else:
            pytest.fail(f"redis-server does not start:\n{''.join(said)}")
        # So it never waits for a reader of its output.
        self._reader = threading.Thread(target=process.stdout.read, daemon=True)
        self._reader.start()
        self._process = process

    def hang(self) -> None:
        """Suspend the server: the kernel still accepts connections, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process, as if the machine failed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._reader.join(PATIENCE)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextlib.contextmanager
def redis_on_socket(*arguments: str, login: str = "") -> Iterator[RedisServer]:
    """Run a server on a Unix socket. pytest's folders can be longer than a socket's path may be."""
    with tempfile.TemporaryDirectory(prefix="kuma-") as folder:
        path = f"{folder}/redis.sock"
        server = RedisServer(f"unix://{login}{path}", "--port", "0", "--unixsocket", path, *arguments)
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def redis_on_tcp(*arguments: str, login: str = "") -> Iterator[RedisServer]:
    """Run a server on loopback."""
    host, _, port = free_address().partition(":")
    server = RedisServer(f"redis://{login}{host}:{port}", "--port", port, "--bind", host, *arguments)
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def redis_on_tls(authority: Authority, certificate: Certificate | None = None) -> Iterator[RedisServer]:
    """Run a server with TLS only, with a certificate of an authority. It asks clients for none."""
    certificate = certificate or authority.issue("store")
    host, _, port = free_address().partition(":")
    files = (
        "--tls-cert-file",
        certificate.cert,
        "--tls-key-file",
        certificate.key,
        "--tls-ca-cert-file",
        authority.cert,
    )
    server = RedisServer(
        f"rediss://{host}:{port}",
        *("--port", "0", "--tls-port", port, "--bind", host, "--tls-auth-clients", "no"),
        *(str(word) for word in files),
    )
    try:
        yield server
    finally:
        server.kill()


def write_key_file(folder: Path, *secrets: bytes) -> Path:
    """Write a file of store keys; the first one seals."""
    path = folder / "store-keys"
    path.write_text("".join(f"{secret.hex()}\n" for secret in secrets), encoding="utf-8")
    return path
