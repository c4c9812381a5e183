"""Which answers of IAM are cached, for how long, and for whom."""

import asyncio

import pytest

from app.calls.waiting_places import WaitingPlaces
from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.reasons import Reason
from app.core.role_tags import read_grant
from app.iam import role_cache
from app.iam.role_cache import TableSizes
from app.telemetry.metrics import Metrics
from tests.support.admitted import ROLE_TTL, admitted
from tests.support.exposition import read_samples, value
from tests.support.policies import POLICY
from tests.support.ports import Iam, Time, new_trail, soon
from tests.support.roles import new_roles
from tests.support.upstreams import settle


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


async def test_fetch_role_asks_once_within_the_ttl(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first, second = new_trail(), new_trail()
    record = await roles.fetch_role(admitted(), first.iam, soon())
    time.passed = ROLE_TTL - 0.001
    assert await roles.fetch_role(admitted(), second.iam, soon()) is record
    assert (first.iam.cache, second.iam.cache) == ("miss", "hit")
    assert second.iam.request_id == record.request_id == "iam-1"
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="role") == 1


async def test_a_hit_does_not_lengthen_a_roles_life(time: Time, metrics: Metrics) -> None:
    """The TTL bounds the delay of a tag change, so it must also apply to a role that is in permanent use."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for time.passed in (0.0, ROLE_TTL / 2, ROLE_TTL - 1):
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert iam.asked == 1
    time.passed = ROLE_TTL
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"partition": "aws-cn"}, id="partition"),
        pytest.param({"account": "444455556666"}, id="account"),
        pytest.param({"role_id": "AROAEXAMPLEEXAMPLE002"}, id="role-id"),
        pytest.param({"role": "another"}, id="name"),
    ],
)
async def test_no_two_roles_share_a_record(time: Time, metrics: Metrics, changes: dict[str, str]) -> None:
    """I16; a role that was deleted and created again has another id."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first = await roles.fetch_role(admitted(), new_trail().iam, soon())
    second = await roles.fetch_role(admitted(**changes), new_trail().iam, soon())
    assert iam.asked == 2
    assert first is not second


async def test_sessions_of_one_role_share_its_record(time: Time, metrics: Metrics) -> None:
    """The caller chooses the name of a session, so it must not be part of the cache key."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for session in ("task-1", "task-2"):
        await roles.fetch_role(admitted(session=session), new_trail().iam, soon())
    assert iam.asked == 1


async def test_an_access_denied_is_remembered_for_30_seconds_as_undecided(time: Time, metrics: Metrics) -> None:
    """Contract, section 4: a role outside the policy's path costs one call, not one for each proxy and reconnect."""
    iam = Iam(error=UpstreamError(Reason.IAM_ACCESS_DENIED, "GetRole answered AccessDenied"))
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for time.passed in (0.0, 1.0, 29.999):
        trail = new_trail()
        with pytest.raises(UpstreamError) as raised:
            await roles.fetch_role(admitted(), trail.iam, soon())
        assert raised.value.reason is Reason.IAM_ACCESS_DENIED
        assert trail.iam.cache == ("miss" if time.passed == 0 else "hit")
    assert iam.asked == 1
    time.passed, iam.error = 30.0, None
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"


async def test_an_access_denied_of_one_role_is_none_of_another(time: Time, metrics: Metrics) -> None:
    """I18: one principal cannot cause a denial of another one."""
    iam = Iam(errors={"unreadable": UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")})
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(role="unreadable"), new_trail().iam, soon())
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).name == "demo-app"


async def test_a_known_role_stays_known_while_iam_denies(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    record = await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")
    assert await roles.fetch_role(admitted(), new_trail().iam, soon()) is record


async def test_no_record_is_used_after_its_end_when_iam_is_away(time: Time, metrics: Metrics) -> None:
    """I17: not even while AWS does not answer."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.error = ROLE_TTL, UpstreamError(Reason.IAM_UNAVAILABLE, "seen")
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())


AWAY = [UpstreamError(reason, "seen") for reason in (Reason.IAM_UNAVAILABLE, Reason.IAM_THROTTLED, Reason.OVERLOADED)]


@pytest.mark.parametrize("error", AWAY, ids=[error.reason for error in AWAY])
async def test_a_known_role_is_believed_while_iam_is_away_up_to_the_bound(
    time: Time, metrics: Metrics, error: UpstreamError
) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    record = await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = error
    for seconds in (ROLE_TTL, 3599.9):
        time.passed = seconds
        trail = new_trail()
        assert await roles.fetch_role(admitted(), trail.iam, soon()) is record
        assert trail.iam.cache == "stale"
    assert iam.asked == 3
    time.passed = 3600
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())


async def test_a_stale_role_is_fresh_again_when_iam_is_back(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed = ROLE_TTL
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).tags == (("k", "2"),)
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).tags == (("k", "2"),)


DECIDED = [AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")]


@pytest.mark.parametrize("error", DECIDED, ids=[error.reason for error in DECIDED])
async def test_what_iam_says_of_a_role_ends_a_stale_one_at_once(time: Time, metrics: Metrics, error: AuthError) -> None:
    """For a deleted role outside the policy's path AWS answers AccessDenied. An outage must not hide this answer."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.error = ROLE_TTL, error
    with pytest.raises(AuthError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.error = ROLE_TTL + 31, UpstreamError(Reason.IAM_UNAVAILABLE, "seen")
    with pytest.raises(UpstreamError) as raised:
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert raised.value.reason is Reason.IAM_UNAVAILABLE


PASSING = [
    UpstreamError(Reason.IAM_THROTTLED, "seen"),
    UpstreamError(Reason.IAM_UNAVAILABLE, "seen"),
]


@pytest.mark.parametrize("error", PASSING, ids=[error.reason for error in PASSING])
async def test_any_other_error_of_iam_is_never_remembered(time: Time, metrics: Metrics, error: AuthError) -> None:
    iam = Iam(error=error)
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            await roles.fetch_role(admitted(), new_trail().iam, soon())
        assert raised.value.reason is error.reason
    assert iam.asked == 2


NOT_FOUND = AuthorizationError(Reason.ROLE_NOT_FOUND, "GetRole answered NoSuchEntity")


async def test_a_role_that_was_not_found_is_not_asked_for_again_for_ten_seconds(time: Time, metrics: Metrics) -> None:
    """Sessions outlive their role by hours, and each retry of their proxies would cost one of a few calls to IAM."""
    iam = Iam(error=NOT_FOUND)
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for time.passed in (0.0, 1.0, 9.999):
        trail = new_trail()
        with pytest.raises(AuthorizationError) as raised:
            await roles.fetch_role(admitted(), trail.iam, soon())
        assert raised.value.reason is Reason.ROLE_NOT_FOUND
        assert trail.iam.cache == ("miss" if time.passed == 0 else "hit")
    assert iam.asked == 1
    # The role was created a moment ago, and IAM does not return it yet.
    time.passed, iam.error = 10.0, None
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"
    time.passed = 11.0
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"


async def test_a_role_that_was_not_found_is_none_of_another_id(time: Time, metrics: Metrics) -> None:
    """I18: the sessions of a deleted role cannot deny a new role of the same name."""
    iam = Iam(error=NOT_FOUND)
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    with pytest.raises(AuthorizationError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = None
    await roles.fetch_role(admitted(role_id="AROAEXAMPLEEXAMPLE002"), new_trail().iam, soon())
    assert iam.asked == 2


async def test_roles_that_were_not_found_are_bounded_and_push_no_role_out(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, sizes=TableSizes(known=1, missing=3))
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = NOT_FOUND
    for number in (*range(10), 0):
        with pytest.raises(AuthorizationError):
            await roles.fetch_role(admitted(role=f"role-{number}"), new_trail().iam, soon())
    assert iam.asked == 12  # the first entry was evicted by the later ones
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert iam.asked == 12


async def test_the_roles_of_one_account_evict_none_of_another(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, sizes=TableSizes(known=4))
    await roles.fetch_role(admitted(account="444455556666"), new_trail().iam, soon())
    for number in range(10):
        await roles.fetch_role(admitted(role=f"role-{number}"), new_trail().iam, soon())
    trail = new_trail()
    await roles.fetch_role(admitted(account="444455556666"), trail.iam, soon())
    assert trail.iam.cache == "hit"


async def test_one_accounts_wait_for_iam_leaves_places_to_another(time: Time, metrics: Metrics) -> None:
    iam = Iam(released=asyncio.Event())
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, places=WaitingPlaces(3))
    tasks = [
        asyncio.create_task(roles.fetch_role(admitted(session=f"task-{n}"), new_trail().iam, soon())) for n in range(10)
    ]
    other = asyncio.create_task(roles.fetch_role(admitted(account="444455556666"), new_trail().iam, soon()))
    await settle()
    assert iam.released is not None
    iam.released.set()
    await other
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, UpstreamError)]
    assert len(refused) == 8
    assert {error.reason for error in refused} == {Reason.OVERLOADED}


# IAM answers with another role than the caller's: a new role of the same name, or a false answer.
OTHERS = [
    pytest.param({"role_id": "AROAEXAMPLEEXAMPLE002"}, id="role-id"),
    pytest.param({"arn": "arn:aws:iam::444455556666:role/demo-app"}, id="account"),
    pytest.param({"arn": "arn:aws-cn:iam::111122223333:role/demo-app"}, id="partition"),
    pytest.param({"name": "another"}, id="name"),
    pytest.param({"arn": "demo-app"}, id="no-arn"),
]


@pytest.mark.parametrize("changes", OTHERS)
async def test_another_role_than_the_callers_is_remembered_for_ten_seconds_alone(
    time: Time, metrics: Metrics, changes: dict[str, str]
) -> None:
    """Proxies of a new role must not wait for the TTL, and retries with the old role must not cost a call each."""
    iam = Iam(changes=changes)
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    for time.passed in (0.0, 1.0, 9.999):
        trail = new_trail()
        record = await roles.fetch_role(admitted(), trail.iam, soon())
        with pytest.raises(AuthorizationError) as raised:
            read_grant(admitted(), record, POLICY)
        assert raised.value.reason is Reason.ROLE_ID_MISMATCH
        assert trail.iam.cache == ("miss" if time.passed == 0 else "hit")
        assert trail.iam.request_id == "iam-1"
    time.passed, iam.changes = 10.0, {}
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"
    time.passed = ROLE_TTL + 9.0
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).request_id == "iam-2"


async def test_another_role_ends_a_stale_one_at_once(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.changes = ROLE_TTL, {"role_id": "AROAEXAMPLEEXAMPLE002"}
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.error = ROLE_TTL + 10.0, UpstreamError(Reason.IAM_UNAVAILABLE, "seen")
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())


async def test_another_role_is_not_remembered_longer_than_the_ttl(time: Time, metrics: Metrics) -> None:
    iam = Iam(changes={"name": "another"})
    roles = new_roles(iam, metrics, ttl=1.0, max_stale=0, timer=time.timer)
    for time.passed in (0.0, 0.999, 1.0):
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert iam.asked == 2


async def test_another_role_of_one_caller_is_none_of_another(time: Time, metrics: Metrics) -> None:
    """I18: credentials of the old role cannot cause a denial of the new one."""
    iam = Iam(changes={"role_id": "AROAEXAMPLEEXAMPLE002"})
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    trail = new_trail()
    await roles.fetch_role(admitted(role_id="AROAEXAMPLEEXAMPLE002"), trail.iam, soon())
    assert trail.iam.cache == "miss"


async def test_roles_that_are_not_the_callers_are_bounded_and_push_no_role_out(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(
        iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, sizes=TableSizes(known=1, mismatched=3)
    )
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.changes = {"role_id": "AROAEXAMPLEEXAMPLE002"}
    for number in (*range(10), 0):
        await roles.fetch_role(admitted(role=f"role-{number}"), new_trail().iam, soon())
    assert iam.asked == 12  # the first entry was evicted by the later ones
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert iam.asked == 12


async def test_roles_are_bounded(time: Time, metrics: Metrics) -> None:
    roles = new_roles(Iam(), metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, sizes=TableSizes(known=3))
    for number in range(10):
        await roles.fetch_role(admitted(role=f"role-{number}"), new_trail().iam, soon())
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="role") == 3


async def test_unreadable_roles_are_bounded(time: Time, metrics: Metrics) -> None:
    iam = Iam(error=UpstreamError(Reason.IAM_ACCESS_DENIED, "seen"))
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer, sizes=TableSizes(denied=3))
    for number in (*range(10), 0):
        with pytest.raises(UpstreamError):
            await roles.fetch_role(admitted(role=f"role-{number}"), new_trail().iam, soon())
    assert iam.asked == 11  # the first entry was evicted by the later ones


# Refreshed before the entry expires.


async def test_a_role_in_use_is_read_again_and_nobody_waits_for_it(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first = await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER
    iam.released = asyncio.Event()
    for _ in range(10):
        trail = new_trail()
        assert await roles.fetch_role(admitted(), trail.iam, soon()) is first
        assert trail.iam.cache == "hit"
    iam.released.set()
    await settle()
    assert iam.asked == 2
    time.passed = ROLE_TTL
    assert (await roles.fetch_role(admitted(), new_trail().iam, soon())).tags == (("k", "2"),)
    assert iam.asked == 2


async def test_a_role_that_nobody_uses_is_not_read_again(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER - 0.001
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    await settle()
    assert iam.asked == 1


async def test_a_refresh_that_fails_changes_nothing_and_is_tried_again_after_a_pause(
    time: Time, metrics: Metrics
) -> None:
    """I17: a failed refresh does not extend the life of an entry."""
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first = await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = UpstreamError(Reason.IAM_THROTTLED, "seen")
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER
    for _ in range(3):
        assert await roles.fetch_role(admitted(), new_trail().iam, soon()) is first
        await settle()
    assert iam.asked == 2
    time.passed += ROLE_TTL * role_cache.REFRESH_PAUSE
    assert await roles.fetch_role(admitted(), new_trail().iam, soon()) is first
    await settle()
    assert iam.asked == 3
    time.passed = ROLE_TTL
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail().iam, soon())


@pytest.mark.parametrize(
    "error",
    [AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")],
    ids=lambda error: error.reason,
)
async def test_a_refresh_that_is_denied_ends_the_role(time: Time, metrics: Metrics, error: AuthError) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    iam.error = error
    time.passed = ROLE_TTL * role_cache.REFRESH_AFTER
    await roles.fetch_role(admitted(), new_trail().iam, soon())
    await settle()
    with pytest.raises(AuthError) as raised:
        await roles.fetch_role(admitted(), new_trail().iam, soon())
    assert raised.value.reason is error.reason


async def test_proxies_of_one_role_that_come_together_cost_one_call(time: Time, metrics: Metrics) -> None:
    iam = Iam(released=asyncio.Event())
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    trails = [new_trail() for _ in range(5)]
    tasks = [
        asyncio.create_task(roles.fetch_role(admitted(session=f"task-{number}"), trail.iam, soon()))
        for number, trail in enumerate(trails)
    ]
    await settle()
    assert iam.released is not None
    iam.released.set()
    answers = await asyncio.gather(*tasks)
    assert iam.asked == 1
    assert all(answer is answers[0] for answer in answers)
    assert [trail.iam.cache for trail in trails] == ["miss"] + ["coalesced"] * 4
    assert {trail.iam.request_id for trail in trails} == {"iam-1"}


async def test_proxies_of_two_roles_never_meet(time: Time, metrics: Metrics) -> None:
    """I19: concurrent calls for two roles are never mixed up."""
    iam = Iam(released=asyncio.Event())
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    tasks = [
        asyncio.create_task(roles.fetch_role(admitted(role=name), new_trail().iam, soon()))
        for name in ("a", "b", "a", "b")
    ]
    await settle()
    assert iam.released is not None
    iam.released.set()
    assert [role.name for role in await asyncio.gather(*tasks)] == ["a", "b", "a", "b"]
    assert iam.asked == 2


async def test_a_waiter_whose_time_is_over_takes_the_role_of_before(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = new_roles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    first = await roles.fetch_role(admitted(), new_trail().iam, soon())
    time.passed, iam.released = ROLE_TTL, asyncio.Event()
    trail = new_trail()
    assert await roles.fetch_role(admitted(), trail.iam, soon(-1.0)) is first
    assert trail.iam.cache == "stale"
    iam.released.set()
    await settle()
