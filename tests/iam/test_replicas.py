"""What replicas share about roles."""

import pytest

from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.reasons import Reason
from app.iam import role_cache
from app.iam.calls import Roles
from app.iam.role_cache import RoleKey
from app.telemetry.metrics import Metrics
from tests.support.admitted import ROLE_TTL, admitted
from tests.support.ports import Iam, SharedStore, Time, new_trail, soon
from tests.support.principals import PRINCIPAL
from tests.support.roles import new_roles
from tests.support.upstreams import settle


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def replica(iam: Iam, time: Time, store: SharedStore, max_stale: float = 3600) -> Roles:
    return new_roles(iam, Metrics(), ttl=ROLE_TTL, max_stale=max_stale, timer=time.timer, store=store)


async def test_what_one_replica_read_another_knows_for_the_rest_of_its_time(time: Time) -> None:
    """I17: the life counts from IAM's answer, not from the moment when a replica read the record from the store."""
    store, iam = SharedStore(time), Iam()
    await replica(Iam(), time, store).fetch_role(admitted(), new_trail().iam, soon())
    other = replica(iam, time, store)
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER - 1
    trail = new_trail()
    assert (await other.fetch_role(admitted(), trail.iam, soon())).tags == (("k", "1"),)
    assert (trail.iam.cache, trail.iam.request_id, iam.asked) == ("shared", "iam-1", 0)
    time.passed = ROLE_TTL
    trail = new_trail()
    await other.fetch_role(admitted(), trail.iam, soon())
    assert (trail.iam.cache, iam.asked) == ("miss", 1)


async def test_a_refresh_by_one_replica_serves_the_others(time: Time) -> None:
    store, iams = SharedStore(time), [Iam(), Iam()]
    roles = [replica(iam, time, store) for iam in iams]
    for each in roles:
        await each.fetch_role(admitted(), new_trail().iam, soon())
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER
    store.claims.clear()  # they end after 10 s
    for each in roles:
        await each.fetch_role(admitted(), new_trail().iam, soon())
        await settle()
    assert [iam.asked for iam in iams] == [2, 0]


async def test_an_older_record_serves_an_outage_and_no_longer_than_its_bound(time: Time) -> None:
    store, iam = SharedStore(time), Iam(error=UpstreamError(Reason.IAM_UNAVAILABLE, "seen"))
    await replica(Iam(), time, store).fetch_role(admitted(), new_trail().iam, soon())
    time.passed = ROLE_TTL + 1
    other, trail = replica(iam, time, store), new_trail()
    await other.fetch_role(admitted(), trail.iam, soon())
    assert trail.iam.cache == "stale"
    time.passed = 3600
    with pytest.raises(UpstreamError):
        await other.fetch_role(admitted(), new_trail().iam, soon())


@pytest.mark.parametrize(
    "error",
    [AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")],
    ids=lambda error: error.reason,
)
async def test_what_iam_takes_back_is_taken_out_of_the_store(time: Time, error: AuthError) -> None:
    store, iam = SharedStore(time), Iam()
    roles = replica(iam, time, store)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.error = ROLE_TTL, error
    with pytest.raises(AuthError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert store.records == {}


async def test_what_iam_has_taken_back_is_not_taken_from_a_replica_that_stores_it_late(time: Time) -> None:
    """The record of a replica with a slow connection to the store can arrive after the deletion."""
    store, iam = SharedStore(time), Iam(error=AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"))
    roles = replica(iam, time, store)
    await replica(Iam(), time, store).fetch_role(admitted(), new_trail().iam, soon())
    late = dict(store.records)
    store.records.clear()
    for passed in (1.0, 1.0 + role_cache.NOT_FOUND_SECONDS):
        time.passed = passed
        with pytest.raises(AuthorizationError):
            await roles.fetch_role(admitted(), new_trail().iam, soon())
        store.records.update(late)
    assert iam.asked == 2


async def test_a_record_of_another_role_is_not_believed(time: Time) -> None:
    """I13: even if the store returns a record under this key, it must be a record of this role."""
    store, iam = SharedStore(time), Iam()
    await replica(Iam(changes={"role_id": "AROAEXAMPLEEXAMPLE002"}), time, store).fetch_role(
        admitted(), new_trail().iam, soon()
    )
    assert store.records == {}
    await replica(Iam(), time, store).fetch_role(admitted(role_id="AROAEXAMPLEEXAMPLE002"), new_trail().iam, soon())
    [(_, written)] = store.records.items()
    key = RoleKey(PRINCIPAL.partition, PRINCIPAL.account, PRINCIPAL.role_id, PRINCIPAL.role)
    store.records["role", key.digest()] = written
    trail = new_trail()
    record = await replica(iam, time, store).fetch_role(admitted(), trail.iam, soon())
    assert (record.role_id, trail.iam.cache, iam.asked) == (PRINCIPAL.role_id, "miss", 1)
