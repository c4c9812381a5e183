"""What stands between the caches and AWS: lanes, fairness between accounts, and the breaker."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from app.adapters import guards
from app.adapters.accounts import FixedAccounts
from app.adapters.guards import GuardedIdentities, GuardedRoles
from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal
from app.core.request_policy import require_fresh
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.errors import AuthenticationError, AuthError, UpstreamDownError, UpstreamError
from app.reasons import Reason
from app.trail import Trail
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW, Recipe, judge

LISTED = FixedAccounts(frozenset({"111122223333"}))
UNAVAILABLE = UpstreamDownError(Reason.STS_UNAVAILABLE, "seen")


@dataclass
class Upstream:
    """Both ports; it answers, fails, or waits until it is released."""

    error: AuthError | None = None
    waits: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    most_at_once: int = 0
    at_once: int = 0

    async def _ask(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.waits:
                await self.released.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1

    async def identify(self, _request: ForwardableRequest, _trail: Trail) -> CallerIdentity:
        await self._ask()
        arn = parse_arn("arn:aws:sts::111122223333:assumed-role/demo-app/task-1")
        return CallerIdentity(arn=arn, user_id="AROAEXAMPLEEXAMPLE001:task-1", request_id="r")

    async def fetch_role(self, admitted: AdmittedPrincipal, _trail: Trail) -> RoleRecord:
        if admitted.principal.account == "999999999999":
            await asyncio.Event().wait()
        await self._ask()
        return RoleRecord(arn="arn:aws:iam::1:role/x", role_id="AROA", name="x", tags=(), request_id="r")


def forwardable(key_id: str = "ASIAEXAMPLEEXAMPLE01") -> ForwardableRequest:
    validated = judge(Recipe(form=CredentialForm.NATIVE, access_key_id=key_id).credential())
    return require_fresh(validated, NOW)


def admitted(account: str = "111122223333") -> AdmittedPrincipal:
    return AdmittedPrincipal(replace(PRINCIPAL, account=account))


def trail(seconds: float = 60.0) -> Trail:
    return Trail(request_id="r", deadline=asyncio.get_running_loop().time() + seconds)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_keys_that_sts_never_vouched_for_share_a_small_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of made-up keys spends a bounded part of what may go to STS, and holds up no known key."""
    monkeypatch.setattr(guards, "STS_AT_ONCE_UNVOUCHED", 2)
    upstream = Upstream()
    identities = GuardedIdentities(upstream, LISTED)
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    flood = [asyncio.create_task(identities.identify(forwardable(f"ASIAFORGED{n:010}"), trail())) for n in range(10)]
    await settle()
    assert upstream.at_once == 2
    known = asyncio.create_task(identities.identify(forwardable(), trail()))
    await settle()
    assert upstream.at_once == 3
    upstream.released.set()
    await asyncio.gather(known, *flood)
    assert upstream.most_at_once == 3


async def test_the_key_of_a_strangers_account_stays_in_the_small_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """STS vouches for anybody's role; only those of listed accounts earn the wide lane."""
    monkeypatch.setattr(guards, "STS_AT_ONCE_UNVOUCHED", 1)
    upstream = Upstream()
    identities = GuardedIdentities(upstream, FixedAccounts(frozenset({"444455556666"})))
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    tasks = [asyncio.create_task(identities.identify(forwardable(), trail())) for _ in range(5)]
    await settle()
    assert upstream.at_once == 1
    upstream.released.set()
    await asyncio.gather(*tasks)


async def test_a_full_queue_towards_sts_is_overload_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "STS_AT_ONCE_UNVOUCHED", 1)
    monkeypatch.setattr(guards, "STS_QUEUE", 1)
    upstream = Upstream(waits=True)
    identities = GuardedIdentities(upstream, LISTED)
    tasks = [asyncio.create_task(identities.identify(forwardable(), trail())) for _ in range(2)]
    await settle()
    with pytest.raises(UpstreamError) as raised:
        await identities.identify(forwardable(), trail())
    assert raised.value.reason is Reason.OVERLOADED
    upstream.released.set()
    await asyncio.gather(*tasks)
    assert upstream.asked == 2


async def test_a_dead_sts_is_not_asked_for_a_moment_and_then_once() -> None:
    seconds = [0.0]
    upstream = Upstream(error=UNAVAILABLE)
    identities = GuardedIdentities(upstream, LISTED, timer=lambda: seconds[0])
    for _ in range(guards.BREAKER_FAILURES + 3):
        with pytest.raises(UpstreamError) as raised:
            await identities.identify(forwardable(), trail())
        assert raised.value.reason is Reason.STS_UNAVAILABLE
    assert upstream.asked == guards.BREAKER_FAILURES
    seconds[0] += guards.BREAKER_PAUSE_SECONDS
    upstream.error = None
    await identities.identify(forwardable(), trail())
    await identities.identify(forwardable(), trail())
    assert upstream.asked == guards.BREAKER_FAILURES + 2


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(Reason.STS_REJECTED, "seen"),
        UpstreamError(Reason.STS_THROTTLED, "seen"),
        UpstreamError(Reason.STS_UNAVAILABLE, "seen"),
    ],
    ids=["denial", "throttling", "odd-answer"],
)
async def test_an_answer_of_whatever_kind_shows_that_sts_lives(error: AuthError) -> None:
    """Else anybody could close the way to STS for everybody with forged signatures."""
    upstream = Upstream(error=error)
    identities = GuardedIdentities(upstream, LISTED)
    for _ in range(guards.BREAKER_FAILURES * 3):
        with pytest.raises(AuthError) as raised:
            await identities.identify(forwardable(), trail())
        assert raised.value is error
    assert upstream.asked == guards.BREAKER_FAILURES * 3


async def test_an_account_whose_iam_hangs_starves_no_other() -> None:
    upstream = Upstream()
    roles = GuardedRoles(upstream)
    hanging = [asyncio.create_task(roles.fetch_role(admitted("999999999999"), trail())) for _ in range(50)]
    await settle()
    await roles.fetch_role(admitted(), trail())
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert upstream.asked == 1


async def test_a_dead_iam_of_one_account_is_not_asked_and_that_of_another_is() -> None:
    upstream = Upstream(error=UpstreamDownError(Reason.IAM_UNAVAILABLE, "seen"))
    roles = GuardedRoles(upstream, timer=lambda: 0.0)
    for _ in range(guards.BREAKER_FAILURES + 3):
        with pytest.raises(UpstreamError) as raised:
            await roles.fetch_role(admitted(), trail())
        assert raised.value.reason is Reason.IAM_UNAVAILABLE
    assert upstream.asked == guards.BREAKER_FAILURES
    upstream.error = None
    await roles.fetch_role(admitted("444455556666"), trail())
    assert upstream.asked == guards.BREAKER_FAILURES + 1
