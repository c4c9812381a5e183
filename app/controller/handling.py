"""What is done with one secret: read it, decide, and put a new token. Nothing else in the program puts a token."""

import asyncio
from dataclasses import dataclass
from typing import Final

from app.controller.held_token import TokenFacts, renew_at
from app.controller.issuer import Issuer, UnfitTokenError, issue_checked
from app.controller.parts import PassOptions, Shared
from app.controller.pauses import LAST_PAUSE_SECONDS
from app.controller.plan import PUT_PAUSE_SECONDS, KnownSecret, Put, WantedSecret, decide, is_anothers, is_due
from app.controller.reasons import Api, Call, CallError, Failure, Leave, PutReason
from app.controller.secret import MalformedSecretError, SecretValue
from app.controller.secrets import NotMovedError, Secrets

FAULTS: Final = (Leave.SECRET_MISSING, Leave.SECRET_MALFORMED)
# With these failures no later move of the same version can succeed.
_WITHOUT_MOVE: Final = (Failure.ACCESS_DENIED, Failure.NOT_FOUND)
# The reason of a put, its token, and the id of the version.
_Put = tuple[PutReason, TokenFacts, str]


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done with a secret in a pass.

    Attributes:
        wanted: the secret and its tasks.
        done: the reason of a put, or why the secret was left; None if nothing could be done.
        detail: a sentence about a failure; otherwise empty.
    """

    wanted: WantedSecret
    done: PutReason | Leave | None
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether somebody must make or correct the secret."""
        return self.done in FAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A new value that was put. It is not the current one yet, or it is not known whether it is.

    Attributes:
        before: the id of the version that it replaces.
        version: its own id.
        reason: why it was put.
        facts: its token.
        put_at: when it was put, in seconds of the timer.
        error: why it did not become the current one.
    """

    before: str
    version: str
    reason: PutReason
    facts: TokenFacts
    put_at: float
    error: CallError


class SecretHandler:
    """Handles secrets, and remembers what it found in each. It remembers no token.

    Attributes:
        left: what was last found in each secret.
    """

    def __init__(self, secrets: Secrets, issuer: Issuer, options: PassOptions, shared: Shared) -> None:
        self._secrets = secrets
        self._issuer = issuer
        self._options = options
        self._shared = shared
        self._known: dict[str, KnownSecret] = {}
        self._staged: dict[str, _Staged] = {}
        self._is_stopping = False
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.left: dict[str, Leave] = {}

    @property
    def is_stopping(self) -> bool:
        """Whether no further put begins."""
        return self._is_stopping

    def stop(self) -> None:
        """Begin no further put. Puts that have begun run to their end."""
        self._is_stopping = True

    async def wait_for_puts(self) -> None:
        """Return when no token is being issued or put."""
        await self._idle.wait()

    def token_ages(self) -> list[float]:
        """Return the age in seconds of each token that was last found or put."""
        now = self._shared.clock()
        return [(now - known.facts.issued_at).total_seconds() for known in self._known.values() if known.facts]

    def forget_others(self, names: set[str]) -> None:
        """Forget secrets that no task reads. If a token was put a moment ago, the time of the put stays known."""
        latest = self._shared.timer() - PUT_PAUSE_SECONDS
        for name in self._known.keys() - names:
            put_at = self._known[name].put_at
            if put_at is None or put_at < latest:
                del self._known[name]
                self._staged.pop(name, None)
        self.left = {name: left for name, left in self.left.items() if name in names}

    async def handle(self, wanted: WantedSecret) -> Handled | None:
        """Handle one secret. Return None if nothing is due, by what is known of it."""
        known = self._known.setdefault(wanted.name, KnownSecret())
        if not is_due(wanted, known, self._shared.timer(), self._shared.clock()):
            left = self.left.get(wanted.name)
            done = left if left in FAULTS else None
            return Handled(wanted, done, "it is tried again after a pause") if known.failures else None
        try:
            return await self._read_and_decide(wanted, known)
        except MalformedSecretError as error:
            self._shared.report.malformed(wanted, error)
            return self._failed(wanted, known, Leave.SECRET_MALFORMED, str(error))
        except CallError as error:
            self._shared.failed(error, secret=wanted.name)
            is_missing = error.failure is Failure.NOT_FOUND and error.call.value == "GetSecretValue"
            result = self._failed(wanted, known, Leave.SECRET_MISSING if is_missing else None, str(error))
            if error.failure is Failure.CHANGED_MEANWHILE and known.failures == 1:
                known.retry_at = float("-inf")  # it is read again in the next pass
            return result

    async def _read_and_decide(self, wanted: WantedSecret, known: KnownSecret) -> Handled:
        shared = self._shared
        if shared.pauses.is_paused(Api.SECRETS):
            return Handled(wanted, None, "calls to Secrets Manager are paused")
        known.pending = wanted.pending
        value = await self._secrets.read(wanted.name)
        shared.pauses.succeeded(Api.SECRETS)
        self._settle(wanted, known, value)
        action, facts = decide(value, wanted.identity, shared.clock(), self._options.valid_for, self._issuer.check)
        known.read_at, known.identity = shared.timer(), wanted.identity
        known.facts, known.renew_at = facts, None
        if isinstance(action, Put) and is_anothers(wanted, facts, shared.clock()):
            known.retry_at = shared.timer() + LAST_PAUSE_SECONDS
            return Handled(wanted, None, "not all tasks are known, and the token may be that of another one")
        if isinstance(action, Put):
            return await self._put(wanted, known, value, action.reason)
        known.failures = 0
        if action.why is Leave.USABLE and facts is not None:
            known.renew_at = renew_at(facts)
        else:
            # The age is negative if the clock of this host is behind that of AWS, or was set back.
            age = max(0.0, (shared.clock() - value.created_at).total_seconds())
            known.retry_at = shared.timer() + PUT_PAUSE_SECONDS - age
        return self._leave(wanted, action.why)

    async def _put(self, wanted: WantedSecret, known: KnownSecret, value: SecretValue, reason: PutReason) -> Handled:
        shared = self._shared
        if self._options.dry_run:
            value.require_room()  # raises MalformedSecretError, as a put would
            return Handled(wanted, reason)
        if known.put_at is not None and shared.timer() - known.put_at < PUT_PAUSE_SECONDS:
            known.failures, known.retry_at = 0, known.put_at + PUT_PAUSE_SECONDS
            return self._leave(wanted, Leave.PUT_RECENTLY)
        if self._is_stopping:
            return Handled(wanted, None, "the controller stops")
        if shared.pauses.is_paused(Api.ISSUER):
            known.retry_at = shared.pauses.ends_at(Api.ISSUER)
            return Handled(wanted, None, "calls to the issuer are paused")
        self._in_hand += 1
        self._idle.clear()
        try:
            put = await self._finish_move(wanted, value) or await self._issue_and_replace(wanted, value, reason)
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()
        reason, facts, version = put
        known.read_at, known.facts, known.renew_at = shared.timer(), facts, renew_at(facts)
        self.left[wanted.name] = Leave.USABLE
        self._was_put(wanted, known, reason, facts, version)
        return Handled(wanted, reason)

    def _was_put(
        self, wanted: WantedSecret, known: KnownSecret, reason: PutReason, facts: TokenFacts, version: str
    ) -> None:
        known.put_at, known.failures = self._shared.timer(), 0
        self._shared.metrics.token_put(reason)
        self._shared.report.put(wanted, reason, facts, version)

    def _settle(self, wanted: WantedSecret, known: KnownSecret, value: SecretValue) -> None:
        """Find out what has become of a value whose move failed: the answer may have been lost, and not the move."""
        staged = self._staged.get(wanted.name)
        if staged is None or value.version == staged.before:
            return
        del self._staged[wanted.name]
        if value.version == staged.version:
            self._was_put(wanted, known, staged.reason, staged.facts, staged.version)
        else:
            self._shared.report.unused(wanted, staged.facts, staged.error)

    async def _finish_move(self, wanted: WantedSecret, value: SecretValue) -> _Put | None:
        """Make the value current that an earlier pass has put, if there is one. Another put would be one too many."""
        staged = self._staged.get(wanted.name)
        if staged is None:
            return None
        if staged.facts.identity == wanted.identity:
            try:
                await self._secrets.move(value, staged.version)
            except CallError as error:
                is_new = self._shared.timer() - staged.put_at < PUT_PAUSE_SECONDS
                if error.failure.is_general or (is_new and error.failure not in _WITHOUT_MOVE):
                    raise
            else:
                del self._staged[wanted.name]
                return staged.reason, staged.facts, staged.version
        del self._staged[wanted.name]
        self._shared.report.unused(wanted, staged.facts, staged.error)
        return None

    async def _issue_and_replace(self, wanted: WantedSecret, value: SecretValue, reason: PutReason) -> _Put:
        shared, valid_for = self._shared, self._options.valid_for
        value.require_room()  # if no token can be put, none is issued
        try:
            token, facts = await issue_checked(self._issuer, wanted.identity, shared.clock(), valid_for, shared.metrics)
        except UnfitTokenError as error:  # it is valid nevertheless, so the log must name it
            shared.report.unused(wanted, error.facts, error)
            raise
        shared.pauses.succeeded(Api.ISSUER)
        try:
            return reason, facts, await self._secrets.replace(value, value.with_token(token))
        except NotMovedError as error:
            self._staged[wanted.name] = _Staged(
                before=value.version,
                version=error.version,
                reason=reason,
                facts=facts,
                put_at=shared.timer(),
                error=error,
            )
            raise
        except CallError as error:
            shared.report.unused(wanted, facts, error)
            raise
        except MalformedSecretError as error:  # the token is longer than any of Kuma's
            shared.report.unused(wanted, facts, CallError(Call.PUT_SECRET_VALUE, Failure.REJECTED, str(error)))
            raise
        except asyncio.CancelledError:
            cause = CallError(
                Call.PUT_SECRET_VALUE, Failure.TIMEOUT, "the controller ended first; the put may still happen"
            )
            shared.report.unused(wanted, facts, cause)
            raise

    def _leave(self, wanted: WantedSecret, why: Leave) -> Handled:
        self.left[wanted.name] = why
        return Handled(wanted, why)

    def _failed(self, wanted: WantedSecret, known: KnownSecret, left: Leave | None, detail: str) -> Handled:
        known.failures += 1
        known.retry_at = self._shared.retry_at(known.failures)
        known.renew_at = None
        if left is not None:
            self.left[wanted.name] = left
        return Handled(wanted, left, detail)
