"""Why a call to AWS got no answer: real failures on loopback, through the service's own pool and exchange."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.aws.exchange import Exchange
from app.core.errors import UpstreamDownError
from app.core.reasons import Reason
from app.http.network import NetworkOptions, open_pool
from app.http.pool import Origin
from tests.support.passing_time import LONG, after_its_time
from tests.support.patience import PATIENCE
from tests.support.tls import Authority, Certificate, make_certificate
from tests.support.wire import answering, closed_port, hang_up, recording_server

REQUEST = b"GET / HTTP/1.1\r\nHost: sts.example\r\n\r\n"


async def detail_of(url: str, seconds: float = LONG, **options: str) -> str:
    """Make a call as the clients of STS and IAM do, and return the detail of the error. An attempt has so many seconds."""
    network = NetworkOptions(connect_timeout=seconds, total_timeout=seconds, **options)
    pool = open_pool(network)
    exchange = Exchange("STS", Reason.STS_UNAVAILABLE, pool, network)
    try:
        with pytest.raises(UpstreamDownError) as raised:
            await exchange.ask(Origin.of(url), lambda: REQUEST, asyncio.get_running_loop().time() + 2 * seconds)
    finally:
        await pool.close()
    assert raised.value.detail.startswith("no answer of STS: ")
    return raised.value.detail.removeprefix("no answer of STS: ")


@contextlib.asynccontextmanager
async def tls_server(certificate: Certificate) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def raw_server(act: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[int]:
    """Accept a connection, read what the client sends first, run a function, and send nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1)  # the kernel resets a connection that is closed with unread data
        act(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for writer in writers:
                writer.transport.abort()


async def detail_after(reached: asyncio.Event, url: str, seconds: float = LONG, **options: str) -> str:
    """Do as `detail_of` does, and let the time of the call pass after an event. Then there is no second attempt."""
    call = asyncio.create_task(detail_of(url, seconds, **options))
    await asyncio.wait_for(reached.wait(), PATIENCE)
    return await after_its_time(call)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def test_a_name_that_does_not_resolve() -> None:
    detail = await detail_of("https://sts.no-such-region.invalid")
    assert "sts.no-such-region.invalid does not resolve" in detail
    assert "DNS" in detail.partition(";")[2]


async def test_a_port_that_refuses() -> None:
    with closed_port() as port:
        assert f"127.0.0.1:{port} refuses the connection; nothing listens there" in await detail_of(
            f"http://127.0.0.1:{port}"
        )


async def test_a_certificate_that_is_not_trusted_leads_to_the_bundle(tmp_path: Path) -> None:
    async with tls_server(make_certificate(tmp_path)) as url:
        detail = await detail_of(url)
    assert "the certificate of 127.0.0.1:" in detail
    assert "is not trusted (self-signed certificate)" in detail
    assert "set AWS_CA_BUNDLE" in detail


async def test_a_bundle_without_the_authority_is_named(tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    async with tls_server(make_certificate(tmp_path)) as url:
        detail = await detail_of(url, ca_file=str(other.cert))
    assert f"AWS_CA_BUNDLE ({other.cert}) has no authority for it" in detail


async def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("old", ExtendedKeyUsageOID.SERVER_AUTH, hours=(-2, -1))
    async with tls_server(certificate) as url:
        assert "has expired; " in await detail_of(url, ca_file=str(authority.cert))


async def test_a_certificate_of_another_name(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, address="192.0.2.1")
    async with tls_server(certificate) as url:
        assert "shows is for another name; " in await detail_of(url, ca_file=str(certificate.cert))


async def test_a_server_without_tls() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        detail = await detail_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert "does not speak TLS" in detail


@pytest.mark.parametrize(
    ("scheme", "act", "words"),
    [
        ("https", reset, "the connection during the TLS handshake"),
        ("https", asyncio.StreamWriter.close, "closed the connection during the TLS handshake"),
        ("http", reset, "reset the connection before its answer was complete"),
        ("http", asyncio.StreamWriter.close, "the connection before its answer was complete"),
    ],
    ids=["reset-in-tls", "closed-in-tls", "reset", "closed"],
)
async def test_a_connection_that_is_ended(scheme: str, act: Callable[[asyncio.StreamWriter], None], words: str) -> None:
    async with raw_server(act) as port:
        assert words in await detail_of(f"{scheme}://127.0.0.1:{port}")


async def test_a_server_that_hangs_in_tls() -> None:
    arrived = asyncio.Event()
    async with raw_server(lambda _writer: arrived.set()) as port:
        detail = await detail_after(arrived, f"https://127.0.0.1:{port}", 40.0)  # asyncio ends a handshake after 60 s
    assert "the TLS handshake with 127.0.0.1:" in detail
    assert "did not end in time" in detail


async def test_a_server_that_hangs_before_its_answer() -> None:
    arrived = asyncio.Event()
    async with raw_server(lambda _writer: arrived.set()) as port:
        detail = await detail_after(arrived, f"http://127.0.0.1:{port}")
    assert "took the request and did not answer in time" in detail


async def test_a_server_that_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, connecting = asyncio.get_running_loop(), asyncio.Event()
    connect = loop.sock_connect

    async def noted_connect(raw_socket: socket.socket, address: tuple[str, int]) -> None:
        connecting.set()
        await connect(raw_socket, address)

    monkeypatch.setattr(loop, "sock_connect", noted_connect)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        detail = await detail_after(connecting, f"http://127.0.0.1:{full.getsockname()[1]}")
        for client in waiting:
            client.close()
    assert "did not accept a connection in time" in detail


async def test_an_answer_that_is_no_http() -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    async with recording_server(respond) as server:
        assert "sent is no HTTP answer that can be used" in await detail_of(server.url)


# Through a proxy. Its URL has a user and a password, which no sentence may contain.


async def through(proxy_port: int, host: str = "sts.example") -> str:
    detail = await detail_of(f"https://{host}", proxy_url=f"http://someone:hunter2@127.0.0.1:{proxy_port}")
    assert "someone" not in detail
    assert "hunter2" not in detail
    assert f"127.0.0.1:{proxy_port}" in detail
    assert "KMESH_AWSIAM_HTTPS_PROXY" in detail
    return detail


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("403 Forbidden", "allow sts.example in the proxy's rules"),
        ("407 Proxy Authentication Required", "put the proxy's user and password into"),
        ("502 Bad Gateway", "the proxy itself may not reach sts.example"),
    ],
)
async def test_a_proxy_that_refuses(status: str, remedy: str) -> None:
    async with recording_server(answering(status, {}, b"")) as proxy:
        detail = await through(int(proxy.url.rpartition(":")[2]))
    assert f"refuses CONNECT to sts.example with status {status[:3]}" in detail
    assert remedy in detail


async def test_a_proxy_that_is_not_there() -> None:
    with closed_port() as port:
        assert f"the proxy 127.0.0.1:{port} refuses the connection" in await through(port)


async def test_a_proxy_that_hangs_up() -> None:
    async with recording_server(hang_up) as proxy:
        detail = await through(int(proxy.url.rpartition(":")[2]))
    assert "closed the connection instead of answering CONNECT" in detail


async def test_a_proxy_that_hangs() -> None:
    arrived = asyncio.Event()
    async with raw_server(lambda _writer: arrived.set()) as port:
        detail = await detail_after(arrived, "https://sts.example", proxy_url=f"http://127.0.0.1:{port}")
    assert f"the proxy 127.0.0.1:{port} did not answer CONNECT in time" in detail
