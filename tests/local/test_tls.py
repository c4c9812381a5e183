"""TLS of the API's listener over real connections, with certificates made for each test."""

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from app.local.tls import ServerTls, TlsFileError, TlsFiles, find_problems, new_server_context
from app.server import process as server
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import value
from tests.support.patience import PATIENCE
from tests.support.service import AUTHENTICATE, RunningService, listening, running_service, until
from tests.support.tls import Authority, Certificate, make_certificate
from tests.support.world import PROXY, Aws

TLS_CERT = "KMESH_AWSIAM_TLS_CERT_FILE"
TLS_KEY = "KMESH_AWSIAM_TLS_KEY_FILE"
TLS_CLIENT_CA = "KMESH_AWSIAM_TLS_CLIENT_CA_FILE"
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Files:
    """The files of one service, which a test replaces."""

    def __init__(self, folder: Path) -> None:
        self.servers = Authority(folder / "servers")
        self.clients = Authority(folder / "clients")
        self.others = Authority(folder / "others")
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.client_ca = folder / "client-ca.pem"
        self.set_server(self.servers.issue("server", SERVER))
        self.set_client_ca(self.clients)

    def set_server(self, certificate: Certificate) -> None:
        shutil.copy(certificate.cert, self.cert)
        shutil.copy(certificate.key, self.key)

    def set_client_ca(self, authority: Authority) -> None:
        shutil.copy(authority.cert, self.client_ca)

    def files(self) -> TlsFiles:
        return TlsFiles(cert=self.cert, key=self.key, client_ca=self.client_ca)

    def variables(self, *, mutual: bool = True) -> dict[str, str]:
        found = {TLS_CERT: str(self.cert), TLS_KEY: str(self.key), TLS_CLIENT_CA: str(self.client_ca)}
        return found if mutual else {name: path for name, path in found.items() if name != TLS_CLIENT_CA}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def client_context(
    trusted: Authority,
    certificate: Certificate | None = None,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None,
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted.cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate is not None:
        context.load_cert_chain(certificate.cert, certificate.key)
    if versions is not None:
        context.minimum_version, context.maximum_version = versions
    return context


@contextlib.asynccontextmanager
async def client_of(address: tuple[str, int], context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(verify=context, limits=httpx.Limits(max_connections=1))
    url = f"https://{address[0]}:{address[1]}"
    async with httpx.AsyncClient(transport=transport, base_url=url, trust_env=False) as client:
        yield client


async def is_refused(address: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Whether the service refuses a new connection. In TLS 1.3 a client learns this when it reads."""
    async with client_of(address, context) as client:
        try:
            await client.get("/healthy")
        except httpx.TransportError:
            return True
        return False


def local_port(answer: httpx.Response) -> int:
    """The client's port. An equal port means the same connection."""
    port: int = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    return port


@contextlib.asynccontextmanager
async def serving(service: RunningService) -> AsyncIterator[tuple[str, int]]:
    """A running service, over TLS."""
    assert service.service.tls is not None
    async with listening(service.service.api, service.service.tls) as address:
        yield address


def check(service: RunningService) -> None:
    for watch in service.service.watches:
        watch.check()


# Who gets in.


async def test_a_caller_with_a_certificate_of_the_client_ca_gets_decisions(
    start_service: StartService, files: Files, aws: Aws
) -> None:
    context = client_context(files.servers, files.clients.issue("control-plane", CLIENT))
    async with start_service(**files.variables()) as service, serving(service) as address:
        async with client_of(address, context) as client:
            answer = await client.post(AUTHENTICATE, json={"credential": aws.credential(), "proxy": PROXY})
        assert answer.status_code == 200
        assert value(await service.metrics(), "kuma_aws_iam_unknown_callers_total", check="certificate") == 0


Certify = Callable[[Files], Certificate | None]
STRANGERS: list[tuple[str, Certify]] = [
    ("no certificate", lambda _: None),
    ("unknown certificate", lambda files: files.others.issue("control-plane", CLIENT)),
    ("unknown certificate", lambda files: files.servers.issue("control-plane", CLIENT)),
    ("unknown certificate", lambda files: files.clients.issue("control-plane", SERVER)),
    ("unknown certificate", lambda files: files.clients.issue("control-plane", CLIENT, hours=(-2, -1))),
    ("unknown certificate", lambda files: files.clients.issue("control-plane", CLIENT, hours=(1, 2))),
    ("unknown certificate", lambda files: make_certificate(files.cert.parent / "clients")),
]
IDS = ["none", "another-ca", "the-servers-ca", "for-servers-alone", "expired", "not-yet-valid", "self-signed"]
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
@pytest.mark.parametrize(("fault", "certify"), STRANGERS, ids=IDS)
async def test_any_other_caller_is_refused_in_the_handshake_and_counted_apart(
    start_service: StartService, files: Files, aws: Aws, version: ssl.TLSVersion, fault: str, certify: Certify
) -> None:
    context = client_context(files.servers, certify(files), (version, version))
    async with start_service(**files.variables()) as service:
        async with serving(service) as address:
            assert await is_refused(address, context)
        samples = await service.metrics()
        [line] = service.events("unknown caller")
    assert value(samples, "kuma_aws_iam_unknown_callers_total", check="certificate") == 1
    assert value(samples, "kuma_aws_iam_unknown_callers_total", check="token") == 0
    assert (line["check"], line["fault"], line["log_level"]) == ("certificate", fault, "warning")
    assert aws.sts_calls() == []
    assert service.decisions() == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(b"\x00" * 64, id="noise"),
        pytest.param(b"", id="silence"),
    ],
)
async def test_what_is_no_tls_gets_nothing_and_is_no_unknown_caller(
    start_service: StartService, files: Files, sent: bytes
) -> None:
    async with start_service(**files.variables()) as service:
        async with serving(service) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
            writer.close()
        assert value(await service.metrics(), "kuma_aws_iam_unknown_callers_total", check="certificate") == 0


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"], ids=["silent", "half-a-record"])
async def test_a_handshake_that_does_not_come_is_not_waited_for(
    start_service: StartService, files: Files, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """I20."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.05)
    async with start_service(**files.variables()) as service, serving(service) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
        writer.close()


async def test_a_client_that_does_not_trust_the_server_is_no_unknown_caller(
    start_service: StartService, files: Files
) -> None:
    context = client_context(files.others, files.clients.issue("control-plane", CLIENT))
    async with start_service(**files.variables()) as service:
        async with serving(service) as address:
            assert await is_refused(address, context)
        assert value(await service.metrics(), "kuma_aws_iam_unknown_callers_total", check="certificate") == 0


async def test_server_tls_alone_asks_for_no_certificate(start_service: StartService, files: Files, aws: Aws) -> None:
    async with (
        start_service(**files.variables(mutual=False)) as service,
        serving(service) as address,
        client_of(address, client_context(files.servers)) as client,
    ):
        answer = await client.post(AUTHENTICATE, json={"credential": aws.credential()})
    assert answer.status_code == 200


async def test_a_certificate_does_not_stand_for_a_token(
    start_service: StartService, files: Files, aws: Aws, tmp_path: Path
) -> None:
    """If both are configured, a caller needs both."""
    token = "t" * 40
    (tmp_path / "tokens").write_text(token)
    context = client_context(files.servers, files.clients.issue("control-plane", CLIENT))
    variables = {**files.variables(), "KMESH_AWSIAM_CALLER_TOKEN_FILE": str(tmp_path / "tokens")}
    async with (
        start_service(**variables) as service,
        serving(service) as address,
        client_of(address, context) as client,
    ):
        call = {"credential": aws.credential()}
        assert (await client.post(AUTHENTICATE, json=call)).json()["reason"] == "caller_not_authenticated"
        headers = {"authorization": f"Bearer {token}"}
        assert (await client.post(AUTHENTICATE, json=call, headers=headers)).status_code == 200


# The negotiated parameters.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_versions_are_not_spoken(start_service: StartService, files: Files, version: ssl.TLSVersion) -> None:
    context = client_context(files.servers)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    async with start_service(**files.variables(mutual=False)) as service, serving(service) as address:
        assert await is_refused(address, context)


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
async def test_ciphers_without_forward_secrecy_or_authentication_are_not_spoken(
    start_service: StartService, files: Files, cipher: str
) -> None:
    context = client_context(files.servers, versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
    context.set_ciphers(cipher)
    async with start_service(**files.variables(mutual=False)) as service, serving(service) as address:
        assert await is_refused(address, context)


def test_the_context_says_what_it_is_meant_to(files: Files) -> None:
    context = new_server_context(files.files(), lambda _: None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.num_tickets == 0
    for option in (ssl.OP_NO_TICKET, ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION):
        assert context.options & option
    assert len(context.get_ca_certs()) == 1  # the system's authorities do not authenticate callers


# Rotation.


async def ask_again(
    address: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Call over a connection that resumes a session if the server allows it.

    Return whether it was answered, and the session.
    """

    def ask() -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(address, timeout=PATIENCE) as raw,
            context.wrap_socket(raw, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET /healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: secure.recv(65536), b""))
            return answer.startswith(b"HTTP/1.1 200 "), secure.session

    try:
        return await asyncio.to_thread(ask)
    except (ssl.SSLError, ConnectionError):
        return False, None


@VERSIONS
async def test_after_the_client_ca_is_exchanged_old_callers_are_refused_and_new_ones_accepted(
    start_service: StartService, files: Files, version: ssl.TLSVersion
) -> None:
    versions = (version, version)
    old = client_context(files.servers, files.clients.issue("old", CLIENT), versions)
    new = client_context(files.servers, files.others.issue("new", CLIENT), versions)
    async with (
        start_service(**files.variables()) as service,
        serving(service) as address,
        client_of(address, old) as standing,
    ):
        first = await standing.get("/healthy")
        port = local_port(first)
        answered, session = await ask_again(address, old)
        assert answered
        assert await is_refused(address, new)
        files.set_client_ca(files.others)
        check(service)
        assert await is_refused(address, old)
        assert not await is_refused(address, new)
        assert not (await ask_again(address, old, session))[0]  # nor by an earlier session
        again = await standing.get("/healthy")
        assert (first.status_code, again.status_code, local_port(again)) == (200, 200, port)
    assert len(service.events("reloaded")) == 1


async def test_a_new_server_certificate_is_shown_to_new_connections(start_service: StartService, files: Files) -> None:
    old, new = client_context(files.servers), client_context(files.others)
    async with (
        start_service(**files.variables(mutual=False)) as service,
        serving(service) as address,
        client_of(address, old) as standing,
    ):
        assert (await standing.get("/healthy")).status_code == 200
        files.set_server(files.others.issue("renewed", SERVER))
        check(service)
        assert not await is_refused(address, new)
        assert await is_refused(address, old)
        assert (await standing.get("/healthy")).status_code == 200


async def test_names_lead_to_the_same_certificate(start_service: StartService, files: Files) -> None:
    """With SNI and without it: the context is chosen before either is read."""
    async with start_service(**files.variables(mutual=False)) as service, serving(service) as address:
        for host in ("127.0.0.1", "localhost"):
            assert not await is_refused((host, address[1]), client_context(files.servers))


BREAK: list[Callable[[Files], object]] = [
    lambda files: files.cert.write_text("no certificate"),
    lambda files: files.key.unlink(),
    lambda files: files.key.write_bytes(files.others.issue("other").key.read_bytes()),
    lambda files: files.client_ca.write_text(""),
    lambda files: files.client_ca.write_bytes(files.clients.issue("leaf").cert.read_bytes()),
]


@pytest.mark.parametrize("spoil", BREAK, ids=["no-cert", "no-key", "another-key", "empty-ca", "ca-is-none"])
async def test_a_bad_file_keeps_the_ones_of_before_loudly(
    start_service: StartService, files: Files, spoil: Callable[[Files], object]
) -> None:
    known = client_context(files.servers, files.clients.issue("control-plane", CLIENT))
    async with start_service(**files.variables()) as service, serving(service) as address:
        spoil(files)
        check(service)
        assert not await is_refused(address, known)
        assert await is_refused(address, client_context(files.servers))
        assert value(await service.metrics(), "kuma_aws_iam_reload_failures_total", what="tls") >= 1
        assert service.events("not reloaded")[0]["what"] == "tls"
        files.set_server(files.servers.issue("mended", SERVER))
        files.set_client_ca(files.others)
        check(service)
        assert await is_refused(address, known)


def test_it_is_so_on_the_loop_that_the_service_runs_on(files: Files, settings_of: LoadSettings, aws: Aws) -> None:
    """Uvloop has its own TLS code around OpenSSL. The tests above run on asyncio's event loop."""
    settings = settings_of(**aws.service_environment(), **files.variables())
    old = client_context(files.servers, files.clients.issue("old", CLIENT))
    new = client_context(files.servers, files.others.issue("new", CLIENT))

    async def rotate() -> None:
        async with running_service(aws, settings) as service, serving(service) as address:
            async with client_of(address, old) as standing:
                assert (await standing.get("/healthy")).status_code == 200
                assert await is_refused(address, client_context(files.servers))
                files.set_client_ca(files.others)
                check(service)
                assert await is_refused(address, old)
                assert not await is_refused(address, new)
                assert (await standing.get("/healthy")).status_code == 200
            assert value(await service.metrics(), "kuma_aws_iam_unknown_callers_total", check="certificate") == 2

    uvloop.run(rotate())


# The files.


def problems_of(files: Files) -> dict[str, str]:
    return {error.part: error.remedy for error in find_problems(files.files())}


def test_good_files_have_no_problem(files: Files) -> None:
    assert problems_of(files) == {}


def test_a_chain_and_text_around_it_are_read(files: Files) -> None:
    files.cert.write_text(
        f"leaf, müsli\n{files.cert.read_text()}\nroot\n{files.servers.cert.read_text()}", encoding="utf-8"
    )
    files.client_ca.write_text(
        f"# müsli\n{files.client_ca.read_text()}{files.others.cert.read_text()}", encoding="utf-8"
    )
    assert problems_of(files) == {}
    assert len(new_server_context(files.files(), lambda _: None).get_ca_certs()) == 2


@pytest.mark.parametrize(
    ("name", "part"), [("cert", "cert"), ("key", "key"), ("client_ca", "client_ca")], ids=["cert", "key", "client-ca"]
)
@pytest.mark.parametrize("content", [b"", b"no PEM", b"\x00\xff"], ids=["empty", "text", "bytes"])
def test_what_is_no_pem_is_named(files: Files, name: str, part: str, content: bytes) -> None:
    getattr(files, name).write_bytes(content)
    assert list(problems_of(files)) == [part]


def test_every_bad_file_is_named_at_once(files: Files) -> None:
    files.cert.unlink()
    files.client_ca.unlink()
    problems = problems_of(files)
    assert list(problems) == ["cert", "client_ca"]
    assert "no such file or directory" in problems["cert"]


def test_a_key_of_another_certificate_is_named(files: Files) -> None:
    shutil.copy(files.others.issue("other").key, files.key)
    assert "KEY_VALUES_MISMATCH" in problems_of(files)["key"]


def test_an_encrypted_key_is_refused_and_no_password_is_asked_for(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    assert "not encrypted" in problems_of(files)["key"]


def test_a_client_is_no_authority(files: Files) -> None:
    """A leaf among the trusted certificates looks like a pin, but OpenSSL does not treat it as one."""
    shutil.copy(files.clients.issue("client").cert, files.client_ca)
    assert "CA:TRUE" in problems_of(files)["client_ca"]


def test_no_context_without_good_files(files: Files) -> None:
    files.key.unlink()
    with pytest.raises(TlsFileError):
        ServerTls(files.files(), lambda _: None)


def test_the_outer_context_serves_nobody_by_itself(files: Files) -> None:
    """If a server ever omits the look-up of the current context, it has no certificate to present."""
    tls = ServerTls(files.files(), lambda _: None)
    assert tls.context.cert_store_stats()["x509"] == 0
    assert tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context is tls.context.current


def test_nothing_about_a_handshake_is_logged_but_its_fault(files: Files) -> None:
    with capture_logs() as log:
        new_server_context(files.files(), lambda _: None)
    assert log == []


async def test_metrics_show_when_the_certificates_are_valid(start_service: StartService, files: Files) -> None:
    before, after = (
        "kuma_aws_iam_tls_certificate_" + each
        for each in ("not_before_timestamp_seconds", "not_after_timestamp_seconds")
    )
    async with start_service(**files.variables()) as service:
        first = await service.metrics()
        files.set_server(files.servers.issue("server", SERVER, hours=(-2, 5)))
        service.service.reload()
        await until(lambda: bool(service.events("reloaded")))
        second = await service.metrics()
    hours = [
        (value(each, after, certificate="server") - value(each, before, certificate="server")) / 3600
        for each in (first, second)
    ]
    assert hours == [2, 7]
    assert value(first, after, certificate="client_ca") > value(first, before, certificate="client_ca") > 0
