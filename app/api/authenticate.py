"""``POST /v1/authenticate``: from the bytes of a call to the bytes of its answer, with telemetry for each.

It speaks bare ASGI, since FastAPI's own route would cost three times the decision on a cache hit (docs/explanation/
performance.md). `app.api.application` puts it in front of FastAPI, and lets FastAPI describe it in OpenAPI.
"""

import asyncio
import itertools
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.api import call_bounds
from app.api.answer import Answer
from app.api.known_calls import KnownCalls
from app.api.problems import problem_answer, reason_answer
from app.core.errors import AuthError, RequestError, UpstreamError
from app.core.known_credential import NewCredential, PresentedCredential
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.decision.authenticator import Decider, Decision
from app.decision.record import DecisionRecord
from app.telemetry.audit import get_logger, write_decision
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness

PATH: Final = "/v1/authenticate"
# A credential has at most 12 KiB, and JSON may escape it; tags and labels take little.
MAX_BODY_BYTES: Final = 64 * 1024
# A decision takes some 20 KiB: 160 MiB when full. Decisions that wait for AWS have lower limits, in all and for each
# account (`app.calls.waiting_places`). The limit on connections bounds the calls whose body is still arriving.
MAX_DECISIONS: Final = 8192

# Of a Content-Length: int() refuses to read thousands of them.
MAX_DIGITS: Final = 18  # no bound: how a number is read; the body is bounded by its bytes
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_JSON_TYPE: Final = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
JSON: Final = "application/json"
_PLAIN_JSON: Final = JSON.encode()
# Of ids that are made here: unique, and without the price of random bytes for each.
_PROCESS_ID: Final = secrets.token_hex(8)
_CALLS: Final = itertools.count(1)

Headers = Iterable[tuple[bytes, bytes]]


class Way(Protocol):
    """Another way through here: how its call is read, and what an approval is answered with."""

    async def read(self, headers: Headers, receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read a call.

        Raises:
            AuthError: no decision is begun.
        """

    async def conclude(self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord) -> Answer:
        """Make the answer to an approval; it is sent once the decision is written down.

        Raises:
            AuthError: it ends without an approval.
        """


class AuthenticateEndpoint:
    """The ASGI application of one path."""

    def __init__(
        self,
        authenticator: Decider,
        calls: KnownCalls,
        metrics: Metrics,
        readiness: Readiness,
        decision_timeout: float,
        waits_for_nobody: Callable[[str], bool] | None = None,
    ) -> None:
        """Answer calls.

        Args:
            authenticator: decides.
            calls: reads bodies.
            metrics: counts.
            readiness: says when the service stops.
            decision_timeout: seconds for a whole decision.
            waits_for_nobody: tells credentials that are decided without a call to AWS, though they are not known.
        """
        self._authenticator = authenticator
        self._known_calls = calls
        self._metrics = metrics
        self._readiness = readiness
        self._decision_timeout = decision_timeout
        self._waits_for_nobody = waits_for_nobody
        self._calls = 0
        self._decisions = 0
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.watch_in_flight(lambda: self._decisions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        await (await self.answer(scope, receive)).send(send)

    async def answer(self, scope: Scope, receive: Receive, way: Way | None = None) -> Answer:
        """Read the call, decide, and account for the decision; it never raises for what a caller or AWS does."""
        request_id = request_id_of(scope["headers"])
        if scope["method"] != "POST":
            answer = problem_answer(RequestError(Reason.METHOD_NOT_ALLOWED, scope["method"]), request_id)
            return _with_header(answer, b"allow", b"POST")
        self._calls += 1
        self._idle.clear()
        try:
            if self._readiness.draining:
                raise UpstreamError(Reason.OVERLOADED, "the service is stopping")
            read = self.read if way is None else way.read
            credential, asserted = await read(scope["headers"], receive)
        except AuthError as error:
            # No decision was begun; yet it is counted and logged, so that a misbehaving caller shows. What is left of the
            # body is not read, so the connection ends.
            answer = self._end(DecisionRecord(request_id=request_id, deadline=0.0), error, time.perf_counter())
            return _with_header(answer, b"connection", b"close")
        else:
            return await self._decide(credential, asserted, request_id, way)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def wait_until_idle(self) -> None:
        """Come back when no call is under way, not even one whose body is on its way."""
        await self._idle.wait()

    async def read(self, headers: Headers, receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read a call; its bytes are let go with this frame, before anything else is waited for."""
        _require_readable(headers)
        began = time.monotonic()
        message = await receive()
        if (
            message["type"] != "http.request"
            or message.get("more_body", False)
            or len(message.get("body", b"")) > MAX_BODY_BYTES
        ):
            body = await _read_rest(message, receive, began)
        else:
            body = message.get("body", b"")
        credential, asserted = self._known_calls.read(body)
        self._require_room(credential)
        return credential, asserted

    def recall(self, text: str) -> PresentedCredential:
        """Return what is known of a credential that came without a body, or the credential as a new one."""
        credential = self._known_calls.recall(text)
        self._require_room(credential)
        return credential

    def _require_room(self, credential: PresentedCredential) -> None:
        # Not before the body is whole: whoever sends none must not take the place of those who do (I20). And not for those
        # who are known: whoever presents what STS has to be asked about must not take theirs.
        if isinstance(credential, NewCredential) and self._decisions >= MAX_DECISIONS:
            if self._waits_for_nobody is not None and self._waits_for_nobody(credential.text):
                return
            raise UpstreamError(Reason.OVERLOADED, f"{MAX_DECISIONS} decisions are under way")

    async def _decide(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, request_id: str, way: Way | None
    ) -> Answer:
        trail = DecisionRecord(
            request_id=request_id, deadline=asyncio.get_running_loop().time() + self._decision_timeout
        )
        started = time.perf_counter()
        self._decisions += 1
        try:
            decision = await self._authenticator.authenticate(credential, asserted, trail)
            concluded = None if way is None else await way.conclude(decision, asserted, trail)
        except AuthError as error:
            return self._end(trail, error, started)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it is (I21)
            detail = f"a bug of ours: {describe_bug(error)}"
            return self._end(trail, AuthError(Reason.INTERNAL_ERROR, detail), started)
        finally:
            self._decisions -= 1
        unwritten = self._account(trail, None, started, hands_out_token=concluded is not None)
        if unwritten is not None:
            return reason_answer(unwritten, request_id)
        if concluded is not None:
            return concluded
        return Answer(status=200, media_type=JSON, body=encode_decision(decision), request_id=request_id)

    def _end(self, trail: DecisionRecord, error: AuthError, started: float) -> Answer:
        unwritten = self._account(trail, error, started)
        return (
            problem_answer(error, trail.request_id) if unwritten is None else reason_answer(unwritten, trail.request_id)
        )

    def _account(
        self, trail: DecisionRecord, error: AuthError | None, started: float, *, hands_out_token: bool = False
    ) -> Reason | None:
        """Write the audit line and count the decision.

        Returns the reason that replaces the decision, or None. A decision whose line cannot be made is `internal_error`
        (I21). A line that standard output does not accept is counted. The decision stays valid, unless its answer
        contains a token (fresh, reused or presented): to revoke a token, an operator needs the id in the line.
        """
        seconds = time.perf_counter() - started
        unwritten = None
        try:
            if not write_decision(trail, error, seconds):
                self._metrics.audit_line_lost()
                if hands_out_token:
                    unwritten = Reason.INTERNAL_ERROR
        except Exception as bug:  # noqa: BLE001 - a text that JSON cannot hold, or a bug of ours
            unwritten = Reason.INTERNAL_ERROR
            get_logger().error("audit line not written", request_id=trail.request_id, problem=describe_bug(bug))
        self._metrics.decision_ended(trail, unwritten or (None if error is None else error.reason), seconds)
        return unwritten


def encode_decision(decision: Decision) -> bytes:
    """Return the JSON of an approval; a test holds it to the model that OpenAPI shows."""
    return encode(members_of(decision))


def encode(members: dict[str, Any]) -> bytes:
    """Return the JSON of an answer."""
    encoded: bytes = orjson.dumps(members, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return encoded


def members_of(decision: Decision) -> dict[str, Any]:
    """Return the members of an approval's JSON."""
    identity, principal = decision.identity, decision.principal
    return {
        "identity": {
            "type": identity.type.value,
            "mesh": identity.mesh,
            "service": identity.service,
            "workload": identity.workload,
            "zone": identity.zone,
        },
        "principal": {
            "partition": principal.partition,
            "account": principal.account,
            "role": principal.role,
            "roleId": principal.role_id,
            "session": principal.session,
            "arn": principal.arn,
        },
        "expiresAt": decision.expires_at,
    }


def describe_bug(error: Exception) -> str:
    """Return the class of an unexpected exception and where it came from; its message could hold a credential (I22)."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at {' < '.join(f'{frame.name}:{frame.lineno}' for frame in reversed(frames))}"


def request_id_of(headers: Headers) -> str:
    """Return the caller's ``X-Request-Id`` if it is one plain token, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return f"{_PROCESS_ID}{next(_CALLS):016x}"


def _with_header(answer: Answer, name: bytes, value: bytes) -> Answer:
    return answer._replace(extra_headers=(*answer.extra_headers, (name, value)))


def _require_readable(headers: Headers) -> None:
    """Refuse another media type, any content coding (a small body must not unfold into a large one), and a large body (I20).

    One look at the headers for all three: it is taken on each call.
    """
    is_json, too_large, coded, types = False, False, False, 0
    for name, value in headers:
        if name == b"content-type":
            types += 1
            is_json = value == _PLAIN_JSON or _JSON_TYPE.fullmatch(value) is not None
        elif name == b"content-length":
            too_large |= not value.isdigit() or len(value) > MAX_DIGITS or int(value) > MAX_BODY_BYTES
        elif name == b"content-encoding":
            coded = True
    if coded:
        raise RequestError(Reason.UNSUPPORTED_MEDIA_TYPE, "a Content-Encoding")
    if types != 1 or not is_json:
        raise RequestError(Reason.UNSUPPORTED_MEDIA_TYPE, "the Content-Type is not application/json")
    if too_large:
        raise RequestError(Reason.REQUEST_TOO_LARGE, "Content-Length")


async def _read_rest(message: Message, receive: Receive, began: float) -> bytes:
    """Read a body that did not come at once, from its first message on, up to its bound in bytes and in time."""
    # No clock is set here: where a body is late, the protocol has ``receive`` come back with nothing.
    body: bytes = b""
    while True:
        if message["type"] == "http.disconnect":
            raise RequestError(Reason.MALFORMED_REQUEST, "the caller left before its body was whole")
        # Removed from the message: uvicorn keeps the message until the next one, and with it this part of the body.
        body += message.pop("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(Reason.REQUEST_TOO_LARGE, "the body")
        if not message.get("more_body", False):
            return body
        if time.monotonic() - began >= call_bounds.BODY_TIMEOUT_SECONDS:
            raise RequestError(Reason.MALFORMED_REQUEST, "the body did not arrive within 5 s")
        message = await receive()
