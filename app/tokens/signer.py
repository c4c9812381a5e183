"""Issues tokens: signs in threads, since RSA takes a part of a millisecond, and hands the same one out while it is young.

A proxy asks again at each stream that it opens. Equal subjects share a token as long as more than half of its life remains,
and the keys have not been read again since: so a storm signs nothing, whoever is given a token has half of its validity at
least, and an operator who has revoked one has others signed by a SIGHUP, also while a file of keys is bad.
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

# Of so many sessions: about 2 KiB each, 40 MB when full.
MAX_REUSABLE_TOKENS: Final = 20_000
# Of one session, which may be a host of several proxies. One that asks by another name or zone each time pushes out nobody's
# but its own.
MAX_TOKENS_OF_A_SESSION: Final = 16
MAX_SIGNING_THREADS: Final = 4
# As many as decisions that wait (app.api.authenticate). One core signs them in 3 s with keys of 2048 bits.
MAX_SIGNATURES: Final = 4096
# A proxy with a known credential can ask for another subject with each call, by its name or zone, and waits for nobody. So a
# role holds up the others by 0.2 s at most; those of its tasks that find no place come again after a second.
MAX_SIGNATURES_OF_A_ROLE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """How tokens are made.

    Attributes:
        audience: that they are bound to when they come back as credentials.
        validity: seconds from issue to expiry.
        with_names: hold data planes to the name that they give.
        default_zone: of zone proxies whose role and own words name none.
        max_sessions: number of sessions whose tokens can be given again.
        max_signatures: number of signatures under way.
    """

    audience: str
    validity: int
    with_names: bool = False
    default_zone: str | None = None
    max_sessions: int = MAX_REUSABLE_TOKENS
    max_signatures: int = MAX_SIGNATURES


class SigningIssuer:
    """Issues tokens for approvals, and signs them in threads."""

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
        # None: the time of whoever asked for it was over before its turn came.
        self._single_flight: SingleFlight[IssuedToken | None] = SingleFlight()
        self._under_way: Counter[tuple[str, str]] = Counter()
        threads = min(MAX_SIGNING_THREADS, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sign")

    def close(self) -> None:
        """Let the threads end; a signature under way is waited for by nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Sign anew for everybody from now on: a token of before may have been revoked."""
        self._reusable = TtlCache(self._options.max_sessions, self._timer)

    async def issue(self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord) -> IssuedToken:
        """Return the token that was presented, a young one of the same subject, or a fresh one.

        Args:
            decision: the approval.
            asserted: what the proxy says it is, which was compared with the decision's identity.
            trail: filled in with the token's id, key and end; its deadline bounds the signature.

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
        # By the clock that its end is written in as well: the timer stands still while a machine sleeps.
        if young is not None and (young.expires_at - self._clock()).total_seconds() > options.validity / 2:
            return self._note(young, REUSED, trail)
        while True:
            fresh = which not in self._single_flight
            if fresh:
                self._take_room(subject)
            ask = functools.partial(self._sign, subject, key, which, trail.deadline)
            try:
                token = await self._single_flight.join(which, ask, trail.deadline)
            except TimeoutError as error:
                raise UpstreamError(Reason.OVERLOADED, "no thread came to sign in time") from error
            if token is not None:
                return self._note(token, FRESH if fresh else REUSED, trail)
            # It was another one's, whose time was over: once more, with the time of this one.

    def _take_room(self, subject: TokenSubject) -> None:
        most = self._options.max_signatures
        if len(self._single_flight) >= most:
            raise UpstreamError(Reason.OVERLOADED, f"{most} signatures are under way")
        if self._under_way[_role_of(subject)] >= MAX_SIGNATURES_OF_A_ROLE:
            raise UpstreamError(Reason.OVERLOADED, f"{MAX_SIGNATURES_OF_A_ROLE} signatures are under way for this role")
        self._under_way[_role_of(subject)] += 1  # at once, and not when its task begins; that gives it back

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
    """Sign, unless nobody waits for it any more; ``end`` is of `time.perf_counter`."""
    return sign(claims, key) if time.perf_counter() < end else None
