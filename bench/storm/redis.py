"""A Redis or Valkey of a storm's own, which can be killed."""

import base64
import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import Process, end, free_port, start
from bench.storm.sampler import Sample

_START_SECONDS: Final = 10.0


def redis_program() -> str | None:
    """Return the path of a Redis or Valkey server, or None."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@dataclass(slots=True)
class Redis:
    """An empty Redis that keeps nothing on disk.

    Attributes:
        process: the server.
        variables: what the service is told about it.
    """

    process: Process
    variables: dict[str, str]

    def kill(self) -> None:
        """Kill it, as a machine dies."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def open_redis(program: str, folder: Path, core: int) -> Iterator[Redis]:
    """Start one on a core of its own choice of port, with a new key for its entries."""
    port = free_port()
    key_file = folder / f"store-{port}.key"
    key_file.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    key_file.chmod(0o600)
    command = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    process = start(command, core)
    try:
        _wait_for_port(port)
        yield Redis(
            process,
            {
                "KMESH_AWSIAM_STORE": f"redis://127.0.0.1:{port}/0",
                "KMESH_AWSIAM_STORE_KEY_FILE": str(key_file),
            },
        )
    finally:
        end(process)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit("Redis does not start")


def kill_half_way(redis: Redis, credentials: int) -> Callable[[Sample], None]:
    """Return what kills it when STS was asked about half of the credentials."""

    def watch(sample: Sample) -> None:
        if sample.sts >= credentials / 2 and redis.process.poll() is None:
            redis.kill()

    return watch
