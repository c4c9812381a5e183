"""What stands between the role cache and IAM: a budget an account, and the breaker."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace

import pytest

from app.adapters import iam_guard
from app.adapters.iam_guard import GuardedRoles, IamLanes
from app.adapters.role_cache import CachingRoles
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.errors import AuthorizationError, UpstreamDownError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.sealing import Kind
from app.trail import Trail
from tests.support.ports import SharedStore, Time
from tests.support.principals import PRINCIPAL
from tests.support.upstreams import HANGING_ACCOUNT, Upstream, settle, trail


def admitted(account: str = "111122223333") -> AdmittedPrincipal:
    return AdmittedPrincipal(replace(PRINCIPAL, account=account))


def guard(upstream: Upstream, rate: float = 1e6) -> GuardedRoles:
    return GuardedRoles(upstream, IamLanes(rate, timer=lambda: 0.0), timer=lambda: 0.0)


async def test_an_account_whose_iam_hangs_starves_no_other() -> None:
    upstream = Upstream()
    roles = guard(upstream)
    hanging = [asyncio.create_task(roles.fetch_role(admitted(HANGING_ACCOUNT), trail())) for _ in range(50)]
    await settle()
    await roles.fetch_role(admitted(), trail())
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert upstream.asked == 1


async def test_an_accounts_budget_is_its_own() -> None:
    upstream = Upstream()
    roles = guard(upstream, rate=0.01)
    for account in ("111122223333", "444455556666"):
        for _ in range(2):
            await roles.fetch_role(admitted(account), trail())
        with pytest.raises(UpstreamError) as raised:
            await roles.fetch_role(admitted(account), trail())
        assert raised.value.reason is Reason.OVERLOADED
        assert raised.value.retry_after == 30
    assert upstream.asked == 4


# How the turns of one account are shared between roles that are new, known, and missing.


@dataclass
class Slow:
    """An IAM that takes a moment, knows some roles, and notes whom it was asked about."""

    missing: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    async def fetch_role(self, admitted: AdmittedPrincipal, _trail: Trail) -> RoleRecord:
        principal = admitted.principal
        self.asked.append(principal.role)
        await asyncio.sleep(0)
        if principal.role in self.missing:
            raise AuthorizationError(Reason.ROLE_NOT_FOUND, "seen")
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        return RoleRecord(arn=arn, role_id=principal.role_id, name=principal.role, tags=(), request_id="r")


def named(name: str) -> AdmittedPrincipal:
    return AdmittedPrincipal(replace(PRINCIPAL, role=name, role_id=f"AROA{name.upper().replace('-', ''):X<17}"))


def cached(iam: Slow, time: Time, rate: float) -> CachingRoles:
    guarded = GuardedRoles(iam, IamLanes(rate))
    return CachingRoles(guarded, Metrics(), ttl=100.0, max_stale=3600.0, timer=time.timer)


async def fetch(roles: CachingRoles, name: str, seconds: float = 60.0) -> None:
    with contextlib.suppress(AuthorizationError):
        await roles.fetch_role(named(name), trail(seconds))


async def test_known_roles_are_read_again_while_many_new_ones_wait() -> None:
    """Sessions of a hundred roles that nobody read before cost each known one a turn at most."""
    time, iam = Time(), Slow()
    roles = cached(iam, time, rate=50.0)
    known = [f"known-{number}" for number in range(5)]
    await asyncio.gather(*(fetch(roles, name) for name in known))
    flood = [asyncio.create_task(fetch(roles, f"new-{number}")) for number in range(100)]
    await settle()
    time.passed = 100.0
    iam.asked.clear()
    await asyncio.gather(*(fetch(roles, name) for name in known))
    # Four were on their way before, and then the turns alternate.
    assert len(iam.asked) <= iam_guard.IAM_AT_ONCE_PER_ACCOUNT + 2 * len(known) + 1
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_roles_that_were_not_found_keep_no_new_one_waiting() -> None:
    time = Time()
    deleted = [f"deleted-{number}" for number in range(100)]
    iam = Slow(missing=frozenset(deleted))
    roles = cached(iam, time, rate=100.0)
    await asyncio.gather(*(fetch(roles, name) for name in deleted))
    time.passed = 10.0
    flood = [asyncio.create_task(fetch(roles, name)) for name in deleted]
    await settle()
    iam.asked.clear()
    await fetch(roles, "new")
    assert len(iam.asked) <= 2 * iam_guard.IAM_AT_ONCE_PER_ACCOUNT + 2
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


# Whoever can write to the store that replicas share, and has no key.


@dataclass
class Intruded(SharedStore):
    """A store that says of every question that a replica has claimed it, and of every budget that it is spent."""

    wait: float = 0.0
    is_claimed: bool = True

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        return not self.is_claimed

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - likewise
        return self.wait


@pytest.mark.parametrize(
    ("wait", "is_claimed"), [(0.0, True), (2.0, False), (1.9, True)], ids=["claims", "budgets", "both"]
)
async def test_whoever_writes_to_the_store_keeps_no_new_caller_out(wait: float, *, is_claimed: bool) -> None:
    """ADR 12: each is delayed by two seconds at most, all of them at the same time."""
    time, iam = Time(), Slow()
    store = Intruded(time, wait=wait, is_claimed=is_claimed)
    guarded = GuardedRoles(iam, IamLanes(40.0, store))
    roles = CachingRoles(guarded, Metrics(), ttl=100.0, max_stale=0.0, timer=time.timer, store=store)
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(roles.fetch_role(named(f"new-{number}"), trail(10.0)) for number in range(40)))
    assert len(iam.asked) == 40
    # Forty turns at half of the pace, and two seconds.
    assert clock() - began < 2.0 + 2.0 + 3.0


async def test_throttling_slows_the_account_down() -> None:
    upstream = Upstream(error=UpstreamError(Reason.IAM_THROTTLED, "seen"))
    roles = guard(upstream, rate=1.0)
    with pytest.raises(UpstreamError) as raised:
        await roles.fetch_role(admitted(), trail())
    assert raised.value.reason is Reason.IAM_THROTTLED
    # Nothing is saved up any more, and the turn that was to come in a second comes in two.
    with pytest.raises(UpstreamError, match=r"1\.0 s"):
        await roles.fetch_role(admitted(), trail(0.9))


async def test_a_dead_iam_of_one_account_is_not_asked_and_that_of_another_is() -> None:
    upstream = Upstream(error=UpstreamDownError(Reason.IAM_UNAVAILABLE, "seen"))
    roles = guard(upstream)
    for _ in range(iam_guard.IAM_FAILURES + 3):
        with pytest.raises(UpstreamError) as raised:
            await roles.fetch_role(admitted(), trail())
        assert raised.value.reason is Reason.IAM_UNAVAILABLE
    assert upstream.asked == iam_guard.IAM_FAILURES
    upstream.error = None
    await roles.fetch_role(admitted("444455556666"), trail())
    assert upstream.asked == iam_guard.IAM_FAILURES + 1
