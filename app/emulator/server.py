"""Serve the emulator: in a thread for tests and the demo, or as a separate process."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import quote

from app.emulator.asgi import EmulatorApp
from app.emulator.example import EXAMPLE
from app.emulator.faults import Faults
from app.emulator.identities import Clock, SessionCredentials
from app.emulator.listening import Server, configure, listen, url_of
from app.emulator.world import World


def create_emulator_app(world: World, faults: Faults | None = None, clock: Clock | None = None) -> EmulatorApp:
    """Create the ASGI application. If no clock is given, it uses the clock of the world.

    The faults that end a connection early need the server of this module. With another server, a call with such a fault
    raises an error.
    """
    return EmulatorApp(world, faults or Faults(), clock or world.clock)


def serve(
    world: World, host: str = "127.0.0.1", port: int = 0, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM. As soon as the server accepts connections, it calls `on_ready` with its URL.

    Raises:
        OSError: the server cannot listen on the address.
    """
    app = create_emulator_app(world)
    with listen(host, port) as listener, contextlib.suppress(KeyboardInterrupt):  # after SIGINT and a clean stop
        url = url_of("http", listener)
        server = Server(configure(app), lambda: on_ready(url) if on_ready else None)
        server.run(sockets=[listener])


class Emulator:
    """An emulated AWS on a loopback port, as a context manager. If no world is given, it uses the example world."""

    def __init__(
        self,
        world: World | None = None,
        *,
        faults: Faults | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
    ) -> None:
        self.world = world or World.from_text(EXAMPLE)
        self.app = create_emulator_app(self.world, faults, clock)
        self.faults = self.app.faults
        self.calls = self.app.calls
        self.url = ""
        """The value for `AWS_ENDPOINT_URL_STS` and `AWS_ENDPOINT_URL_IAM`; empty until the emulator runs."""
        self._address = (host, port)
        self._tls = (ssl_certfile, ssl_keyfile)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen and serve. Return as soon as the server accepts connections."""
        config = configure(self.app, *self._tls)
        config.load()  # loaded here, so that an invalid certificate raises in the caller
        listener = listen(*self._address)
        ready = threading.Event()
        server = Server(config, ready.set)
        thread = threading.Thread(target=_run, args=(server, listener, ready), name="emulator", daemon=True)
        self.url = url_of("https" if config.is_ssl else "http", listener)
        thread.start()
        ready.wait()
        if not server.started:
            raise RuntimeError("the emulator did not start; its thread has said why")
        self._server, self._thread = server, thread
        return self

    def stop(self) -> None:
        """End all connections and the thread, without waiting for calls that hang."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._server, self._thread = None, None

    def credentials_uri(self, account: str, role: str, task_id: str | None = None) -> str:
        """Return the value of `AWS_CONTAINER_CREDENTIALS_FULL_URI` with which a task gets the credentials of a role."""
        return f"{self.url}/ecs/{account}/{quote(role)}" + (f"/{quote(task_id)}" if task_id else "")

    def environment(self, account: str, role: str, region: str = "us-east-1") -> dict[str, str]:
        """Return the environment variables with which any AWS SDK or command line uses the role and calls this emulator."""
        return {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,  # what boto3 and the command line read
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.credentials_uri(account, role),
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_ENDPOINT_URL_IAM": self.url,
        }

    def issue(self, account: str, role: str, session_name: str | None = None) -> SessionCredentials:
        """Issue credentials of a role, for the given session or for the role's only task."""
        if session_name is None:
            return self.app.container_credentials.issue(account, role)
        return self.world.issue_session(account, role, session_name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _run(server: Server, listener: socket.socket, ready: threading.Event) -> None:
    try:
        server.run(sockets=[listener])
    finally:
        ready.set()  # also if the server did not start completely
