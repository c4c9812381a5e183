"""Issue tokens. Threads sign them, since RSA takes up to a millisecond. A recent token is reused for an equal subject.

A proxy asks for a token for each stream that it opens. Equal subjects get the same token while more than half of its
lifetime remains and the keys have not been read again. So few signatures are needed when many proxies connect at the same
time, and each new or reused token is valid for at least half of its lifetime. After a revocation, the operator sends SIGHUP.
Then the service signs new tokens for all subjects, even if a file of keys is invalid.
"""

import asyncio
import functools
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from app.core.errors import UpstreamError
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.decision.authenticator import Decision
from app.decision.record import FRESH, PRESENTED, REUSED, DecisionRecord, TokenNote, TokenOrigin
from app.limits.single_flight import SingleFlight
from app.limits.ttl_cache import TtlCache
from app.local.clock import Clock, Timer
from app.telemetry.metrics import Metrics
from app.tokens.claims import TokenLife, TokenSubject, subject_of, write_claims
from app.tokens.codec import end_of, seconds_of
from app.tokens.issued_token import IssuedToken, TokenDecision
from app.tokens.keys import SigningKey, SigningKeys
from app.tokens.signing import sign

# The number of sessions with cached tokens. Each takes about 2 KiB, so a full cache takes 40 MB.
MAX_REUSABLE_TOKENS: Final = 20_000
# The number of cached tokens of one session, which may be a host with several proxies. A session that asks with a new name
# or zone each time can evict only its own tokens.
MAX_TOKENS_OF_A_SESSION: Final = 16
MAX_SIGNING_THREADS: Final = 4
# The number of signatures in progress or waiting. With keys of 2048 bits one core signs this many in 3 s.
MAX_SIGNATURES: Final = 4096
# A proxy with a cached credential does not wait for AWS, and can ask for a new subject with each call, by another name or
# zone. With this limit one role delays the others by 0.2 s at most. Further calls of this role are refused, and their
# callers retry after a second.
MAX_SIGNATURES_OF_A_ROLE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """How tokens are made.

    Attributes:
        audience: the audience in each token. The service checks it when a proxy presents the token as a credential.
        validity: seconds from issue to expiry.
        with_names: restrict a data plane token to the name that the proxy asserts.
        default_zone: the zone of zone proxies if neither the role nor the proxy names one.
        max_sessions: the number of sessions whose tokens are cached.
        max_signatures: the number of signatures that may be in progress or waiting.
    """

    audience: str
    validity: int
    with_names: bool = False
    default_zone: str | None = None
    max_sessions: int = MAX_REUSABLE_TOKENS
    max_signatures: int = MAX_SIGNATURES


class SigningIssuer:
    """Issues tokens for approvals; threads sign them."""

    def __init__(
        self,
        options: TokenOptions,
        keys: Callable[[], SigningKeys],
        metrics: Metrics,
        clock: Clock,
        timer: Timer = time.monotonic,
    ) -> None:
        self._options = options
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._timer = timer
        self._seen: SigningKeys | None = None
        self._reusable: TtlCache[dict[Hashable, IssuedToken]] = TtlCache(options.max_sessions, timer)
        # The value None means that the deadline of the requesting decision passed before the signature began.
        self._single_flight: SingleFlight[IssuedToken | None] = SingleFlight()
        self._under_way: Counter[tuple[str, str]] = Counter()
        threads = min(MAX_SIGNING_THREADS, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sign")

    def close(self) -> None:
        """Stop the threads, without waiting for signatures in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Sign new tokens for all subjects from now on: an earlier token may have been revoked."""
        self._reusable = TtlCache(self._options.max_sessions, self._timer)

    async def issue(
        self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> IssuedToken:
        """Return the presented token, a recent token of an equal subject, or a new one.

        Args:
            decision: the approval.
            asserted: what the proxy asserts; it was already compared with the decision's identity.
            trail: the record of the decision; it gets the token's id, key and expiry.
            deadline: the deadline of the decision, in seconds of the event loop's clock. It limits the wait.

        Raises:
            AuthorizationError: ``role_zone_missing``, ``role_workload_missing``, ``proxy_name_missing``.
            RequestError: ``malformed_request``.
            UpstreamError: ``signing_key_missing``, ``overloaded``.
        """
        if isinstance(decision, TokenDecision):
            return self._note(decision.token, PRESENTED, trail)
        options = self._options
        subject = subject_of(
            decision.identity,
            decision.principal,
            asserted,
            default_zone=options.default_zone,
            with_names=options.with_names,
        )
        key = self._current_keys().find_signer(subject.kind, subject.identity.mesh)
        if key is None:
            whom = "zone proxies" if subject.identity.mesh is None else f"mesh {subject.identity.mesh}"
            raise UpstreamError(Reason.SIGNING_KEY_MISSING, f"no key signs for {whom}")
        which: Hashable = (subject, key.kid, key.fingerprint)
        young = (self._reusable.get(_session_of(subject)) or {}).get(which)
        # This uses the clock that the token's expiry was computed with: the monotonic timer stops while a machine sleeps.
        if young is not None and (young.expires_at - self._clock()).total_seconds() > options.validity / 2:
            return self._note(young, REUSED, trail)
        while True:
            fresh = which not in self._single_flight
            if fresh:
                self._take_room(subject)
            ask = functools.partial(self._sign, subject, key, which, deadline)
            try:
                token = await self._single_flight.join(which, ask, deadline)
            except TimeoutError as error:
                raise UpstreamError(Reason.OVERLOADED, "no thread came to sign in time") from error
            if token is not None:
                return self._note(token, FRESH if fresh else REUSED, trail)
            # The signature belonged to another decision, whose deadline passed: sign once more with this decision's
            # deadline.

    def _take_room(self, subject: TokenSubject) -> None:
        most = self._options.max_signatures
        if len(self._single_flight) >= most:
            raise UpstreamError(Reason.OVERLOADED, f"{most} signatures are under way")
        if self._under_way[_role_of(subject)] >= MAX_SIGNATURES_OF_A_ROLE:
            raise UpstreamError(Reason.OVERLOADED, f"{MAX_SIGNATURES_OF_A_ROLE} signatures are under way for this role")
        # Count the signature before its task starts. `_sign` subtracts 1 when it ends.
        self._under_way[_role_of(subject)] += 1

    def _current_keys(self) -> SigningKeys:
        keys = self._keys()
        if keys is not self._seen:
            self._seen = keys
            self.forget()
        return keys

    async def _sign(
        self, subject: TokenSubject, key: SigningKey, which: Hashable, deadline: float
    ) -> IssuedToken | None:
        try:
            return await self._sign_in_thread(subject, key, which, deadline)
        finally:
            role = _role_of(subject)
            self._under_way[role] -= 1
            if not self._under_way[role]:
                del self._under_way[role]

    async def _sign_in_thread(
        self, subject: TokenSubject, key: SigningKey, which: Hashable, deadline: float
    ) -> IssuedToken | None:
        options, loop = self._options, asyncio.get_running_loop()
        now = seconds_of(self._clock())
        life = TokenLife(jti=str(uuid.uuid4()), issued_at=now, expires_at=now + options.validity)
        claims = write_claims(subject, life, options.audience)
        started = time.perf_counter()
        remaining = deadline - loop.time()
        text = await loop.run_in_executor(self._threads, _sign_before, started + remaining, claims, key)
        if text is None:
            return None
        self._metrics.token_signed(subject.kind, time.perf_counter() - started)
        token = IssuedToken(token=text, kind=subject.kind, kid=key.kid, jti=life.jti, expires_at=end_of(life))
        self._keep(_session_of(subject), which, token)
        return token

    def _keep(self, session: Hashable, which: Hashable, token: IssuedToken) -> None:
        tokens = self._reusable.get(session) or {}
        tokens.pop(which, None)
        if len(tokens) >= MAX_TOKENS_OF_A_SESSION:
            del tokens[next(iter(tokens))]
        tokens[which] = token
        self._reusable.put(session, tokens, self._options.validity / 2)

    def _note(self, token: IssuedToken, origin: TokenOrigin, trail: DecisionRecord) -> IssuedToken:
        trail.token = TokenNote(jti=token.jti, kid=token.kid, expires_at=token.expires_at, origin=origin)
        self._metrics.token_issued(token.kind, origin)
        return token


def _session_of(subject: TokenSubject) -> tuple[str, str, str]:
    return subject.principal.account, subject.principal.role_id, subject.principal.session


def _role_of(subject: TokenSubject) -> tuple[str, str]:
    return subject.principal.account, subject.principal.role_id


def _sign_before(end: float, claims: Mapping[str, Any], key: SigningKey) -> str | None:
    """Sign, unless the caller's deadline has passed. ``end`` is in seconds of `time.perf_counter`."""
    return sign(claims, key) if time.perf_counter() < end else None
