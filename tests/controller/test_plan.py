"""What to do with which secret, and why: tables of values, without I/O."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.controller.held_token import TokenFacts, read_facts, renew_at, why_replace
from app.controller.plan import (
    PUT_PAUSE_SECONDS,
    REREAD_SECONDS,
    Keep,
    KnownSecret,
    Put,
    WantedSecret,
    decide,
    is_anothers,
    is_due,
    want_secrets,
)
from app.controller.reasons import Leave, PutReason, Skip
from app.controller.secret import MalformedSecretError, SecretValue
from app.controller.tasks import SkippedError, Task, TaskIdentity, identity_of_tags, read_task
from app.core.base64_text import encode_base64url

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VALID_FOR = 720 * HOUR
WEB = TaskIdentity(mesh="default", service="web")
PREFIX = "kong-mesh-ecs/"


def part(members: Any) -> str:
    return encode_base64url(json.dumps(members).encode())


def token(
    *, kid: str = "1", starts: datetime = NOW - HOUR, ends: datetime | None = NOW - HOUR + VALID_FOR, **claims: Any
) -> str:
    """Return a token of the service web as Kuma writes it, with some claims changed and no valid signature."""
    times: dict[str, Any] = {"iat": int(starts.timestamp()), "nbf": int(starts.timestamp())}
    if ends is not None:
        times["exp"] = int(ends.timestamp())
    kuma = {"Name": "", "Mesh": "default", "Tags": {"kuma.io/service": ["web"]}, "Type": "", "Workload": ""}
    return ".".join(
        (part({"alg": "RS256", "kid": kid, "typ": "JWT"}), part({**kuma, "jti": "id", **times, **claims}), "c2ln")
    )


def secret(text: str | None, age: timedelta = 24 * HOUR) -> SecretValue:
    return SecretValue(name="kong-mesh-ecs/web", arn="arn:secret", version="v1", created_at=NOW - age, text=text)


def holding(text: str, **others: Any) -> SecretValue:
    return secret(json.dumps({"token": text, **others}))


def decided(value: SecretValue, identity: TaskIdentity = WEB) -> Put | Keep:
    return decide(value, identity, NOW, VALID_FOR, lambda _token, _facts, _identity: None)[0]


def task(name: str, *, pending: bool = False, minutes: float = 60, **tags: Any) -> Task:
    return Task(
        arn=f"arn:{name}",
        definition="arn:definition",
        role=None,
        is_pending=pending,
        created_at=NOW - timedelta(minutes=minutes),
        tags={f"kuma.io/{key}": value for key, value in tags.items()},
    )


# The value of a secret.


@pytest.mark.parametrize("text", ["{}", '{"token": null}', '{"token": ""}', '{"other": 1}'])
def test_a_secret_without_a_token_gets_one(text: str) -> None:
    assert decided(secret(text)) == Put(PutReason.TOKEN_MISSING)


@pytest.mark.parametrize("text", ["not a token", "a.b.c", "..", part({}) + "." + part({}) + ".x", "x" * 20_000])
def test_what_is_no_token_is_replaced(text: str) -> None:
    assert decided(holding(text)) == Put(PutReason.TOKEN_UNREADABLE)


@pytest.mark.parametrize("value", [1, [], {"a": 1}, True])
def test_what_is_no_text_is_replaced(value: Any) -> None:
    assert decided(secret(json.dumps({"token": value}))) == Put(PutReason.TOKEN_UNREADABLE)


@pytest.mark.parametrize(
    "text",
    [None, "", "[]", "null", '"text"', "{", "{} {}", '{"a": NaN}', '{"token": "x", "token": "y"}', '{"a": 1e999}'],
)
def test_a_malformed_secret_is_never_written(text: str | None) -> None:
    with pytest.raises(MalformedSecretError):
        secret(text).with_token("new")


def test_a_secret_that_would_be_too_large_is_not_written() -> None:
    room = 65_536 - len(json.dumps({"other": "", "token": "new"}))
    assert len(secret(json.dumps({"other": "x" * room})).with_token("new")) == 65_536
    with pytest.raises(MalformedSecretError):
        secret(json.dumps({"other": "x" * (room + 1)})).with_token("new")


def test_the_limit_is_one_of_bytes_and_escapes_do_not_count() -> None:
    for others in ({"a": "ü" * 20_000}, {"a": "\ud800"}):
        text = json.dumps(others, ensure_ascii="ü" not in others["a"])
        assert json.loads(secret(text).with_token("new")) == {**others, "token": "new"}


@pytest.mark.parametrize("number", ["12345678901234567890.12345", "0.1000000000000000055", "1e-400", f"1e-{10**19}"])
def test_a_number_that_would_lose_digits_is_left_alone(number: str) -> None:
    """The other keys are kept as they are, or nothing is put."""
    with pytest.raises(MalformedSecretError, match="as a string"):
        secret(f'{{"a": [{number}]}}').with_token("new")


@pytest.mark.parametrize("number", ["1.10", "1e5", "-0.0", "123456789012345678901234567890"])
def test_a_number_that_loses_nothing_is_kept(number: str) -> None:
    written = json.loads(secret(f'{{"a": {number}}}').with_token("new"), parse_float=Decimal)
    assert written == {"a": Decimal(number), "token": "new"}


def test_other_keys_stay_in_their_order() -> None:
    others = {"a": [1, 2.5, None, True], "token": "old", "ü": {"deep": "ß 😀"}, "z": "\\"}
    written = secret(json.dumps(others)).with_token("new")
    assert json.loads(written) == {**others, "token": "new"}
    assert list(json.loads(written)) == list(others)


def test_no_representation_shows_a_token() -> None:
    held = holding("a.secret.token")
    assert "a.secret" not in repr(held)
    assert "a.secret" not in repr(decide(held, WEB, NOW, VALID_FOR, lambda *_: None))


# The token.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(token(), None, id="usable"),
        pytest.param(token(Type="dataplane"), None, id="type"),
        pytest.param(token(starts=NOW - 360 * HOUR, ends=NOW + 360 * HOUR), None, id="half-of-life-left"),
        pytest.param(token(starts=NOW - 361 * HOUR, ends=NOW + 359 * HOUR), PutReason.HALF_LIFE_OVER, id="renewal"),
        pytest.param(token(starts=NOW - 2 * HOUR, ends=NOW - HOUR), PutReason.HALF_LIFE_OVER, id="ended"),
        pytest.param(token(ends=NOW + 87_600 * HOUR), PutReason.ENDS_TOO_LATE, id="ten-years"),
        pytest.param(token(ends=None), PutReason.ENDS_TOO_LATE, id="no-end"),
        pytest.param(token(ends=NOW + VALID_FOR + timedelta(minutes=5)), None, id="clock-ahead"),
        pytest.param(
            token(ends=NOW + VALID_FOR + timedelta(minutes=5, seconds=1)), PutReason.ENDS_TOO_LATE, id="too-far-ahead"
        ),
        pytest.param(token(Mesh="other"), PutReason.CLAIMS_DIFFER, id="mesh"),
        pytest.param(token(Mesh=""), PutReason.CLAIMS_DIFFER, id="every-mesh"),
        pytest.param(token(Tags={"kuma.io/service": ["api"]}), PutReason.CLAIMS_DIFFER, id="service"),
        pytest.param(token(Tags={"kuma.io/service": ["web", "api"]}), PutReason.CLAIMS_DIFFER, id="services"),
        pytest.param(token(Tags={}), PutReason.CLAIMS_DIFFER, id="every-service"),
        pytest.param(token(Tags=["kuma.io/service"]), PutReason.CLAIMS_DIFFER, id="tags-of-another-kind"),
        pytest.param(
            token(Tags={"kuma.io/service": ["web"], "team": ["a"]}), PutReason.CLAIMS_DIFFER, id="another-tag"
        ),
        pytest.param(token(Workload="job"), PutReason.CLAIMS_DIFFER, id="workload"),
        pytest.param(token(Name="web-1"), PutReason.CLAIMS_DIFFER, id="one-name-only"),
        pytest.param(token(Type="ingress"), PutReason.CLAIMS_DIFFER, id="zone-proxy"),
    ],
)
def test_why_a_token_is_replaced(text: str, expected: PutReason | None) -> None:
    assert why_replace(read_facts(text), WEB, NOW, VALID_FOR) == expected
    assert decided(holding(text)) == (Keep(Leave.USABLE) if expected is None else Put(expected))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "soon"},
        {"exp": True},
        {"nbf": -1},
        {"exp": 1e300},
        {"exp": 253_402_300_800},
        {"jti": None},
        {"jti": 1},
    ],
    ids=str,
)
def test_a_token_with_impossible_claims_is_replaced(claims: dict[str, Any]) -> None:
    assert decided(holding(token(**claims))) == Put(PutReason.TOKEN_UNREADABLE)


def test_the_first_and_the_last_second_of_a_date_are_times() -> None:
    read = read_facts(token(nbf=0, exp=253_402_300_799))
    assert read.issued_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert read.ends_at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_token_is_due_for_renewal_at_half_of_its_life() -> None:
    held = read_facts(token(starts=NOW - 100 * HOUR, ends=NOW + 300 * HOUR))
    assert renew_at(held) == NOW + 100 * HOUR
    assert renew_at(read_facts(token(ends=None))) is None


def test_a_token_that_does_not_say_when_it_began_is_replaced() -> None:
    assert decided(holding(token(iat=None, nbf=None))) == Put(PutReason.HALF_LIFE_OVER)


def test_a_token_without_a_key_id_is_replaced() -> None:
    header = {"alg": "RS256", "typ": "JWT"}
    assert decided(holding(f"{part(header)}.{token().partition('.')[2]}")) == Put(PutReason.TOKEN_UNREADABLE)


def test_a_token_without_a_signature_is_replaced() -> None:
    assert decided(holding(f"{token().rpartition('.')[0]}.")) == Put(PutReason.TOKEN_UNREADABLE)


def test_a_token_of_more_than_16_kib_is_replaced() -> None:
    longest = token().ljust(16 * 1024, "A")
    assert decided(holding(longest)) == Keep(Leave.USABLE)
    assert decided(holding(f"{longest}A")) == Put(PutReason.TOKEN_UNREADABLE)


@pytest.mark.parametrize(
    "claims",
    [{"Mesh": ""}, {"Mesh": None}, {"Tags": None}, {"Tags": {"team": ["web"]}}, {"Workload": 1}, {"Type": "egress"}],
    ids=str,
)
def test_a_token_that_binds_less_or_to_something_else_has_no_identity(claims: dict[str, Any]) -> None:
    assert read_facts(token(**claims)).identity is None


def test_a_workload_is_compared_when_the_task_names_one() -> None:
    identity = TaskIdentity(mesh="default", service="web", workload="job")
    assert why_replace(read_facts(token()), identity, NOW, VALID_FOR) is PutReason.CLAIMS_DIFFER
    assert why_replace(read_facts(token(Workload="job")), identity, NOW, VALID_FOR) is None


def test_the_issuer_can_refuse_a_token() -> None:
    def unknown(text: str, facts: TokenFacts, identity: TaskIdentity) -> PutReason:
        assert (text, facts.kid, identity) == (token(kid="old"), "old", WEB)
        return PutReason.KEY_UNKNOWN

    assert decide(holding(token(kid="old")), WEB, NOW, VALID_FOR, unknown)[0] == Put(PutReason.KEY_UNKNOWN)


def test_a_version_of_the_last_ten_minutes_is_left_unless_it_has_no_token() -> None:
    """Otherwise two replicas would replace each other's tokens.

    A task waits for a secret without a token: it gets one at once.
    """
    young, old = (timedelta(seconds=PUT_PAUSE_SECONDS - less) for less in (1, 0))
    other_mesh = json.dumps({"token": token(Mesh="other")})
    assert decided(secret(other_mesh, young)) == Keep(Leave.PUT_RECENTLY)
    assert decided(secret(other_mesh, old)) == Put(PutReason.CLAIMS_DIFFER)
    assert decided(secret("{}", young)) == Put(PutReason.TOKEN_MISSING)


def facts(**changes: Any) -> TokenFacts:
    """Return the facts of a usable token of another identity than that of the service web."""
    base: dict[str, Any] = {
        "kid": "1",
        "jti": "id",
        "identity": TaskIdentity(mesh="payments", service="web"),
        "issued_at": NOW - HOUR,
        "ends_at": NOW + HOUR,
    }
    return TokenFacts(**{**base, **changes})


@pytest.mark.parametrize(
    ("held", "is_certain", "expected"),
    [
        pytest.param(facts(), False, True, id="a-newer-task-can-have-it"),
        pytest.param(facts(identity=None), False, True, id="unreadable-claims"),
        pytest.param(facts(ends_at=None), False, True, id="no-end"),
        pytest.param(facts(), True, False, id="every-task-is-known"),
        pytest.param(None, False, False, id="no-token"),
        pytest.param(facts(identity=WEB), False, False, id="the-own-identity"),
        pytest.param(facts(ends_at=NOW), False, False, id="ended"),
    ],
)
def test_a_token_that_an_unknown_task_may_need_is_left(
    held: TokenFacts | None,
    is_certain: bool,  # noqa: FBT001
    expected: bool,  # noqa: FBT001
) -> None:
    wanted = WantedSecret(name="kong-mesh-ecs/web", identity=WEB, tasks=1, pending=frozenset(), is_certain=is_certain)
    assert is_anothers(wanted, held, NOW) is expected


@pytest.mark.parametrize(
    ("pending", "are_all", "is_certain"), [(False, True, True), (True, False, True), (False, False, False)]
)
def test_only_a_newest_task_that_waits_is_certain_if_others_are_unknown(
    pending: bool,  # noqa: FBT001
    are_all: bool,  # noqa: FBT001
    is_certain: bool,  # noqa: FBT001
) -> None:
    [wanted] = want_secrets(
        [(task("new", pending=pending, minutes=1), WEB), (task("old"), WEB)], PREFIX, are_all=are_all
    )
    assert wanted.is_certain is is_certain
    [wanted] = want_secrets([(task("new", minutes=1), WEB), (task("old", pending=True), WEB)], PREFIX, are_all=are_all)
    assert wanted.is_certain is are_all


# The tasks.


def test_the_tags_of_a_task_name_its_identity() -> None:
    assert identity_of_tags(task("t", service="web"), "default") == WEB
    named = identity_of_tags(task("t", service="Web_1.b", mesh="m-1", workload="Job"), "default")
    assert named == TaskIdentity(mesh="m-1", service="Web_1.b", workload="Job")


@pytest.mark.parametrize(
    ("tags", "skip"),
    [
        ({}, Skip.NOT_IN_MESH),
        ({"mesh": "default"}, Skip.NOT_IN_MESH),
        ({"service": ""}, Skip.TAG_INVALID),
        ({"service": "../other"}, Skip.TAG_INVALID),
        ({"service": "a/b"}, Skip.TAG_INVALID),
        ({"service": "arn:aws:secretsmanager"}, Skip.TAG_INVALID),
        ({"service": "web\n"}, Skip.TAG_INVALID),
        ({"service": "wéb"}, Skip.TAG_INVALID),
        ({"service": "x" * 254}, Skip.TAG_INVALID),
        ({"service": "web", "mesh": "Default"}, Skip.TAG_INVALID),
        ({"service": "web", "mesh": ""}, Skip.TAG_INVALID),
        ({"service": "web", "workload": ""}, Skip.TAG_INVALID),
        ({"service": "web", "workload": "-x"}, Skip.TAG_INVALID),
    ],
)
def test_a_task_without_a_usable_identity_is_skipped(tags: dict[str, Any], skip: Skip) -> None:
    with pytest.raises(SkippedError) as raised:
        identity_of_tags(task("t", **tags), "default")
    assert raised.value.skip is skip


def test_a_task_is_read_as_ecs_describes_it() -> None:
    described = {
        "taskArn": "arn:t",
        "taskDefinitionArn": "arn:d",
        "lastStatus": "PENDING",
        "desiredStatus": "RUNNING",
        "createdAt": NOW,
        "overrides": {"containerOverrides": [], "taskRoleArn": "arn:role"},
        "tags": [{"key": "kuma.io/service", "value": "web"}, {"key": "kuma.io/empty"}, {"key": "team", "value": "a"}],
    }
    assert read_task(described) == Task(
        arn="arn:t",
        definition="arn:d",
        role="arn:role",
        is_pending=True,
        created_at=NOW,
        tags={"kuma.io/service": "web", "kuma.io/empty": ""},
    )
    assert not read_task({**described, "lastStatus": "RUNNING"}).is_pending
    assert read_task({**described, "overrides": {"taskRoleArn": ""}}).role is None
    bare = read_task({"taskArn": "arn:t"})
    assert (bare.role, bare.created_at) == (None, datetime(1970, 1, 1, tzinfo=UTC))


def test_pending_tasks_come_first_and_the_longest_waiting_one_before_all() -> None:
    identified = [
        (task(name, pending=pending, minutes=minutes), TaskIdentity(mesh="default", service=service))
        for name, service, pending, minutes in (
            ("1", "old", False, 900),
            ("2", "new", False, 5),
            ("3", "waits-long", True, 3),
            ("4", "waits", True, 1),
            ("5", "waits-long", False, 800),
            ("6", "waits", False, 850),
        )
    ]
    wanted = want_secrets(identified, PREFIX)
    assert [each.name for each in wanted] == [f"{PREFIX}{name}" for name in ("waits-long", "waits", "old", "new")]
    assert (wanted[0].tasks, wanted[0].pending) == (2, frozenset({"arn:3"}))


def test_the_newest_task_decides_and_the_others_are_reported() -> None:
    old, new = WEB, TaskIdentity(mesh="payments", service="web")
    [wanted] = want_secrets([(task("a", minutes=9), old), (task("c", minutes=1), new), (task("b"), old)], PREFIX)
    assert (wanted.identity, wanted.others) == (new, frozenset({old}))


# When a secret is read.


def wanted_with(*pending: str, identity: TaskIdentity = WEB) -> WantedSecret:
    return WantedSecret(name="kong-mesh-ecs/web", identity=identity, tasks=3, pending=frozenset(pending))


def known(**changes: Any) -> KnownSecret:
    base: dict[str, Any] = {"read_at": 1000.0, "identity": WEB, "renew_at": NOW + HOUR}
    return KnownSecret(**{**base, **changes})


@pytest.mark.parametrize(
    ("wanted", "before", "timer", "due"),
    [
        pytest.param(wanted_with(), KnownSecret(), 0.0, True, id="never-read"),
        pytest.param(wanted_with(), known(read_at=None), 0.0, True, id="never-read-for-this-identity"),
        pytest.param(wanted_with(), known(), 1001.0, False, id="quiet"),
        pytest.param(wanted_with(), known(), 1000.0 + REREAD_SECONDS, True, id="read-again"),
        pytest.param(wanted_with("t"), known(), 1001.0, True, id="a-task-waits"),
        pytest.param(wanted_with("t"), known(pending=frozenset("t")), 1001.0, False, id="the-same-task-waits"),
        pytest.param(wanted_with(), known(renew_at=NOW), 1001.0, True, id="half-of-life-over"),
        pytest.param(wanted_with(), known(renew_at=None), 1001.0, True, id="no-usable-token"),
        pytest.param(wanted_with(identity=TaskIdentity(mesh="m", service="web")), known(), 1001.0, True, id="changed"),
        pytest.param(wanted_with(), known(failures=1, retry_at=1010.0), 1001.0, False, id="pause-after-a-failure"),
        pytest.param(wanted_with(), known(failures=1, retry_at=1010.0), 1010.0, True, id="tried-again"),
        pytest.param(wanted_with("t"), known(failures=1, retry_at=1010.0), 1001.0, True, id="a-new-task-ends-a-pause"),
    ],
)
def test_when_a_secret_is_read(wanted: WantedSecret, before: KnownSecret, timer: float, due: bool) -> None:  # noqa: FBT001
    assert is_due(wanted, before, timer, NOW) is due
