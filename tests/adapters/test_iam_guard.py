"""What stands between the role cache and IAM: a budget an account, and the breaker."""

import asyncio
from dataclasses import replace

import pytest

from app.adapters import iam_guard
from app.adapters.iam_guard import GuardedRoles, IamLanes
from app.core.principal import AdmittedPrincipal
from app.errors import UpstreamDownError, UpstreamError
from app.reasons import Reason
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
