"""How the call budget of one account is divided between roles that are new, known and missing."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from app.core.errors import AuthError, AuthorizationError, UpstreamDownError, UpstreamError
from app.core.principal import AdmittedPrincipal
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.decision.record import UpstreamCall
from app.iam import calls as iam_calls
from app.iam.calls import IAM_FAILURES, Roles
from app.iam.upstream import IAM_CALL_SECONDS
from app.settings.accounts import FixedAccounts
from app.store.sealing import Kind
from app.telemetry.metrics import Metrics
from tests.support.admitted import ACCOUNT, OTHER, admitted
from tests.support.ports import Iam, SharedStore, Time, new_trail, soon
from tests.support.principals import PRINCIPAL
from tests.support.roles import new_roles
from tests.support.upstreams import settle
from tests.support.virtual_time import run_in_virtual_time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@dataclass
class Slow:
    """An IAM with latency, missing roles and hanging accounts, which records its calls."""

    missing: frozenset[str] = frozenset()
    hanging: frozenset[str] = frozenset()
    error: AuthError | None = None
    seconds: float = 0.01
    asked: list[str] = field(default_factory=list)
    at_once: int = 0

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:  # noqa: ARG002 - the port's
        principal = admitted.principal
        self.asked.append(principal.role)
        self.at_once += 1
        try:
            if principal.account in self.hanging:
                await asyncio.sleep(deadline - asyncio.get_running_loop().time())
                raise UpstreamDownError(Reason.IAM_UNAVAILABLE, "no answer")
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        if principal.role in self.missing:
            raise AuthorizationError(Reason.ROLE_NOT_FOUND, "seen")
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        return RoleRecord(arn=arn, role_id=principal.role_id, name=principal.role, tags=(), request_id="r")


def named(name: str, account: str = ACCOUNT) -> AdmittedPrincipal:
    role_id = f"AROA{name.upper().replace('-', ''):X<17}"
    return AdmittedPrincipal(replace(PRINCIPAL, role=name, role_id=role_id, account=account))


async def reason_of(roles: Roles, admitted: AdmittedPrincipal, seconds: float = 10.0) -> Reason | None:
    try:
        await roles.fetch_role(admitted, new_trail().iam, soon(seconds))
    except AuthError as error:
        return error.reason
    return None


async def end(tasks: list[asyncio.Task[Reason | None]], roles: Roles) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await roles.close()


def test_known_roles_are_read_again_while_many_new_ones_wait() -> None:
    """Sessions of a hundred unread roles delay the refresh of each known role by one call at most."""

    async def scene() -> None:
        time, iam = Time(), Slow()
        roles = new_roles(iam, ttl=100.0, max_stale=3600.0, timer=time.timer, rate=50.0)
        known = [f"known-{number}" for number in range(5)]
        await asyncio.gather(*(reason_of(roles, named(name)) for name in known))
        flood = [asyncio.create_task(reason_of(roles, named(f"new-{number}"))) for number in range(100)]
        await settle()
        time.passed = 100.0
        iam.asked.clear()
        await asyncio.gather(*(reason_of(roles, named(name)) for name in known))
        assert len(iam.asked) <= 2 * len(known) + 1
        await end(flood, roles)

    run_in_virtual_time(scene())


def test_roles_that_were_not_found_keep_no_new_one_waiting() -> None:
    async def scene() -> None:
        time = Time()
        deleted = [f"deleted-{number}" for number in range(100)]
        iam = Slow(missing=frozenset(deleted))
        roles = new_roles(iam, ttl=100.0, timer=time.timer, rate=100.0)
        await asyncio.gather(*(reason_of(roles, named(name)) for name in deleted))
        time.passed = 10.0
        flood = [asyncio.create_task(reason_of(roles, named(name))) for name in deleted]
        await settle()
        iam.asked.clear()
        await reason_of(roles, named("new"))
        assert len(iam.asked) <= 4
        await end(flood, roles)

    run_in_virtual_time(scene())


def test_an_accounts_budget_is_its_own() -> None:
    async def scene() -> None:
        roles = new_roles(Slow(), rate=0.1)
        for account in (ACCOUNT, OTHER):
            for number in range(2):
                assert await reason_of(roles, named(f"role-{number}", account)) is None
            with pytest.raises(UpstreamError) as raised:
                await roles.fetch_role(named("role-2", account), new_trail().iam, soon(5.0))
            assert raised.value.reason is Reason.OVERLOADED
            assert raised.value.retry_after in (10, 11)
        await roles.close()

    run_in_virtual_time(scene())


@pytest.mark.parametrize("hanging", [1, 16], ids=["one-of-sixteen", "all"])
def test_an_account_whose_iam_hangs_holds_nobody_else_up(hanging: int) -> None:
    async def scene() -> None:
        accounts = [f"{number:012}" for number in range(300_000_000_001, 300_000_000_017)]
        iam = Slow(hanging=frozenset(accounts[:hanging]))
        roles = new_roles(iam, accounts=FixedAccounts(frozenset(accounts)), rate=8.0)
        clock = asyncio.get_running_loop().time
        asked = {
            account: [
                asyncio.create_task(reason_of(roles, named(f"role-{number}", account), 10.0)) for number in range(8)
            ]
            for account in accounts
        }
        for account in accounts[hanging:]:
            assert {await task for task in asked[account]} == {None}
        assert hanging == 16 or clock() < 1.5
        for account in accounts[:hanging]:
            assert {await task for task in asked[account]} == {Reason.IAM_UNAVAILABLE}
        assert clock() <= 10.0
        await asyncio.sleep(IAM_CALL_SECONDS)
        await roles.close()
        assert iam.at_once == 0, "nothing is left in flight after its deadline"

    run_in_virtual_time(scene())


def test_throttling_slows_the_account_down() -> None:
    async def scene() -> None:
        iam = Slow(error=UpstreamError(Reason.IAM_THROTTLED, "seen"), seconds=0.0)
        roles = new_roles(iam, rate=1.0)
        assert await reason_of(roles, named("a")) is Reason.IAM_THROTTLED
        iam.error = None
        # The saved allowance is used up.
        assert await reason_of(roles, named("b"), 0.9) is Reason.OVERLOADED
        assert await reason_of(roles, named("b"), 2.1) is None

    run_in_virtual_time(scene())


def test_a_dead_iam_of_one_account_is_not_asked_and_that_of_another_is() -> None:
    async def scene() -> None:
        iam = Slow(error=UpstreamDownError(Reason.IAM_UNAVAILABLE, "seen"))
        roles = new_roles(iam, rate=100.0)
        for number in range(IAM_FAILURES + 3):
            assert await reason_of(roles, named(f"role-{number}")) is Reason.IAM_UNAVAILABLE
        assert len(iam.asked) == IAM_FAILURES
        iam.error = None
        assert await reason_of(roles, named("a", OTHER)) is None
        await asyncio.sleep(2.5)
        assert await reason_of(roles, named("role-6")) is None
        assert len(iam.asked) == IAM_FAILURES + 1 + 3, "each call that was refused went out once"

    run_in_virtual_time(scene())


async def test_a_role_of_an_account_that_left_the_list_is_not_asked_about() -> None:
    """I12: the account list is checked again when the call is about to be sent."""

    class Changing:
        accounts = frozenset({ACCOUNT})

        def current(self) -> frozenset[str]:
            return self.accounts

    accounts, iam = Changing(), Iam(released=asyncio.Event())
    roles = new_roles(iam, accounts=accounts)
    tasks = [asyncio.create_task(reason_of(roles, named(f"role-{number}"))) for number in range(3)]
    await settle()
    accounts.accounts = frozenset()
    assert iam.released is not None
    iam.released.set()
    assert [await task for task in tasks] == [None, None, Reason.ACCOUNT_NOT_AUTHORIZED]
    assert iam.asked == 2


async def test_a_call_goes_on_for_later_decisions_when_nobody_waits_for_it() -> None:
    iam = Iam(released=asyncio.Event())
    roles = new_roles(iam)
    leaving = asyncio.create_task(roles.fetch_role(admitted(), new_trail().iam, soon()))
    await settle()
    leaving.cancel()
    await settle()
    assert iam.released is not None
    iam.released.set()
    await settle()
    trail = new_trail()
    await roles.fetch_role(admitted(), trail.iam, soon())
    assert (iam.asked, trail.iam.cache) == (1, "hit")


# A writer to the shared store who has no key.


@dataclass
class Intruded(SharedStore):
    """A store in which another replica claims every call, and every budget is spent."""

    wait: float = 0.0
    is_claimed: bool = True

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        return not self.is_claimed

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - likewise
        return self.wait


@pytest.mark.parametrize(
    ("wait", "is_claimed"), [(0.0, True), (2.0, False), (1.9, True)], ids=["claims", "budgets", "both"]
)
def test_whoever_writes_to_the_store_keeps_no_new_caller_out(wait: float, *, is_claimed: bool) -> None:
    """ADR 12: each caller is delayed by its patience at most, all of them at the same time."""

    async def scene() -> None:
        time, iam = Time(), Slow()
        store = Intruded(time, wait=wait, is_claimed=is_claimed)
        roles = new_roles(iam, ttl=100.0, timer=time.timer, store=store, rate=40.0)
        clock = asyncio.get_running_loop().time
        began = clock()
        reasons = await asyncio.gather(*(reason_of(roles, named(f"new-{number}")) for number in range(40)))
        assert set(reasons) == {None}
        assert len(iam.asked) == 40
        # Forty calls at half of the rate, and twice the patience of a call.
        assert clock() - began < 2.0 + 3.0

    run_in_virtual_time(scene())


async def test_a_role_that_is_read_ahead_costs_the_call_that_its_decision_would_have_made() -> None:
    iam = Iam(released=asyncio.Event())
    roles = new_roles(iam)
    for session in ("task-1", "task-2"):
        roles.read_ahead(replace(named("role-0").principal, session=session))
    decision = asyncio.create_task(reason_of(roles, named("role-0")))
    await settle()
    assert iam.released is not None
    iam.released.set()
    assert await decision is None
    roles.read_ahead(named("role-0").principal)
    await settle()
    assert iam.asked == 1
    await roles.close()


@pytest.mark.parametrize(
    "error",
    [AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")],
    ids=lambda error: error.reason,
)
async def test_a_role_that_iam_denied_or_did_not_find_is_not_read_ahead_again(error: AuthError) -> None:
    iam = Iam(error=error)
    roles = new_roles(iam)
    for _ in range(3):
        roles.read_ahead(named("role-0").principal)
        await settle()
    assert iam.asked == 1
    assert await reason_of(roles, named("role-0")) is error.reason
    await roles.close()


async def test_no_role_of_an_account_that_is_not_listed_is_read_ahead() -> None:
    """I12: STS confirms roles of every account."""
    iam = Iam()
    roles = new_roles(iam)
    roles.read_ahead(named("role-0", account="222222222222").principal)
    await settle()
    assert iam.asked == 0
    await roles.close()


def test_roles_that_are_read_ahead_lose_their_places_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iam_calls, "IAM_QUEUED", 10)

    async def scene() -> None:
        iam = Slow()
        roles = new_roles(iam, rate=1.0)
        for number in range(7):
            roles.read_ahead(named(f"ahead-{number}").principal)
        last = [asyncio.create_task(reason_of(roles, named(f"last-{number}"), 100.0)) for number in range(4)]
        await settle()
        other = [asyncio.create_task(reason_of(roles, named(f"role-{number}", OTHER), 100.0)) for number in range(7)]
        assert [await task for task in (*last, *other)] == [None] * 11
        await asyncio.sleep(100.0)
        assert sum(name.startswith("ahead") for name in iam.asked) == 3, "two at once, and one that kept its place"
        await end([], roles)

    run_in_virtual_time(scene())
