"""The bytes that are sent to STS, and the connections that carry them; a recording loopback server acts as STS."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.core.caller_identity import CallerIdentity
from app.core.errors import UpstreamError
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.decision.record import UpstreamCall
from app.emulator import Emulator
from app.http.network import NetworkOptions, open_pool
from app.sts.client import StsClient
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE
from tests.support.signing import (
    AUDIENCE,
    BODY,
    FORMS,
    HOST,
    TOKEN,
    Recipe,
    default_policy,
    judge,
    make_policy,
    signature_holds,
)
from tests.support.tls import make_certificate
from tests.support.wire import Recorder, answering, closed_port, hang_up, recording_server
from tests.support.world import ACCOUNT, Aws, recipe_of

IDENTITY = json.dumps(
    {
        "GetCallerIdentityResponse": {
            "GetCallerIdentityResult": {
                "Account": "111122223333",
                "Arn": "arn:aws:sts::111122223333:assumed-role/demo-app/task-1",
                "UserId": "AROAEXAMPLEEXAMPLE001:task-1",
            },
            "ResponseMetadata": {"RequestId": "request-of-sts"},
        }
    }
).encode()
TRUE = answering("200 OK", {"Content-Type": "application/json", "x-amzn-RequestId": "request-of-sts"}, IDENTITY)


@asynccontextmanager
async def sts_client(endpoint_url: str | None = None, **options: object) -> AsyncIterator[StsClient]:
    defaults = NetworkOptions(connect_timeout=2.0, total_timeout=10.0)
    network = replace(defaults, **options)  # type: ignore[arg-type]
    pool = open_pool(network)
    try:
        yield StsClient(pool, network, Metrics(), endpoint_url)
    finally:
        await pool.close()


def recipe(form: CredentialForm = CredentialForm.NATIVE, *, audience: str | None = AUDIENCE) -> Recipe:
    return Recipe(form=form, now=datetime.now(UTC), audience=audience)


async def ask(client: StsClient, signed: Recipe) -> CallerIdentity:
    policy = default_policy() if signed.audience else make_policy(allow_unbound=True)
    request = require_fresh(judge(signed.credential(), policy), signed.now)
    return await client.identify(request, UpstreamCall(), asyncio.get_running_loop().time() + 10)


async def refuses(client: StsClient, signed: Recipe | None = None) -> str:
    """Return the detail of an answer that is not trusted, for which no decision is made."""
    with pytest.raises(UpstreamError) as raised:
        await ask(client, signed or recipe())
    assert raised.value.reason is Reason.STS_UNAVAILABLE
    return raised.value.detail


HEADERS = {
    CredentialForm.NATIVE: ["host", "accept", "user-agent", "x-kuma-audience"],
    CredentialForm.JWT: ["host", "accept", "user-agent", "x-kuma-audience"],
    CredentialForm.EKS: ["host", "accept", "user-agent", "x-k8s-aws-id"],
    CredentialForm.ENVELOPE: [
        *("host", "accept", "user-agent", "content-length", "content-type", "x-amz-date", "x-amz-security-token"),
        *("x-vault-aws-iam-server-id", "authorization"),
    ],
    CredentialForm.PLAIN_ENVELOPE: [
        *("host", "accept", "user-agent", "content-length", "content-type", "x-amz-date", "x-amz-security-token"),
        *("x-kuma-audience", "authorization"),
    ],
}


@pytest.mark.parametrize("form", FORMS)
async def test_nothing_is_sent_but_what_was_rebuilt(form: CredentialForm) -> None:
    """I2: no header of the HTTP client's own, no cookie, no credential of this host; and the signature still holds."""
    signed = recipe(form)
    async with recording_server(TRUE) as sts, sts_client(endpoint_url=sts.url) as client:
        await ask(client, signed)
    [arrived] = sts.requests
    assert arrived.names == HEADERS[form]
    assert arrived.header("host") == HOST
    assert arrived.header("accept") == "application/json"
    assert arrived.header("user-agent") == "kuma-aws-iam"
    method, target, version = arrived.line.split(" ")
    assert (method, version) == ("GET" if form.is_presigned else "POST", "HTTP/1.1")
    assert target.startswith("/?Action=GetCallerIdentity&") if form.is_presigned else target == "/"
    assert arrived.body == (b"" if form.is_presigned else BODY.encode())
    judged = judge(signed.credential())
    sent = replace(judged, target=target, body=arrived.body)
    assert signature_holds(sent, signed, arrived.headers)


async def test_an_unbound_credential_is_sent_without_an_audience() -> None:
    async with recording_server(TRUE) as sts, sts_client(endpoint_url=sts.url) as client:
        await ask(client, recipe(audience=None))
    assert sts.requests[0].names == ["host", "accept", "user-agent"]


@pytest.mark.parametrize("form", [CredentialForm.NATIVE, CredentialForm.PLAIN_ENVELOPE])
async def test_a_second_try_sends_the_same_bytes_once(form: CredentialForm) -> None:
    unavailable = answering("503 Service Unavailable", {"Content-Type": "text/plain"}, b"")
    async with recording_server(unavailable) as sts, sts_client(endpoint_url=sts.url) as client:
        await refuses(client, recipe(form))
    assert len(sts.requests) == 2
    assert sts.requests[0].raw == sts.requests[1].raw


@pytest.mark.parametrize("form", [CredentialForm.NATIVE, CredentialForm.PLAIN_ENVELOPE])
async def test_a_connection_that_ends_early_is_tried_once_more(form: CredentialForm) -> None:
    async with recording_server(hang_up) as sts, sts_client(endpoint_url=sts.url) as client:
        await refuses(client, recipe(form))
    assert len(sts.requests) == 2


@pytest.mark.parametrize(
    ("status", "code"), [("503 Service Unavailable", "SlowDown"), ("500 Internal Server Error", "Throttling")]
)
async def test_a_throttle_in_an_outages_clothes_is_not_tried_again(status: str, code: str) -> None:
    body = json.dumps({"Error": {"Code": code, "Message": "Rate exceeded"}}).encode()
    throttle = answering(status, {"Content-Type": "application/json"}, body)
    async with recording_server(throttle) as sts, sts_client(endpoint_url=sts.url) as client:
        with pytest.raises(UpstreamError) as raised:
            await ask(client, recipe())
    assert raised.value.reason is Reason.STS_THROTTLED
    assert len(sts.requests) == 1


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    """Vault PR 3983: STS answers malformed requests with a redirect to plain http, and Vault's client followed it."""
    async with recording_server(TRUE) as elsewhere:
        redirect = answering(status, {"Location": f"{elsewhere.url}/"}, IDENTITY)
        async with recording_server(redirect) as sts, sts_client(endpoint_url=sts.url) as client:
            await refuses(client)
    assert len(sts.requests) == 1
    assert elsewhere.connections == 0


async def test_a_compressed_answer_is_not_unfolded() -> None:
    """A correct answer in gzip is not accepted.

    Nothing is decompressed, so no decompression bomb works (CVE-2025-66471).
    """
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    zipped = answering("200 OK", headers, gzip.compress(IDENTITY))
    async with recording_server(zipped) as sts, sts_client(endpoint_url=sts.url) as client:
        await refuses(client)


async def test_an_endless_answer_is_cut_short() -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:  # the client closes the connection
            writer.write(b" " * 65536)
            await writer.drain()

    async with recording_server(pour) as sts, sts_client(endpoint_url=sts.url) as client:
        assert "64 KiB" in await refuses(client)
        await asyncio.wait_for(sts.closed.wait(), PATIENCE)
    assert len(sts.requests) == 1


async def test_an_answer_of_exactly_the_cap_is_read() -> None:
    padded = answering("200 OK", {"Content-Type": "application/json"}, IDENTITY.ljust(64 * 1024))
    async with recording_server(padded) as sts, sts_client(endpoint_url=sts.url) as client:
        assert (await ask(client, recipe())).account == "111122223333"


async def test_a_cookie_is_not_given_back() -> None:
    baker = answering("200 OK", {"Content-Type": "application/json", "Set-Cookie": "id=1; Path=/"}, IDENTITY)
    async with recording_server(baker) as sts, sts_client(endpoint_url=sts.url) as client:
        await ask(client, recipe())
        await ask(client, recipe())
    assert [arrived.header("cookie") for arrived in sts.requests] == [None, None]
    assert sts.connections == 1  # and the connection was used again


@pytest.mark.parametrize(("sent", "kept"), [("x" * 128, "x" * 128), ("x" * 129, ""), ("a b", ""), ("\xff\xfe", "")])
async def test_a_request_id_that_no_log_should_hold_is_dropped(sent: str, kept: str) -> None:
    """Bytes that are no text would make the audit line, and so the decision, fail."""
    answer = answering("200 OK", {"Content-Type": "application/json", "x-amzn-RequestId": sent}, IDENTITY)
    async with recording_server(answer) as sts, sts_client(endpoint_url=sts.url) as client:
        assert (await ask(client, recipe())).request_id == kept


# No proxy, no netrc, no trust from the environment (I9).


@pytest.fixture
async def proxy() -> AsyncIterator[Recorder]:
    async with recording_server(hang_up) as recorder:
        yield recorder


async def test_proxies_of_the_environment_are_not_used(proxy: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    async with recording_server(TRUE) as sts, sts_client(endpoint_url=sts.url) as client:
        await ask(client, recipe())
    with closed_port() as port:
        async with sts_client(endpoint_url=f"https://127.0.0.1:{port}") as client:
            await refuses(client)
    assert proxy.connections == 0


async def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\ndefault login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with recording_server(TRUE) as sts, sts_client(endpoint_url=sts.url) as client:
        await ask(client, recipe())
    assert sts.requests[0].header("authorization") is None


async def test_the_one_explicit_proxy_is_used_and_sees_no_credential(proxy: Recorder) -> None:
    async with sts_client(proxy_url=proxy.url) as client:
        await refuses(client)
    assert {arrived.line for arrived in proxy.requests} == {f"CONNECT {HOST}:443 HTTP/1.1"}
    assert TOKEN[:40].encode() not in b"".join(arrived.raw for arrived in proxy.requests)


@pytest.fixture
def tls(aws: Aws, tmp_path: Path) -> Iterator[Emulator]:
    """The same AWS behind a certificate of an unknown authority."""
    certificate = make_certificate(tmp_path)
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    with Emulator(aws.emulator.world, **files) as emulator:  # type: ignore[arg-type]
        yield emulator


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_trust_is_not_taken_from_the_environment(
    aws: Aws, tls: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """Trust comes from the system or `AWS_CA_BUNDLE`, and from no other variable (I9)."""
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "cert.pem"))
    async with sts_client(endpoint_url=tls.url) as client:
        assert "is not trusted (" in await refuses(client, recipe_of(aws.task()))
    assert len(tls.calls) == 0


async def test_a_certificate_of_the_ca_file_is_trusted(aws: Aws, tls: Emulator, tmp_path: Path) -> None:
    async with sts_client(endpoint_url=tls.url, ca_file=str(tmp_path / "cert.pem")) as client:
        assert (await ask(client, recipe_of(aws.task()))).account == ACCOUNT
    assert len(tls.calls) == 1


async def test_a_trusted_certificate_of_another_name_is_refused(aws: Aws, tmp_path: Path) -> None:
    """TLS is verified against the URL's own name."""
    certificate = make_certificate(tmp_path, address="127.0.0.2")
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    with Emulator(aws.emulator.world, **files) as tls:  # type: ignore[arg-type]
        async with sts_client(endpoint_url=tls.url, ca_file=str(certificate.cert)) as client:
            assert "shows is for another name" in await refuses(client, recipe_of(aws.task()))
        assert len(tls.calls) == 0


# No secret is in logs and errors.


async def test_no_detail_and_no_log_holds_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signed = recipe()
    url = signed.sign().url
    secrets = [url.partition("X-Amz-Signature=")[2], TOKEN[:40], signed.access_key_id, "X-Amz-Credential"]
    details = []
    with closed_port() as port:
        for endpoint in (f"http://127.0.0.1:{port}", "https://127.0.0.1.invalid", f"https://127.0.0.1:{port}"):
            async with sts_client(endpoint_url=endpoint) as client:
                details.append(await refuses(client, signed))
    async with recording_server(hang_up) as sts, sts_client(endpoint_url=sts.url) as client:
        details.append(await refuses(client, signed))
    seen = "\n".join(details) + caplog.text
    assert not [secret for secret in secrets if secret in seen]
