"""Tokens from the control plane's API (``POST /tokens/dataplane``). The call needs an admin token of the control plane."""

import asyncio
import base64
import binascii
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from app.agent.bounded_socket import bound_by
from app.controller.held_token import MAX_HELD_TOKEN_CHARS, TokenFacts
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import Call, CallError, Failure, PutReason
from app.controller.tasks import TaskIdentity
from app.local.addresses import is_loopback
from app.local.causes import Peer, Stage, explain_failure, explain_file
from app.local.trust import client_context

API_CONNECT_SECONDS: Final = 3.0
# The limit for a whole call to the control plane.
API_CALL_SECONDS: Final = 10.0
MAX_API_CALLS: Final = 4

_PORTS: Final = {"http": 80, "https": 443}
_OK: Final = 200
_BEARER: Final = re.compile(r"[!-~]{1,8192}", re.ASCII)
_STATUSES: Final = {
    401: (Failure.ACCESS_DENIED, "it does not accept the API token (401)"),
    403: (Failure.ACCESS_DENIED, "the user of the API token may not issue data plane tokens (403)"),
    404: (Failure.NOT_FOUND, "there is no mesh of this name, or this is no API of a control plane (404)"),
    429: (Failure.THROTTLED, "too many requests (429)"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """The API of a control plane.

    Attributes:
        scheme: ``https``, or ``http`` on loopback.
        host: the host name or address.
        port: the port.
        path: the part of the path before ``/tokens/dataplane``; empty if there is none.
    """

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}{self.path}"


def parse_api_url(text: str) -> ApiServer:
    """Parse ``--api-server-url``.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy.
    """
    try:
        url = urlsplit(text)
        port = url.port or _PORTS[url.scheme]
    except (ValueError, KeyError):
        raise ValueError("write https://HOST:PORT, as for kumactl; the port is 5682 by default") from None
    if not url.hostname or url.username or url.query or url.fragment or not text.isascii() or not text.isprintable():
        raise ValueError("write https://HOST:PORT without a user and a query")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError("the admin token and all tokens would cross the network in clear; use https and port 5682")
    return ApiServer(scheme=url.scheme, host=url.hostname, port=port, path=url.path.rstrip("/"))


def parse_ca(text: str) -> str:
    """Return PEM from PEM or from base64 of PEM, as ``KUMA_API_CA_BYTES`` may have it.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy.
    """
    pem = text
    if "-----BEGIN" not in text:
        try:
            pem = base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            pem = ""
    # Bundles have comments with names of authorities, and `ssl` takes ASCII only.
    pem = pem.encode("ascii", "ignore").decode()
    try:
        _context(pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("it holds no certificate; give PEM, or base64 of PEM") from None
    return pem


def api_token_reader(text: str | None, path: Path | None) -> Callable[[], str]:
    """Return a function that returns the API token. A file is read for each call, so that its token can be replaced.

    The function raises `ValueError` if there is no token; the message names the remedy and contains no part of the token.
    """

    def read() -> str:
        try:
            token = (text or "") if path is None else path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file of the API token cannot be read ({explain_file(error)})") from None
        if not _BEARER.fullmatch(token.strip()):
            raise ValueError("the API token is no line of visible ASCII")
        return token.strip()

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """How the API is reached.

    Attributes:
        server: the address.
        ca: PEM of the authorities of its certificate; None for the usual public ones.
        read_token: returns the API token.
    """

    server: ApiServer
    ca: str | None = field(default=None, repr=False)
    read_token: Callable[[], str] = field(repr=False)


class ControlPlaneApi:
    """An `Issuer` that asks the control plane."""

    def __init__(self, access: ApiAccess, valid_for: timedelta, metrics: ControllerMetrics) -> None:
        self._access = access
        self._valid_for = f"{int(valid_for.total_seconds())}s"
        self._metrics = metrics
        self._context = _context(access.ca) if access.server.scheme == "https" else None
        self._threads = ThreadPoolExecutor(MAX_API_CALLS, thread_name_prefix="api")

    def close(self) -> None:
        """Start no further call."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def issue(self, identity: TaskIdentity) -> str:
        """See `Issuer`."""
        try:
            token = await asyncio.get_running_loop().run_in_executor(self._threads, self._post, identity)
        except CallError as error:
            self._metrics.call_failed(error.call, error.failure)
            raise
        self._metrics.call_made(Call.ISSUE_TOKEN)
        return token

    def check(self, token: str, facts: TokenFacts, identity: TaskIdentity) -> PutReason | None:
        """See `Issuer`. The controller does not know the keys of the control plane."""
        del token, facts, identity
        return None

    def _post(self, identity: TaskIdentity) -> str:
        server = self._access.server
        body: dict[str, Any] = {
            "mesh": identity.mesh,
            "type": "dataplane",
            "tags": identity.tags,
            "validFor": self._valid_for,
        }
        if identity.workload is not None:
            body["workload"] = identity.workload
        try:
            headers = {"Authorization": f"Bearer {self._access.read_token()}", "Content-Type": "application/json"}
        except ValueError as error:
            raise _failed(Failure.NO_CREDENTIALS, str(error)) from None
        connection = self._connection()
        stage = Stage.CONNECT
        try:
            ends = time.monotonic() + API_CALL_SECONDS
            connection.connect()
            stage = Stage.ANSWER
            bound_by(connection, lambda: ends - time.monotonic())
            connection.request("POST", f"{server.path}/tokens/dataplane", json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read(MAX_HELD_TOKEN_CHARS + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            failure = Failure.TIMEOUT if isinstance(error, TimeoutError) else Failure.UNAVAILABLE
            peer = Peer(name=str(server), setting="--api-server-url", trust="check KUMA_API_CA_BYTES")
            raise _failed(failure, str(explain_failure(error, peer, stage))) from None
        finally:
            connection.close()
        return _read_token(response.status, data)

    def _connection(self) -> http.client.HTTPConnection:
        server = self._access.server
        if server.scheme == "http":
            return http.client.HTTPConnection(server.host, server.port, timeout=API_CONNECT_SECONDS)
        return http.client.HTTPSConnection(server.host, server.port, timeout=API_CONNECT_SECONDS, context=self._context)


def _read_token(status: int, data: bytes) -> str:
    if status != _OK:
        # The text of an error can contain what was sent, so it is not shown.
        otherwise = (Failure.UNAVAILABLE if status >= 500 else Failure.REJECTED, f"status {status}")  # noqa: PLR2004 - HTTP
        raise _failed(*_STATUSES.get(status, otherwise))
    try:
        token = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _failed(Failure.ANSWER_INVALID, "the answer is no token") from None
    if not _BEARER.fullmatch(token):
        raise _failed(Failure.ANSWER_INVALID, "the answer is no token")
    return token


def _failed(failure: Failure, detail: str) -> CallError:
    return CallError(Call.ISSUE_TOKEN, failure, detail)


def _context(ca: str | None) -> ssl.SSLContext:
    if ca is None:
        return client_context(None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    # A control plane often has one certificate without an authority, which Go accepts as its own authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
