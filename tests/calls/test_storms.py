"""Storms after a restart, in virtual time: every credential costs one call to STS, and every role one call to IAM.

Most storms are a fifth of the real size: credentials, roles, connections, rates and waiting places all shrink together, so
every wait is as long as at full size. One storm, the hanging accounts and the flood have the full size and the real limits.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from app.calls.options import CallOptions
from app.calls.waiting_places import MAX_WAITING, MAX_WAITING_NEW, WaitingPlaces
from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthError, UpstreamDownError, UpstreamError
from app.core.forwarding import ForwardableRequest
from app.core.known_credential import NewCredential, RefusedCredential
from app.core.principal import AdmittedPrincipal
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.decision.record import DecisionRecord, UpstreamCall
from app.emulator.identities import new_access_key_id
from app.iam.calls import Roles
from app.iam.role_cache import RoleTable
from app.settings.accounts import FixedAccounts
from app.sts.calls import StsIntroductions
from app.sts.known_credentials import KnownCredentials
from app.sts.known_keys import KnownKeys
from app.telemetry.metrics import Metrics
from tests.support.ports import Time
from tests.support.signing import NOW, Recipe, judge
from tests.support.virtual_time import run_in_virtual_time

STS_RATE, IAM_RATE = 500.0, 8.0
SCALE = 5
STS_SECONDS, IAM_SECONDS = 0.02, 0.04
DECISION_SECONDS = 10.0
REQUEST = judge(Recipe(form=CredentialForm.NATIVE).credential())


def accounts_of(count: int) -> list[str]:
    return [f"{number:012}" for number in range(300_000_000_001, 300_000_000_001 + count)]


@dataclass
class Aws:
    """STS and IAM with their latencies. They count calls, and some of them hang."""

    sts: Counter[str] = field(default_factory=Counter)
    iam: Counter[str] = field(default_factory=Counter)
    hanging: frozenset[str] = frozenset()
    """Accounts whose IAM hangs."""
    is_sts_hanging: bool = False
    in_flight: int = 0

    async def _answer(self, seconds: float, deadline: float, *, hangs: bool, unavailable: Reason) -> None:
        self.in_flight += 1
        try:
            if hangs:
                await asyncio.sleep(deadline - asyncio.get_running_loop().time())
                raise UpstreamDownError(unavailable, "no answer")
            await asyncio.sleep(seconds)
        finally:
            self.in_flight -= 1

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:  # noqa: ARG002 - the port's
        account, role, session = request.request.target.split("/")
        self.sts[session] += 1
        await self._answer(STS_SECONDS, deadline, hangs=self.is_sts_hanging, unavailable=Reason.STS_UNAVAILABLE)
        arn = parse_arn(f"arn:aws:sts::{account}:assumed-role/{role}/{session}")
        return CallerIdentity(arn=arn, user_id=f"AROA{role.replace('-', '').upper():X<17}:{session}", request_id="r")

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:  # noqa: ARG002 - the port's
        principal = admitted.principal
        self.iam[f"{principal.account}/{principal.role}"] += 1
        hangs = principal.account in self.hanging
        await self._answer(IAM_SECONDS, deadline, hangs=hangs, unavailable=Reason.IAM_UNAVAILABLE)
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        return RoleRecord(arn=arn, role_id=principal.role_id, name=principal.role, tags=(), request_id="r")


class Service:
    """The calls to AWS with the service's own wiring, without HTTP."""

    def __init__(self, aws: Aws, accounts: list[str], scale: int = SCALE) -> None:
        listed = FixedAccounts(frozenset(accounts))
        clock = Time()
        self.known = KnownCredentials(clock.clock, clock.timer)
        places = WaitingPlaces(MAX_WAITING // scale, MAX_WAITING_NEW // scale)
        options = CallOptions(rate=IAM_RATE / scale, places=places, timer=clock.timer)
        table = RoleTable(Metrics(), ttl=300.0, max_stale=0.0, timer=clock.timer)
        self.roles = Roles(cast("Any", aws), table, listed, options)
        keys = KnownKeys(listed, clock.timer)
        sts_options = replace(options, rate=STS_RATE / scale)
        self.introductions = StsIntroductions(aws, self.known, keys, listed, clock.clock, sts_options, self.roles)

    async def decide(self, sidecar: "Sidecar") -> None:
        clock = asyncio.get_running_loop().time
        trail, deadline = DecisionRecord(request_id="r"), clock() + DECISION_SECONDS
        remembered = self.known.recall(sidecar.key)
        assert not isinstance(remembered, RefusedCredential)
        credential = NewCredential(sidecar.request.access_key_id, sidecar.key)
        known = remembered or await self.introductions.introduce(credential, sidecar.judged, trail, deadline)
        await self.roles.fetch_role(AdmittedPrincipal(known.principal), trail.iam, deadline)

    async def close(self) -> None:
        await self.introductions.close()
        await self.roles.close()


class Sidecar:
    """One credential."""

    def __init__(self, number: int, account: str, role: str) -> None:
        self.key = number.to_bytes(8, "big")
        self.account = account
        key_id = new_access_key_id("ASIA", account)
        self.request = replace(REQUEST, access_key_id=key_id, target=f"{account}/{role}/task-{number}")

    def judged(self) -> ForwardableRequest:
        return require_fresh(self.request, NOW)


@dataclass
class Result:
    """The result of a storm.

    Attributes:
        seconds: the time until every presentation was admitted.
        reasons: the number of refusals by reason.
        refused_at_once: the number of refusals that took no time.
        slowest_refusal: the seconds that the slowest refusal took.
    """

    seconds: float = 0.0
    reasons: Counter[Reason] = field(default_factory=Counter)
    refused_at_once: int = 0
    slowest_refusal: float = 0.0


async def storm(
    service: Service,
    sidecars: list[Sidecar],
    *,
    connections: int,
    presentations: int = 1,
    gives_up: float | None = None,
    every: float | None = None,
) -> Result:
    """Present every credential over so many connections until each presentation is admitted.

    Args:
        service: the service under test.
        sidecars: the callers; each presents its credential.
        connections: the number of concurrent calls.
        presentations: how often each sidecar presents its credential, at the same time.
        gives_up: seconds after which a caller closes its connection; it presents the credential again a second later.
        every: seconds after which a refused caller retries, whatever ``Retry-After`` says.
    """
    result, clock = Result(), asyncio.get_running_loop().time
    free = asyncio.Semaphore(connections)

    async def present(sidecar: Sidecar) -> None:
        while True:
            pause = 1.0
            async with free:
                began = clock()
                try:
                    async with asyncio.timeout(gives_up):
                        await service.decide(sidecar)
                        return
                except TimeoutError:
                    result.reasons["gave up"] += 1  # type: ignore[index]
                except UpstreamError as error:
                    result.reasons[error.reason] += 1
                    result.refused_at_once += clock() == began
                    result.slowest_refusal = max(result.slowest_refusal, clock() - began)
                    pause = every or error.retry_after or 1.0
            await asyncio.sleep(pause)

    order = [sidecar for sidecar in sidecars for _ in range(presentations)]
    random.Random(1).shuffle(order)  # noqa: S311 - no secret, and the same order each time
    await asyncio.gather(*(present(sidecar) for sidecar in order))
    result.seconds = clock()
    return result


def sidecars_of(count: int, roles: int, accounts: list[str]) -> list[Sidecar]:
    return [
        Sidecar(number, accounts[(number % roles) % len(accounts)], f"role-{number % roles}") for number in range(count)
    ]


def bound_of(count: int, roles: int, accounts: int, scale: int = SCALE) -> float:
    return scale * max(count / accounts / STS_RATE, roles / accounts / IAM_RATE)


def assert_each_was_asked_about_once(aws: Aws, sidecars: int, roles: int) -> None:
    assert (len(aws.sts), sum(aws.sts.values())) == (sidecars, sidecars)
    assert (len(aws.iam), sum(aws.iam.values())) == (roles, roles)


@pytest.mark.parametrize(
    ("sidecars", "connections", "count"), [(800, 200, 1), (800, 800, 1), (2_000, 1_600, 1), (800, 1_600, 3)]
)
def test_a_storm_costs_one_call_for_each_credential_and_role_and_takes_its_bound(
    sidecars: int, connections: int, count: int
) -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(count)
        service = Service(aws, accounts)
        result = await storm(service, sidecars_of(sidecars, 40, accounts), connections=connections, presentations=3)
        assert_each_was_asked_about_once(aws, sidecars, 40)
        assert set(result.reasons) <= {Reason.OVERLOADED}
        assert result.seconds <= 1.25 * bound_of(sidecars, 40, count)
        assert result.slowest_refusal <= DECISION_SECONDS
        await service.close()

    run_in_virtual_time(scene())


def test_a_storm_of_thirty_thousand_is_held_as_a_whole() -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(5)
        service = Service(aws, accounts, scale=1)
        result = await storm(service, sidecars_of(30_000, 1_000, accounts), connections=8_000)
        assert_each_was_asked_about_once(aws, 30_000, 1_000)
        assert set(result.reasons) == {Reason.OVERLOADED}
        assert result.seconds <= 1.25 * bound_of(30_000, 1_000, 5, scale=1)
        assert result.slowest_refusal <= DECISION_SECONDS
        await service.close()

    run_in_virtual_time(scene())


def test_callers_that_give_up_cost_no_second_call() -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(1)
        service = Service(aws, accounts)
        result = await storm(service, sidecars_of(1_000, 40, accounts), connections=800, gives_up=5.0)
        assert_each_was_asked_about_once(aws, 1_000, 40)
        assert result.seconds <= 1.5 * bound_of(1_000, 40, 1)
        assert result.slowest_refusal <= DECISION_SECONDS
        await service.close()

    run_in_virtual_time(scene())


def test_callers_that_ignore_retry_after_cost_no_second_call() -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(1)
        service = Service(aws, accounts)
        result = await storm(service, sidecars_of(1_000, 40, accounts), connections=800, every=1.0)
        assert_each_was_asked_about_once(aws, 1_000, 40)
        assert set(result.reasons) == {Reason.OVERLOADED}
        assert result.seconds <= 1.5 * bound_of(1_000, 40, 1)
        assert result.slowest_refusal <= DECISION_SECONDS
        await service.close()

    run_in_virtual_time(scene())


def test_callers_that_come_again_late_find_every_role() -> None:
    """An Envoy ignores ``Retry-After``, and its backoff can be half a minute."""

    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(1)
        service = Service(aws, accounts)
        callers = asyncio.create_task(storm(service, sidecars_of(1_000, 40, accounts), connections=800, every=30.0))
        await asyncio.sleep(1.1 * bound_of(1_000, 40, 1))
        assert_each_was_asked_about_once(aws, 1_000, 40)
        result = await callers
        assert result.seconds <= 30.0 + DECISION_SECONDS, "each is refused once"
        await service.close()

    run_in_virtual_time(scene())


def test_a_new_task_of_a_known_role_is_admitted_beside_hundreds_of_new_roles() -> None:
    async def scene() -> None:
        aws, [account], clock = Aws(), accounts_of(1), asyncio.get_running_loop().time
        service = Service(aws, [account])
        await service.decide(Sidecar(0, account, "known"))
        others = [
            asyncio.create_task(refusal(service, Sidecar(number, account, f"new-{number}"))) for number in range(1, 301)
        ]
        await asyncio.sleep(5.0)
        began = clock()
        await service.decide(Sidecar(2_000, account, "known"))
        assert clock() - began <= 0.1

        await asyncio.gather(*others)
        await service.close()

    run_in_virtual_time(scene())


def test_who_is_refused_is_refused_at_once_and_finds_the_answer_when_told_to_come() -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(1)
        service = Service(aws, accounts)
        result = await storm(service, sidecars_of(2_000, 4, accounts), connections=2_000)
        refused = result.reasons[Reason.OVERLOADED]
        assert result.refused_at_once > 1_000
        assert result.refused_at_once >= 0.9 * refused
        assert refused <= 1.3 * 2_000, "hardly anybody comes too early"
        await service.close()

    run_in_virtual_time(scene())


@pytest.mark.parametrize("hanging", [1, 16], ids=["one-of-sixteen", "all"])
def test_accounts_whose_iam_hangs_slow_no_other_account(hanging: int) -> None:
    async def scene() -> None:
        accounts = accounts_of(16)
        aws = Aws(hanging=frozenset(accounts[:hanging]))
        service = Service(aws, accounts, scale=1)
        sidecars = sidecars_of(1_600, 160, accounts)
        well = [sidecar for sidecar in sidecars if sidecar.account not in aws.hanging]
        ill = [sidecar for sidecar in sidecars if sidecar.account in aws.hanging]
        refused = [asyncio.create_task(refusal(service, sidecar)) for sidecar in ill]
        result = await storm(service, well, connections=4_000)
        assert result.seconds <= 1.25 * max(bound_of(1_600, 160, 16, scale=1), 0.4)
        assert set(result.reasons) <= {Reason.OVERLOADED}
        assert {await task for task in refused} == {Reason.IAM_UNAVAILABLE}
        assert asyncio.get_running_loop().time() <= DECISION_SECONDS + 0.1
        await service.close()
        assert aws.in_flight == 0

    run_in_virtual_time(scene())


async def refusal(service: Service, sidecar: Sidecar) -> Reason | None:
    try:
        await service.decide(sidecar)
    except AuthError as error:
        return error.reason
    return None


def test_an_sts_that_hangs_is_named_as_the_cause_and_calls_go_on_when_it_is_back() -> None:
    async def scene() -> None:
        aws, accounts = Aws(is_sts_hanging=True), accounts_of(1)
        service = Service(aws, accounts)
        sidecars = sidecars_of(200, 2, accounts)
        reasons = await asyncio.gather(*(refusal(service, sidecar) for sidecar in sidecars))
        assert set(reasons) == {Reason.STS_UNAVAILABLE}
        assert sum(aws.sts.values()) <= 4
        aws.is_sts_hanging = False
        result = await storm(service, sidecars, connections=200, every=1.0)
        assert set(result.reasons) <= {Reason.STS_UNAVAILABLE, Reason.OVERLOADED}
        assert result.seconds <= DECISION_SECONDS + 10.0 + 1.25 * bound_of(200, 2, 1)
        await service.close()

    run_in_virtual_time(scene())


def test_the_end_of_the_service_ends_every_call_and_tells_who_waits() -> None:
    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(1)
        service = Service(aws, accounts)
        waiting = [asyncio.create_task(refusal(service, sidecar)) for sidecar in sidecars_of(600, 40, accounts)]
        await asyncio.sleep(1.0)
        assert aws.in_flight > 0
        await service.close()
        reasons = Counter([await task for task in waiting])
        assert reasons.keys() == {None, Reason.OVERLOADED}
        assert aws.in_flight == 0
        asked = sum(aws.sts.values())
        await asyncio.sleep(60.0)
        assert sum(aws.sts.values()) == asked

    run_in_virtual_time(scene())


def test_a_flood_of_invented_keys_slows_no_other_account_and_no_renewal() -> None:
    """I20: 1,000 per second that name one account, for 20 s. They fill its queue; then they are refused."""

    async def scene() -> None:
        aws, accounts = Aws(), accounts_of(2)
        attacked, other = accounts
        service = Service(aws, accounts, scale=1)
        clock = asyncio.get_running_loop().time
        renewing = Sidecar(1_000_000, attacked, "role-0")
        for sidecar in (renewing, Sidecar(1_000_001, other, "role-1")):
            await service.decide(sidecar)
        slowest: Counter[str] = Counter()
        failed: list[Reason | None] = []

        async def valid(kind: str, sidecar: Sidecar) -> None:
            began = clock()
            reason = await refusal(service, sidecar)
            slowest[kind] = max(slowest[kind], int(1_000 * (clock() - began)))
            if reason is not None:
                failed.append(reason)

        tasks: list[asyncio.Task[object]] = []
        for number in range(20_000):
            if number % 200 == 0:
                renewed = Sidecar(2_000_000 + number, attacked, "role-0")
                renewed.request = replace(renewed.request, access_key_id=renewing.request.access_key_id)
                tasks.append(asyncio.create_task(valid("renewed", renewed)))
                tasks.append(asyncio.create_task(valid("new", Sidecar(3_000_000 + number, other, "role-1"))))
            attack = asyncio.create_task(refusal(service, Sidecar(number, attacked, "role-0")))
            if number % 200 == 199:
                await asyncio.sleep(0.2)
            del attack
        await asyncio.gather(*tasks)
        assert failed == []
        assert slowest["new"] <= 60
        assert slowest["renewed"] <= 60
        await service.close()

    run_in_virtual_time(scene())
