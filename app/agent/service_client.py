"""One call to the service, for the agent and for the commands that ask a running service.

The client uses ``http.client``, which botocore has loaded already. An HTTP library would take a quarter of the agent's
memory. The client follows no redirect and uses no proxy from the environment. It closes its connection after each call,
because the agent's next call comes about half an hour later.
"""

import contextlib
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from app.agent.bounded_socket import bound_by
from app.agent.errors import Failure, RenewalError
from app.agent.service_address import ServiceAddress
from app.core.audience_hint import AUDIENCE_HINT_HEADER
from app.core.strict_json import StrictJsonError, parse_object
from app.local.caller_tokens import read_tokens
from app.local.causes import Peer, Stage, explain_failure, explain_file

# The time limit of a whole call, in seconds. Without this limit, a service that sends its answer byte by byte could delay
# every later renewal. The service's own deadline is 10 s by default, and at most 60 s.
TIMEOUT_SECONDS: Final = 65.0
CONNECT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 64 * 1024
_FIRST_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
# The one date format that servers may send (RFC 9110, section 5.6.7).
_HTTP_DATE: Final = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [1-9][0-9]{3} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", re.ASCII
)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccess:
    """How a caller authenticates to the service, and which certificates it trusts.

    The client reads the files for each call, so they can be replaced.

    Attributes:
        ca_file: the authorities for the service's certificate; None for those of the system.
        is_pinned: whether only the first certificate in ``ca_file`` is accepted, whatever host names it lists: it is the
            certificate of a service on this host, and few certificates list 127.0.0.1.
        cert_file: the caller's own certificate, if the service requires one.
        key_file: the private key of that certificate; None if it is in the same file.
        token_file: the file of caller tokens; the first one is sent.
    """

    ca_file: Path | None = None
    is_pinned: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered.

    Attributes:
        status: the HTTP status.
        text: the body; what is no UTF-8 is replaced.
        members: the members of the answer's JSON object; empty if the answer is no JSON object.
        retry_after: the seconds that the service asks the agent to wait.
        request_id: the id of the service's audit line.
        date: the time by the service's clock, in whole seconds.
    """

    status: int
    text: str
    members: Mapping[str, Any]
    retry_after: float | None
    request_id: str | None
    date: datetime | None


class ServiceClient:
    """Calls one service.

    Args:
        monotonic: seconds of a monotonic clock.
    """

    def __init__(
        self, address: ServiceAddress, access: ServiceAccess, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._access = access
        self._monotonic = monotonic

    def check_files(self) -> None:
        """Read the files once, so that an invalid one is reported at the start.

        Raises:
            RenewalError: a file cannot be used.
        """
        self._headers()
        if self._address.scheme == "https":
            self._context()

    def post(self, path: str, call: Mapping[str, Any], audience: str | None = None) -> Reply:
        """Send a JSON object.

        Args:
            path: the path of the API.
            call: the object.
            audience: the audience that the credential in the call was signed for, if it is known. If STS rejects the
                credential, the service can say that the audience is the cause.

        Raises:
            RenewalError: the service cannot be reached, or does not answer in time. No decision is known.
        """
        headers = {"Content-Type": "application/json"}
        if audience is not None:
            headers[AUDIENCE_HINT_HEADER] = audience
        return self._call("POST", path, json.dumps(call).encode(), headers)

    def get(self, path: str) -> Reply:
        """Ask for a path.

        Raises:
            RenewalError: as for `post`.
        """
        return self._call("GET", path, None, {})

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        connection = self._connection()
        stage = None
        try:
            ends = self._monotonic() + TIMEOUT_SECONDS
            connection.connect()
            stage = Stage.ANSWER
            bound_by(connection, lambda: ends - self._monotonic())
            connection.request(method, path, body, {**self._headers(), **headers})
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            # Python raises a UnicodeError for a host that cannot be a name in DNS, for example with an empty label.
            # `http.client` sets the socket before it starts TLS.
            is_tls = self._address.scheme == "https" and connection.sock is not None
            opening = Stage.TLS if is_tls else Stage.CONNECT
            raise self._unreachable(error, stage or opening) from error
        finally:
            connection.close()
        return Reply(
            response.status,
            data.decode(errors="replace"),
            _members(data),
            _seconds(response.headers.get("Retry-After")),
            _request_id(response.headers.get("X-Request-Id")),
            _date(response.headers.get("Date")),
        )

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        if address.scheme == "unix":
            return _UnixConnection(address.path)
        if address.scheme == "http":
            return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_SECONDS)
        return http.client.HTTPSConnection(address.host, address.port, timeout=CONNECT_SECONDS, context=self._context())

    def _headers(self) -> dict[str, str]:
        if self._access.token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {read_tokens(self._access.token_file)[0]}"}
        except ValueError as error:
            raise RenewalError(Failure.UNDECIDED, "caller_token_file", f"{self._access.token_file}: {error}") from error

    def _context(self) -> ssl.SSLContext:
        access = self._access
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if access.ca_file is None:
                context.load_default_certs()
            elif access.is_pinned:
                context.check_hostname = False
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                found = _FIRST_CERTIFICATE.search(access.ca_file.read_text(encoding="utf-8"))
                context.load_verify_locations(cadata=found[0] if found else "")
            else:
                context.load_verify_locations(cafile=access.ca_file)
            if access.cert_file is not None:
                # Without this function OpenSSL would ask the terminal for the password of an encrypted key.
                context.load_cert_chain(access.cert_file, access.key_file, password=lambda: "")
        except (OSError, ValueError) as error:
            raise RenewalError(
                Failure.UNDECIDED,
                "tls_files",
                f"the TLS files cannot be used ({explain_file(error)}); check path, mode, PEM and that no key is encrypted",
            ) from error
        return context

    def _unreachable(self, error: Exception, stage: Stage) -> RenewalError:
        ca_file = self._access.ca_file
        trust = "give the file of its authority (--ca-file of the agent, else --tls-ca-file)"
        if ca_file is not None:
            trust = f"{ca_file} has no authority for it"
        peer = Peer(name=str(self._address), setting="the service's address", trust=trust)
        cause = explain_failure(error, peer, stage)
        if isinstance(error, ssl.SSLCertVerificationError):
            return RenewalError(Failure.UNDECIDED, "certificate_not_trusted", str(cause))
        return RenewalError(Failure.UNDECIDED, "service_unreachable", str(cause))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("service", timeout=CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        self.sock.connect(str(self._path))


def _members(data: bytes) -> Mapping[str, Any]:
    """Return the members of the answer; empty if the answer is no JSON object, for example the error page of a proxy."""
    if len(data) <= MAX_ANSWER_BYTES:
        with contextlib.suppress(StrictJsonError):
            return parse_object(data)
    return {}


def _seconds(value: str | None) -> float | None:
    """Read a Retry-After in seconds. A date returns None; this service never sends one."""
    return float(value) if value is not None and _SECONDS.fullmatch(value) else None


def _request_id(value: str | None) -> str | None:
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def _date(value: str | None) -> datetime | None:
    if value is not None and _HTTP_DATE.fullmatch(value):
        with contextlib.suppress(ValueError):
            return parsedate_to_datetime(value)
    return None
