"""Requests with real signatures of botocore, which a test can change and send byte for byte."""

import hashlib
import hmac
import http.client
import re
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from app.emulator.identities import SessionCredentials, UserCredentials
from tests.support.patience import PATIENCE

IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
REGION = "eu-west-1"
HOST = "sts.eu-west-1.amazonaws.com"

AnyCredentials = SessionCredentials | UserCredentials


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """Return AWS's error code from XML or JSON."""
        found = re.search(rb'<Code>([^<]+)</Code>|"Code":"([^"]+)"', self.body)
        return (found[1] or found[2]).decode() if found else None

    @property
    def message(self) -> str | None:
        found = re.search(rb"<Message>([^<]+)</Message>", self.body)
        return found[1].decode() if found else None

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def element(self, name: str) -> str | None:
        found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), self.body)
        return found[1].decode() if found else None


@dataclass(frozen=True, kw_only=True)
class Message:
    """A request, signed or not, that is sent without any change."""

    method: str = "GET"
    host: str = HOST
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    def with_headers(self, *headers: tuple[str, str]) -> "Message":
        """Return the same message with these headers, each of which replaces an old one of its name."""
        names = {name.lower() for name, _ in headers}
        kept = tuple((name, value) for name, value in self.headers if name.lower() not in names)
        return replace(self, headers=(*kept, *headers))

    def without_header(self, unwanted: str) -> "Message":
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() != unwanted))

    def changed(self, old: str, new: str) -> "Message":
        """Return the same message with another target."""
        assert old in self.target
        return replace(self, target=self.target.replace(old, new))

    @property
    def date(self) -> datetime:
        """The date of the signature."""
        found = re.search(r"\d{8}T\d{6}Z", self.target + str(self.headers))
        assert found
        return datetime.strptime(found[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    def send(self, url: str, context: ssl.SSLContext | None = None) -> Response:
        server = urlsplit(url)
        assert server.hostname
        assert server.port
        connection = (
            http.client.HTTPSConnection(server.hostname, server.port, timeout=PATIENCE, context=context)
            if context
            else http.client.HTTPConnection(server.hostname, server.port, timeout=PATIENCE)
        )
        try:
            connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self.host)
            if self.body:
                connection.putheader("Content-Length", str(len(self.body)))
            for name, value in self.headers:
                connection.putheader(name, value)
            connection.endheaders(self.body or None)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(status=answer.status, headers=headers, body=answer.read())
        finally:
            connection.close()


def presign(
    credentials: AnyCredentials,
    *,
    host: str = HOST,
    region: str = REGION,
    service: str = "sts",
    query: str = IDENTITY,
    expires: int = 60,
    headers: dict[str, str] | None = None,
) -> Message:
    """Presign a GET; the headers are signed and sent."""
    request = AWSRequest("GET", f"https://{host}/?{query}", headers=headers)
    SigV4QueryAuth(credentials.frozen(), service, region, expires=expires).add_auth(request)
    return Message(host=host, target="/?" + urlsplit(str(request.url)).query, headers=tuple((headers or {}).items()))


def sign(  # noqa: PLR0913 - a list of options
    credentials: AnyCredentials,
    *,
    method: str = "POST",
    host: str = HOST,
    region: str = REGION,
    service: str = "sts",
    query: str = "",
    body: str = IDENTITY,
    headers: dict[str, str] | None = None,
) -> Message:
    """Sign in the Authorization header. A POST is a form unless its headers have another type."""
    own = {"Content-Type": FORM} if method == "POST" else {}
    data = body.encode() if method == "POST" else b""
    target = f"/?{query}" if query else "/"
    request = AWSRequest(method, f"https://{host}{target}", headers=own | (headers or {}), data=data)
    SigV4Auth(credentials.frozen(), service, region).add_auth(request)
    return Message(method=method, host=host, target=target, headers=tuple(request.headers.items()), body=data)


def sign_by_hand(credentials: SessionCredentials, headers: dict[str, str]) -> Message:
    """Sign a POST as AWS's documentation describes it, without botocore."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    token = credentials.session_token
    signed = {"content-type": FORM, "host": HOST, "x-amz-date": now, "x-amz-security-token": token} | headers
    names = ";".join(sorted(signed))
    lines = [f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)]
    canonical = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(IDENTITY.encode()).hexdigest()])
    scope = f"{now[:8]}/{REGION}/sts/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}".encode(), "sha256").hex()
    credential = f"{credentials.access_key_id}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    del signed["host"]
    return Message(method="POST", headers=(*signed.items(), ("authorization", authorization)), body=IDENTITY.encode())


def with_other_secret(credentials: SessionCredentials) -> SessionCredentials:
    """Return the credentials of somebody who knows only the key id and the token."""
    return replace(credentials, secret_access_key="x" * 40)


def with_other_token(credentials: SessionCredentials, token: str) -> SessionCredentials:
    return replace(credentials, session_token=token)
