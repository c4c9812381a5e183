"""Replicas that are about to ask AWS the same: one of them does."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from app.adapters.iam_guard import GuardedRoles, IamLanes
from app.adapters.identity_cache import CachingIdentities
from app.adapters.replicas import AnsweredElsewhereError, Question
from app.adapters.sts_guard import GuardedIdentities

from app.adapters import replicas
from app.adapters.accounts import FixedAccounts
from app.adapters.known_keys import KnownKeys
from app.adapters.role_cache import CachingRoles
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.errors import AuthenticationError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.sealing import Kind, Opened
from app.trail import SharedWait
from tests.support.ports import Iam, SharedStore, Sts, Time, new_trail
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW, Recipe, judge
from tests.support.upstreams import settle

KEY = b"key"
LISTED = FixedAccounts(frozenset({"111122223333"}))


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(Time())


def question(store: SharedStore, kind: Kind = "identity") -> Question[bytes]:
    return Question(store, kind, KEY, lambda opened: opened.payload or None)


async def test_an_answer_that_another_left_ends_the_question(store: SharedStore) -> None:
    store.put("identity", KEY, b"answer", 60)
    for ask in (question(store).look, question(store).before_turn, question(store).before_queue):
        with pytest.raises(AnsweredElsewhereError) as raised:
            await ask()
        assert raised.value.answer == b"answer"


async def test_a_record_that_does_not_do_is_no_answer(store: SharedStore) -> None:
    store.put("identity", KEY, b"", 60)
    await question(store).look()


async def test_a_store_that_was_just_looked_at_is_not_asked_again_for_a_turn(store: SharedStore) -> None:
    asking = question(store)
    await asking.look()
    store.put("identity", KEY, b"answer", 60)
    await asking.before_turn()


async def test_one_claims_and_the_other_waits_for_its_answer(store: SharedStore) -> None:
    first, second = question(store), question(store)
    await first.before_queue()
    waiting = asyncio.create_task(second.before_queue())
    await settle()
    assert not waiting.done()
    store.put("identity", KEY, b"answer", 60)
    first.end()
    with pytest.raises(AnsweredElsewhereError):
        await waiting
    second.end()
    assert store.claims == set()


async def test_where_the_first_one_fails_the_other_asks(store: SharedStore) -> None:
    first, second = question(store), question(store)
    await first.before_queue()
    waiting = asyncio.create_task(second.before_queue())
    await settle()
    first.end()
    await waiting
    assert len(store.claims) == 1
    second.end()
    assert store.claims == set()


@pytest.mark.parametrize(("kind", "bound"), [("identity", "PATIENCE_SECONDS"), ("role", "ROLE_PATIENCE_SECONDS")])
async def test_a_claim_that_nobody_keeps_is_waited_for_no_longer_than_its_moment(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch, kind: Kind, bound: str
) -> None:
    """A replica that died with it, or somebody else who can write to the store."""
    for name in ("PATIENCE_SECONDS", "ROLE_PATIENCE_SECONDS"):
        monkeypatch.setattr(replicas, name, 0.04 if name == bound else 1e6)
    await store.claim(kind, KEY, 60)
    asking = question(store, kind)
    await asking.before_queue()
    asking.end()
    assert len(store.claims) == 1, "it takes back none that is not its own"


@dataclass
class FarAway(SharedStore):
    """A store whose every answer takes 30 ms, and in which somebody claims every question."""

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        await asyncio.sleep(0.03)
        return await super().get(kind, key)

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        await asyncio.sleep(0.03)
        return False


async def test_a_decision_waits_for_other_replicas_once_however_many_questions_it_has() -> None:
    clock = asyncio.get_running_loop().time
    shared_wait, store = SharedWait(left=0.2), FarAway(Time())
    began = clock()
    for kind in ("identity", "role", "role"):
        await Question(store, kind, KEY, lambda opened: opened.payload, shared_wait).before_queue()
    assert clock() - began < 1.0
    assert shared_wait.left <= 0.1


# Two replicas, as they are put together.


def forwardable() -> ForwardableRequest:
    return require_fresh(judge(Recipe(form=CredentialForm.NATIVE).credential()), NOW)


def replica(sts: Sts, store: SharedStore) -> CachingIdentities:
    guarded = GuardedIdentities(sts, LISTED, rate=1e6)
    return CachingIdentities(guarded, LISTED, store.time.clock, store.time.timer, store=store)


async def test_one_credential_at_two_replicas_at_the_same_time_is_one_call(store: SharedStore) -> None:
    sides = [Sts(released=asyncio.Event()), Sts(released=asyncio.Event())]
    trails = [new_trail(), new_trail()]
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(replica(sts, store).identify(forwardable(), trail))
        for sts, trail in zip(sides, trails, strict=True)
    ]
    await settle()
    for sts in sides:
        assert sts.released is not None
        sts.released.set()
    one, other = await asyncio.gather(*tasks)
    assert one == other
    assert sorted(sts.asked for sts in sides) == [0, 1]
    assert sorted(trail.sts.cache for trail in trails) == ["miss", "shared"]


@pytest.mark.parametrize(
    "error",
    [AuthenticationError(Reason.STS_REJECTED, "seen"), UpstreamError(Reason.STS_UNAVAILABLE, "seen")],
    ids=["denial", "outage"],
)
async def test_a_failure_is_each_replicas_own_and_keeps_no_claim(store: SharedStore, error: Exception) -> None:
    """I18."""
    first = Sts(error=error)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        await replica(first, store).identify(forwardable(), new_trail())
    assert (store.claims, store.records) == (set(), {})
    second = Sts()
    await replica(second, store).identify(forwardable(), new_trail())
    assert (first.asked, second.asked) == (1, 1)


async def test_a_key_that_sts_has_vouched_for_at_one_replica_is_known_at_the_other(store: SharedStore) -> None:
    """Its next credential must not wait among those of key ids that are made up (I20)."""
    await replica(Sts(), store).identify(forwardable(), new_trail())
    keys, sts = KnownKeys(LISTED, rate=1e6), Sts()
    guarded = GuardedIdentities(sts, LISTED, rate=1e6, keys=keys)
    other = CachingIdentities(guarded, LISTED, store.time.clock, store.time.timer, store=store, waiting=keys)
    trail = new_trail()
    identity = await other.identify(forwardable(), trail)
    assert (sts.asked, trail.sts.cache) == (0, "shared")
    assert keys.account_of(forwardable().request.access_key_id) == identity.account


# Whatever else the machine does meanwhile: counted in looks it would be 2.8 and 8.9 s.
async def test_the_wait_for_a_replica_that_asks_sts_is_bounded_in_seconds() -> None:
    """It was counted in looks, and a store that is far away made each of them longer."""
    clock = asyncio.get_running_loop().time
    began = clock()
    await replica(Sts(), FarAway(Time())).identify(forwardable(), new_trail())
    assert clock() - began < replicas.PATIENCE_SECONDS + 1.0


async def test_the_wait_for_a_replica_that_asks_iam_is_bounded_in_seconds() -> None:
    store, iam = FarAway(Time()), Iam()
    guarded = GuardedRoles(iam, IamLanes(1e6))
    roles = CachingRoles(guarded, Metrics(), ttl=300.0, max_stale=0.0, timer=store.time.timer, store=store)
    clock = asyncio.get_running_loop().time
    began = clock()
    await roles.fetch_role(AdmittedPrincipal(PRINCIPAL), new_trail())
    assert clock() - began < replicas.ROLE_PATIENCE_SECONDS + 2.0
