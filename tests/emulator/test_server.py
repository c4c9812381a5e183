"""The emulator as a server: in this process, with TLS, and in a separate process."""

import ast
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.emulator import Emulator, FaultKind, World, create_emulator_app
from tests.emulator.conftest import ACCOUNT, MovableClock
from tests.emulator.signing import Message, presign
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file with a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulator")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("tls") / "emulator.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return file


def test_emulator_serves_the_example_by_default() -> None:
    with Emulator() as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        assert presign(emulator.issue(ACCOUNT, "demo-app")).send(emulator.url).status == 200


def test_emulator_counts_the_connections_that_were_opened() -> None:
    with Emulator() as emulator:
        assert emulator.app.connections == 0
        for _ in range(2):
            presign(emulator.issue(ACCOUNT, "demo-app")).send(emulator.url)
        assert emulator.app.connections == 2


def test_emulators_do_not_know_each_other() -> None:
    with Emulator() as one, Emulator() as other:
        assert presign(one.issue(ACCOUNT, "demo-app")).send(other.url).code == "InvalidClientTokenId"


def test_emulator_may_be_stopped_twice_and_then_refuses_connections() -> None:
    emulator = Emulator().start()
    emulator.stop()
    emulator.stop()

    with pytest.raises(ConnectionRefusedError):
        Message().send(emulator.url)


def test_emulator_may_listen_on_a_port_of_choice() -> None:
    with Emulator() as first:
        port = int(first.url.rpartition(":")[2])
    with Emulator(port=port) as second:
        assert second.url == first.url
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()


def test_emulator_has_a_clock_of_its_own_if_wanted(world: World) -> None:
    clock = MovableClock()
    clock.fixed = datetime(2020, 1, 1, tzinfo=UTC)

    with Emulator(world, clock=clock) as emulator:
        answer = presign(world.issue_session(ACCOUNT, "demo-app", "task-1")).send(emulator.url)

    assert (answer.message or "").startswith("Signature not yet current")


def test_emulator_stops_while_a_tls_handshake_is_in_progress(certificate: Path) -> None:
    """The client is in the thread that waits for the stop, so the client cannot end the handshake."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(received, sent, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    emulator = Emulator(ssl_certfile=str(certificate), ssl_keyfile=str(certificate)).start()
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(sent.read())
        assert connection.recv(1)  # the server has sent its part, and waits
        emulator.stop()


def test_tls_is_spoken_with_a_certificate(certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))

    with Emulator(ssl_certfile=str(certificate), ssl_keyfile=str(certificate)) as emulator:
        message = presign(emulator.issue(ACCOUNT, "demo-app"))
        assert emulator.url.startswith("https://127.0.0.1:")
        assert message.send(emulator.url, context).status == 200
        emulator.faults.sts.inject(FaultKind.RESET)
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            message.send(emulator.url, context)


def test_bad_certificate_shows_where_the_emulator_is_started(tmp_path: Path) -> None:
    file = tmp_path / "bad.pem"
    file.write_text("nothing")

    with pytest.raises(ssl.SSLError):
        Emulator(ssl_certfile=str(file)).start()


async def test_application_speaks_http_alone(world: World) -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        await create_emulator_app(world)({"type": "websocket"}, None, None)  # type: ignore[arg-type]


SERVE = """
from app.emulator import EXAMPLE, World, serve
serve(World.from_text(EXAMPLE), "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


def test_process_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-W", "error", "-c", SERVE]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stderr
            url = process.stdout.readline().strip()
            answer = Message(host="localhost", target=f"/ecs/{ACCOUNT}/demo-app").send(url)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert answer.json["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/demo-app"
    assert (process.returncode, rest, errors) == (0, "ended\n", "")


def test_emulator_knows_nothing_of_the_service() -> None:
    """The emulator is a second implementation. Shared code would hide an error of both."""
    for file in (ROOT / "app/emulator").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert [name for name in names if name.startswith("app") and not name.startswith("app.emulator")] == []


def test_importing_starts_reads_and_opens_nothing() -> None:
    script = (
        "import sys, threading\n"
        "calls = {'socket.connect', 'socket.getaddrinfo', 'subprocess.Popen'}\n"
        "sys.addaudithook(lambda event, _: sys.exit(event) if event in calls else None)\n"
        "import app.emulator\n"
        "from app.emulator import hosts\n"
        "assert threading.active_count() == 1\n"
        "assert hosts._endpoints.cache_info().currsize == 0\n"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=False)  # noqa: S603

    assert done.returncode == 0
