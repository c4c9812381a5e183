"""``POST /v1/authenticate``: read a call, decide, write the audit line and the metrics, and make the answer.

The endpoint reads ASGI messages itself: a FastAPI route would take three times as long as a decision on a cache hit
(docs/explanation/performance.md). `app.api.application` puts the endpoint in front of FastAPI. FastAPI only describes it in
OpenAPI.
"""

import asyncio
import itertools
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from starlette.types import Message, Receive, Scope

from app.api import call_bounds
from app.api.answer import Answer
from app.api.audience_hint import name_audience
from app.api.known_calls import KnownCalls
from app.api.problems import problem_answer, reason_answer
from app.core.errors import AuthError, RequestError, UpstreamError
from app.core.known_credential import NewCredential, PresentedCredential
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.decision.authenticator import Decider, Decision
from app.decision.record import AUTHENTICATE_CALL, ApiCall, DecisionRecord
from app.page.recent_decisions import RecentDecisions
from app.policy.report_only import ReportOnly
from app.telemetry.audit import get_logger, write_decision
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness

PATH: Final = "/v1/authenticate"
# A credential has at most 12 KiB. JSON escapes can make it longer. Tags and labels are short.
MAX_BODY_BYTES: Final = 64 * 1024
# A decision takes about 20 KiB of memory, so 8192 take 160 MiB. Decisions that wait for AWS have lower limits, one for all
# accounts together and one for each account (`app.calls.waiting_places`). The limit on connections bounds the calls whose
# body is still arriving.
MAX_DECISIONS: Final = 8192

# The digits of a Content-Length: int() raises an error for a text of thousands of digits.
MAX_DIGITS: Final = 18  # no bound: how a number is read; the body is bounded by its bytes
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_JSON_TYPE: Final = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
JSON: Final = "application/json"
_PLAIN_JSON: Final = JSON.encode()
# The first half of each request id that this process makes. The second half is a counter. So the ids are unique, and no id
# needs random bytes of its own.
_PROCESS_ID: Final = secrets.token_hex(8)
_CALLS: Final = itertools.count(1)

Headers = Iterable[tuple[bytes, bytes]]


class Way(Protocol):
    """How another path uses this endpoint: it reads its call differently, and answers an approval differently."""

    call: ApiCall

    async def read(self, headers: Headers, receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read a call.

        Raises:
            AuthError: the call is invalid or refused, and no decision starts.
        """

    async def conclude(
        self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> Answer:
        """Make the answer to an approval. The endpoint sends the answer after it has written the audit line.

        Raises:
            AuthError: the call ends without an approval.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """What looks at each decision after its end. Nothing of it changes an answer.

    Attributes:
        report_only: evaluates another policy on each decision; None if there is no such policy.
        recent: records the decisions for their page; None if there is no page.
    """

    report_only: ReportOnly | None = None
    recent: RecentDecisions | None = None


class AuthenticateEndpoint:
    """Answers the calls of all paths that decide."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        authenticator: Decider,
        calls: KnownCalls,
        metrics: Metrics,
        readiness: Readiness,
        decision_timeout: float,
        *,
        waits_for_nobody: Callable[[str], bool] | None = None,
        audience: str = "",
        observers: Observers | None = None,
    ) -> None:
        """Answer calls.

        Args:
            authenticator: makes the decisions.
            calls: reads the bodies of calls, and caches them.
            metrics: counts the decisions.
            readiness: says whether the service is stopping.
            decision_timeout: the longest time of a decision, in seconds.
            waits_for_nobody: returns whether a credential that is not cached is decided without a call to AWS. None: no
                such credential exists.
            audience: the service's own audience, which is compared with a caller's hint.
            observers: look at each decision and change none. None: there are none.
        """
        self._authenticator = authenticator
        self._known_calls = calls
        self._metrics = metrics
        self._readiness = readiness
        self._decision_timeout = decision_timeout
        self._waits_for_nobody = waits_for_nobody
        self._audience = audience
        self._observers = observers or Observers()
        self._calls = 0
        self._decisions = 0
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.watch_in_flight(lambda: self._decisions)

    @property
    def decisions(self) -> int:
        """The number of decisions in progress."""
        return self._decisions

    async def answer(self, scope: Scope, receive: Receive, way: Way | None = None) -> Answer:
        """Read the call, decide, and log and count the decision. No input of a caller or of AWS makes this raise."""
        request_id = request_id_of(scope["headers"])
        # The TCP peer. No header of a caller can change it: uvicorn runs without its proxy headers.
        peer = scope.get("client")
        client = None if peer is None else peer[0]
        call = AUTHENTICATE_CALL if way is None else way.call
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
            # No decision started. The call is counted and logged anyway, so that operators notice a faulty caller. The rest
            # of the body is not read, so the connection must be closed.
            answer = self._end(DecisionRecord(request_id, client, call), error, time.perf_counter())
            return _with_header(answer, b"connection", b"close")
        else:
            return await self._decide(
                credential, asserted, DecisionRecord(request_id, client, call), way, scope["headers"]
            )
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no call is in progress, including calls whose body is still arriving."""
        await self._idle.wait()

    async def read(self, headers: Headers, receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read a call. The bytes of its body are freed when this returns, before the decision waits for anything."""
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
        """Return the cached credential of a call without a body, or a new one for the text."""
        credential = self._known_calls.recall(text)
        self._require_room(credential)
        return credential

    def _require_room(self, credential: PresentedCredential) -> None:
        # A call counts against the limit only when its body is complete, so that callers that send no body cannot use up the
        # limit (I20). The limit does not apply to cached credentials, so that a flood of credentials that need STS cannot
        # block them.
        if isinstance(credential, NewCredential) and self._decisions >= MAX_DECISIONS:
            if self._waits_for_nobody is not None and self._waits_for_nobody(credential.text):
                return
            raise UpstreamError(Reason.OVERLOADED, f"{MAX_DECISIONS} decisions are under way")

    async def _decide(
        self,
        credential: PresentedCredential,
        asserted: ProxyAssertion | None,
        trail: DecisionRecord,
        way: Way | None,
        headers: Headers,
    ) -> Answer:
        deadline = asyncio.get_running_loop().time() + self._decision_timeout
        started = time.perf_counter()
        self._decisions += 1
        try:
            decision = await self._authenticator.authenticate(credential, asserted, trail, deadline)
            concluded = None if way is None else await way.conclude(decision, asserted, trail, deadline)
        except AuthError as error:
            return self._end(trail, name_audience(error, credential, headers, self._audience, trail), started)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it is (I21)
            detail = f"a bug of ours: {describe_bug(error)}"
            return self._end(trail, AuthError(Reason.INTERNAL_ERROR, detail), started)
        finally:
            self._decisions -= 1
        unwritten = self._account(trail, None, started, hands_out_token=concluded is not None)
        if unwritten is not None:
            return reason_answer(unwritten, trail.request_id)
        if concluded is not None:
            return concluded
        return Answer(status=200, media_type=JSON, body=encode(members_of(decision)), request_id=trail.request_id)

    def _end(self, trail: DecisionRecord, error: AuthError, started: float) -> Answer:
        unwritten = self._account(trail, error, started)
        return (
            problem_answer(error, trail.request_id) if unwritten is None else reason_answer(unwritten, trail.request_id)
        )

    def _account(
        self, trail: DecisionRecord, error: AuthError | None, started: float, *, hands_out_token: bool = False
    ) -> Reason | None:
        """Write the audit line and count the decision.

        Returns the reason that replaces the decision, or None. If the line cannot be made, the reason is `internal_error`
        (I21). If standard output does not accept the line, the loss is counted and the decision stays valid. The exception
        is an answer with a token (fresh, reused or presented): to revoke a token, an operator needs the id in the line.
        """
        seconds = time.perf_counter() - started
        observers = self._observers
        if observers.report_only is not None:
            observers.report_only.evaluate(trail, error)
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
        if observers.recent is not None:
            lost = None if unwritten is None else AuthError(unwritten, "the audit line could not be written")
            observers.recent.note(trail, lost or error, seconds)
        return unwritten


def encode(members: dict[str, Any]) -> bytes:
    """Return the JSON of an answer."""
    encoded: bytes = orjson.dumps(members, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return encoded


def members_of(decision: Decision) -> dict[str, Any]:
    """Return the members of an approval's JSON. A test checks that they fit the model in the OpenAPI description."""
    return {
        "identity": decision.identity.members(),
        "principal": {**decision.principal.members(), "arn": decision.principal.arn},
        "expiresAt": decision.expires_at,
    }


def describe_bug(error: Exception) -> str:
    """Return an exception's class and where it was raised, without its message, which could contain a credential (I22)."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at {' < '.join(f'{frame.name}:{frame.lineno}' for frame in reversed(frames))}"


def request_id_of(headers: Headers) -> str:
    """Return the caller's ``X-Request-Id`` if it is 1 to 128 characters of ``A-Za-z0-9._-``, else a new id."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return f"{_PROCESS_ID}{next(_CALLS):016x}"


def _with_header(answer: Answer, name: bytes, value: bytes) -> Answer:
    return answer._replace(extra_headers=(*answer.extra_headers, (name, value)))


def _require_readable(headers: Headers) -> None:
    """Reject a media type other than JSON, any content coding, and a body that is too large (I20).

    With a content coding, a small body could decompress into a large one. One loop over the headers does all three checks,
    because this runs for each call.
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
    """Read a body that arrives in several messages, up to its limits in bytes and in time. ``message`` is the first one."""
    # This needs no timer: if a body is late, the protocol makes ``receive`` return without data.
    body: bytes = b""
    while True:
        if message["type"] == "http.disconnect":
            raise RequestError(Reason.MALFORMED_REQUEST, "the caller left before its body was whole")
        # The body is removed from the message: uvicorn keeps the message until the next one, and would keep the body too.
        body += message.pop("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(Reason.REQUEST_TOO_LARGE, "the body")
        if not message.get("more_body", False):
            return body
        if time.monotonic() - began >= call_bounds.BODY_TIMEOUT_SECONDS:
            raise RequestError(Reason.MALFORMED_REQUEST, "the body did not arrive within 5 s")
        message = await receive()
