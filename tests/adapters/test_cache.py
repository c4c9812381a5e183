"""What is remembered of AWS's answers, for how long, and for whom. Time is a number that the test moves."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from app.adapters import cache
from app.adapters.accounts import FixedAccounts
from app.adapters.cache import CachingIdentities, CachingRoles, ExpiringCache, request_digest
from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.principal import AdmittedPrincipal
from app.core.request_policy import require_fresh
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.errors import AuthenticationError, AuthError, AuthorizationError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail
from tests.support.exposition import read_samples, value
from tests.support.principals import PRINCIPAL
from tests.support.signing import FORMS, NOW, Recipe, endpoint_of, judge, make_policy

LIFETIME = 900.0
LISTED = FixedAccounts(frozenset({"111122223333"}))
ROLE_TTL = 300.0


@dataclass
class Time:
    """A clock and a timer that stand still until they are moved."""

    passed: float = 0.0

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def timer(self) -> float:
        return self.passed


@dataclass
class Sts:
    """An `IdentitySource` that answers each question anew, or with an error."""

    asked: int = 0
    error: AuthError | None = None

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:  # noqa: ARG002 - the port's
        self.asked += 1
        if self.error is not None:
            raise self.error
        request_id = trail.sts.request_id = f"sts-{self.asked}"
        arn = parse_arn("arn:aws:sts::111122223333:assumed-role/demo-app/task-1")
        return CallerIdentity(arn=arn, user_id="AROAEXAMPLEEXAMPLE001:task-1", request_id=request_id)


@dataclass
class Iam:
    """A `RoleSource` of the same kind."""

    asked: int = 0
    error: AuthError | None = None
    errors: dict[str, AuthError] = field(default_factory=dict)
    """By role name."""

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        self.asked += 1
        principal = admitted.principal
        if error := self.errors.get(principal.role, self.error):
            raise error
        request_id = trail.iam.request_id = f"iam-{self.asked}"
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        return RoleRecord(
            arn=arn,
            role_id=principal.role_id,
            name=principal.role,
            tags=(("k", str(self.asked)),),
            request_id=request_id,
        )


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def new_trail() -> Trail:
    return Trail(request_id="request-1", deadline=0.0)


def forwardable(credential: str | None = None) -> ForwardableRequest:
    return require_fresh(judge(credential or Recipe(form=CredentialForm.NATIVE).credential()), NOW)


# The store itself.


def test_an_entry_lives_as_long_as_it_was_put_for(time: Time) -> None:
    store: ExpiringCache[str] = ExpiringCache(10, time.timer)
    store.put("short", "a", 10)
    store.put("long", "b", 20)
    time.passed = 9.999
    assert (store.get("short"), store.get("long")) == ("a", "b")
    time.passed = 10
    assert (store.get("short"), store.get("long")) == (None, "b")


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_what_has_no_time_left_is_not_put(time: Time, seconds: float) -> None:
    store: ExpiringCache[str] = ExpiringCache(10, time.timer)
    store.put("key", "value", seconds)
    assert store.get("key") is None
    assert len(store) == 0


def test_the_store_is_bounded_and_forgets_what_was_not_used(time: Time) -> None:
    store: ExpiringCache[int] = ExpiringCache(2, time.timer)
    store.put("a", 1, 60)
    store.put("b", 2, 60)
    assert store.get("a") == 1
    store.put("c", 3, 60)
    assert (store.get("a"), store.get("b"), store.get("c")) == (1, None, 3)
    assert len(store) == 2


def test_every_store_has_a_bound() -> None:
    bounds = (cache.MAX_IDENTITIES, cache.MAX_ROLES, cache.MAX_UNREADABLE_ROLES)
    assert all(0 < bound <= 100_000 for bound in bounds)


# The key of an identity (I16).

BASE = judge(Recipe(form=CredentialForm.PLAIN_ENVELOPE).credential())
HEADERS = BASE.headers
OTHER_PARTS: dict[str, ValidatedRequest] = {
    "form": replace(BASE, form=CredentialForm.ENVELOPE),
    "method": replace(BASE, method="GET"),
    "host": replace(BASE, endpoint=endpoint_of("sts.eu-west-1.amazonaws.com")),
    "target": replace(BASE, target="/?x"),
    "body": replace(BASE, body=BASE.body + b"&"),
    "one-header-less": replace(BASE, headers=HEADERS[:-1]),
    "one-header-more": replace(BASE, headers=(*HEADERS, ("x", "y"))),
    "headers-in-another-order": replace(BASE, headers=HEADERS[::-1]),
    "a-byte-moved-from-name-to-value": replace(
        BASE, headers=(*HEADERS[:-1], (HEADERS[-1][0][:-1], HEADERS[-1][0][-1] + HEADERS[-1][1]))
    ),
    "a-byte-moved-from-target-to-host": replace(
        BASE, target="m/", endpoint=replace(BASE.endpoint, host=BASE.endpoint.host.removesuffix("m"))
    ),
    "a-header-moved-to-the-body": replace(
        BASE, headers=HEADERS[:-1], body=HEADERS[-1][0].encode() + HEADERS[-1][1].encode() + BASE.body
    ),
    **{
        f"value-of-{name.lower()}": replace(
            BASE, headers=tuple((key, text + "x" if key == name else text) for key, text in HEADERS)
        )
        for name, _ in HEADERS
    },
    **{
        f"name-{name.lower()}": replace(
            BASE, headers=tuple((key + "x" if key == name else key, text) for key, text in HEADERS)
        )
        for name, _ in HEADERS
    },
}


@pytest.mark.parametrize("part", OTHER_PARTS)
def test_another_request_has_another_digest(part: str) -> None:
    assert request_digest(OTHER_PARTS[part], b"key") != request_digest(BASE, b"key")


def test_no_two_requests_share_a_digest() -> None:
    requests = [BASE, *OTHER_PARTS.values()]
    assert len({request_digest(request, b"key") for request in requests}) == len(requests)


def test_the_same_request_has_the_same_digest() -> None:
    again = judge(Recipe(form=CredentialForm.PLAIN_ENVELOPE).credential())
    assert again is not BASE
    assert request_digest(again, b"key") == request_digest(BASE, b"key")


def test_the_digest_is_keyed_and_gives_nothing_away() -> None:
    assert request_digest(BASE, b"key") != request_digest(BASE, b"another key")
    assert len(request_digest(BASE, b"key")) == 32


def test_no_two_forms_share_a_digest() -> None:
    """The same URL in native dress and in a JWT's is two credentials."""
    digests = [request_digest(judge(Recipe(form=form).credential()), b"key") for form in FORMS]
    assert len(set(digests)) == len(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_no_two_audiences_share_a_digest(form: CredentialForm) -> None:
    """CVE-2026-19202: a token cache that did not know the audience."""
    recipes = [Recipe(form=form, audience=audience) for audience in ("prod", "test")]
    requests = [judge(recipe.credential(), make_policy(audience=recipe.audience or "")) for recipe in recipes]
    digests = [request_digest(request, b"key") for request in requests]
    assert digests[0] != digests[1]


def test_a_presigned_url_that_is_judged_for_two_audiences_has_two_digests() -> None:
    """The URL does not hold its audience; the service's own goes into the request, and so into the key."""
    credential = Recipe(form=CredentialForm.NATIVE).credential()
    requests = [judge(credential, make_policy(audience=audience)) for audience in ("prod", "test")]
    assert request_digest(requests[0], b"key") != request_digest(requests[1], b"key")


def test_an_unbound_credential_shares_no_digest_with_a_bound_one() -> None:
    policy = make_policy(allow_unbound=True)
    recipes = [Recipe(form=CredentialForm.NATIVE, audience=audience) for audience in ("kuma-control-plane", None)]
    digests = [request_digest(judge(recipe.credential(), policy), b"key") for recipe in recipes]
    assert digests[0] != digests[1]


# Identities.


async def test_identify_asks_once_for_the_same_credential(time: Time, metrics: Metrics) -> None:
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    first, second = new_trail(), new_trail()
    identity = await identities.identify(forwardable(), first)
    assert await identities.identify(forwardable(), second) is identity
    assert sts.asked == 1
    assert (first.sts.cache, second.sts.cache) == ("miss", "hit")
    assert second.sts.request_id == identity.request_id == "sts-1"
    assert second.sts.seconds == 0
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="identity") == 1


async def test_identify_asks_for_each_credential_by_itself(time: Time, metrics: Metrics) -> None:
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    credentials = [
        *(Recipe(form=form).credential() for form in FORMS),
        Recipe(form=CredentialForm.NATIVE, expires=899).credential(),
        Recipe(form=CredentialForm.NATIVE, secret_key="another").credential(),
        Recipe(form=CredentialForm.NATIVE, token="another").credential(),
        Recipe(form=CredentialForm.NATIVE, access_key_id="ASIAEXAMPLEEXAMPLE02").credential(),
        Recipe(form=CredentialForm.NATIVE, now=NOW - timedelta(seconds=1)).credential(),
    ]
    for credential in credentials:
        await identities.identify(forwardable(credential), new_trail())
    assert sts.asked == len(credentials)


@pytest.mark.parametrize(
    ("form", "expires", "lifetime"),
    [
        (CredentialForm.NATIVE, 900, LIFETIME),
        (CredentialForm.NATIVE, 60, 60.0),
        (CredentialForm.EKS, 60, LIFETIME),
        (CredentialForm.ENVELOPE, None, LIFETIME),
    ],
)
async def test_an_identity_is_forgotten_when_its_signature_ends(
    time: Time, metrics: Metrics, form: CredentialForm, expires: int | None, lifetime: float
) -> None:
    """I17: counted from the moment of signing, not from that of asking."""
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    request = forwardable(Recipe(form=form, expires=expires).credential())
    time.passed = 30.0
    await identities.identify(request, new_trail())
    time.passed = lifetime - 0.001
    await identities.identify(request, new_trail())
    assert sts.asked == 1
    time.passed = lifetime
    await identities.identify(request, new_trail())
    assert sts.asked == 2


DENIALS = [AuthenticationError(Reason.STS_REJECTED, "seen"), AuthenticationError(Reason.SESSION_EXPIRED, "seen")]
ERRORS = [
    UpstreamError(Reason.STS_THROTTLED, "seen"),
    UpstreamError(Reason.STS_UNAVAILABLE, "seen"),
    UpstreamError(Reason.STS_ACCESS_DENIED, "seen"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[error.reason for error in ERRORS])
async def test_an_error_of_sts_is_never_remembered(time: Time, metrics: Metrics, error: AuthError) -> None:
    """I18."""
    sts = Sts(error=error)
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            await identities.identify(forwardable(), new_trail())
        assert raised.value is error
    assert sts.asked == 2
    sts.error = None
    assert (await identities.identify(forwardable(), new_trail())).request_id == "sts-3"


@pytest.mark.parametrize("denial", DENIALS, ids=[denial.reason for denial in DENIALS])
async def test_a_denial_of_sts_is_remembered_for_ten_seconds(
    time: Time, metrics: Metrics, denial: AuthenticationError
) -> None:
    """I18: definite, and brief: a key that was just issued may not be known everywhere yet."""
    sts = Sts(error=denial)
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    for seconds, asked in ((0.0, 1), (9.9, 1), (10.0, 2)):
        time.passed = seconds
        with pytest.raises(AuthenticationError) as raised:
            await identities.identify(forwardable(), new_trail())
        assert raised.value.reason is denial.reason
        assert sts.asked == asked


async def test_a_denial_is_that_of_one_exact_credential(time: Time, metrics: Metrics) -> None:
    """I18: nobody can create a denial for another."""
    sts = Sts(error=DENIALS[0])
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    with pytest.raises(AuthenticationError):
        await identities.identify(forwardable(), new_trail())
    sts.error = None
    other = forwardable(Recipe(form=CredentialForm.NATIVE, expires=899).credential())
    assert (await identities.identify(other, new_trail())).request_id == "sts-2"


async def test_denials_are_bounded_and_push_no_identity_out(
    time: Time, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_DENIALS", 3)
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, metrics, time.clock, time.timer)
    await identities.identify(forwardable(), new_trail())
    sts.error = DENIALS[0]
    for expires in range(100, 110):
        with pytest.raises(AuthenticationError):
            await identities.identify(
                forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
            )
    assert len(identities._denials) == 3
    await identities.identify(forwardable(), new_trail())
    assert sts.asked == 11


async def test_strangers_are_remembered_apart_and_push_nobody_out(
    time: Time, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STS vouches for anybody's role; 100,000 of an unlisted account must not evict those who may come in."""
    monkeypatch.setattr(cache, "MAX_IDENTITIES", 1)
    monkeypatch.setattr(cache, "MAX_STRANGERS", 3)
    sts = Sts()
    identities = CachingIdentities(sts, FixedAccounts(frozenset({"444455556666"})), metrics, time.clock, time.timer)
    for expires in range(100, 110):
        await identities.identify(
            forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
        )
    assert (len(identities._cache), len(identities._strangers)) == (0, 3)
    again = forwardable(Recipe(form=CredentialForm.NATIVE, expires=109).credential())
    await identities.identify(again, new_trail())
    assert sts.asked == 10


async def test_identities_are_bounded(time: Time, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_IDENTITIES", 3)
    identities = CachingIdentities(Sts(), LISTED, metrics, time.clock, time.timer)
    for expires in range(100, 110):
        await identities.identify(
            forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
        )
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="identity") == 3


async def test_two_caches_share_nothing(time: Time, metrics: Metrics) -> None:
    sts = Sts()
    for _ in range(2):
        await CachingIdentities(sts, LISTED, metrics, time.clock, time.timer).identify(forwardable(), new_trail())
    assert sts.asked == 2


# Roles.


def admitted(**changes: str) -> AdmittedPrincipal:
    return AdmittedPrincipal(replace(PRINCIPAL, **changes))


async def test_fetch_role_asks_once_within_the_ttl(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first, second = new_trail(), new_trail()
    record = await roles.fetch_role(admitted(), first)
    time.passed = ROLE_TTL - 0.001
    assert await roles.fetch_role(admitted(), second) is record
    assert (first.iam.cache, second.iam.cache) == ("miss", "hit")
    assert second.iam.request_id == record.request_id == "iam-1"
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="role") == 1


async def test_a_hit_does_not_lengthen_a_roles_life(time: Time, metrics: Metrics) -> None:
    """The TTL is the delay of a tag change, so it must hold for a role that is asked for all the time."""
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for time.passed in (0.0, ROLE_TTL / 2, ROLE_TTL - 1):
        await roles.fetch_role(admitted(), new_trail())
    assert iam.asked == 1
    time.passed = ROLE_TTL
    assert (await roles.fetch_role(admitted(), new_trail())).request_id == "iam-2"


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
    """I16; a role made anew under its name has another id."""
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    first = await roles.fetch_role(admitted(), new_trail())
    second = await roles.fetch_role(admitted(**changes), new_trail())
    assert iam.asked == 2
    assert first is not second


async def test_sessions_of_one_role_share_its_record(time: Time, metrics: Metrics) -> None:
    """The session's name is anybody's choice: it must not make a question of its own."""
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for session in ("task-1", "task-2"):
        await roles.fetch_role(admitted(session=session), new_trail())
    assert iam.asked == 1


async def test_an_access_denied_is_remembered_for_30_seconds_as_undecided(time: Time, metrics: Metrics) -> None:
    """Contract, section 4: a role outside the policy's path costs one call, not one per proxy and reconnect."""
    iam = Iam(error=UpstreamError(Reason.IAM_ACCESS_DENIED, "GetRole answered AccessDenied"))
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for time.passed in (0.0, 1.0, 29.999):
        trail = new_trail()
        with pytest.raises(UpstreamError) as raised:
            await roles.fetch_role(admitted(), trail)
        assert raised.value.reason is Reason.IAM_ACCESS_DENIED
        assert trail.iam.cache == ("miss" if time.passed == 0 else "hit")
    assert iam.asked == 1
    time.passed, iam.error = 30.0, None
    assert (await roles.fetch_role(admitted(), new_trail())).request_id == "iam-2"


async def test_an_access_denied_of_one_role_is_none_of_another(time: Time, metrics: Metrics) -> None:
    """I18: one principal cannot make a denial for another."""
    iam = Iam(errors={"unreadable": UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")})
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(role="unreadable"), new_trail())
    assert (await roles.fetch_role(admitted(), new_trail())).name == "demo-app"


async def test_a_known_role_stays_known_while_iam_denies(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    record = await roles.fetch_role(admitted(), new_trail())
    iam.error = UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")
    assert await roles.fetch_role(admitted(), new_trail()) is record


async def test_no_record_is_used_after_its_end_when_iam_is_away(time: Time, metrics: Metrics) -> None:
    """I17: not even when AWS is down."""
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail())
    time.passed, iam.error = ROLE_TTL, UpstreamError(Reason.IAM_UNAVAILABLE, "seen")
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail())


AWAY = [UpstreamError(reason, "seen") for reason in (Reason.IAM_UNAVAILABLE, Reason.IAM_THROTTLED, Reason.OVERLOADED)]


@pytest.mark.parametrize("error", AWAY, ids=[error.reason for error in AWAY])
async def test_a_known_role_is_believed_while_iam_is_away_up_to_the_bound(
    time: Time, metrics: Metrics, error: UpstreamError
) -> None:
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    record = await roles.fetch_role(admitted(), new_trail())
    iam.error = error
    for seconds in (ROLE_TTL, 3599.9):
        time.passed = seconds
        trail = new_trail()
        assert await roles.fetch_role(admitted(), trail) is record
        assert trail.iam.cache == "stale"
    assert iam.asked == 3
    time.passed = 3600
    with pytest.raises(UpstreamError):
        await roles.fetch_role(admitted(), new_trail())


async def test_a_stale_role_is_fresh_again_when_iam_is_back(time: Time, metrics: Metrics) -> None:
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail())
    time.passed = ROLE_TTL
    assert (await roles.fetch_role(admitted(), new_trail())).tags == (("k", "2"),)
    assert (await roles.fetch_role(admitted(), new_trail())).tags == (("k", "2"),)


DECIDED = [AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), UpstreamError(Reason.IAM_ACCESS_DENIED, "seen")]


@pytest.mark.parametrize("error", DECIDED, ids=[error.reason for error in DECIDED])
async def test_what_iam_says_of_a_role_ends_a_stale_one_at_once(time: Time, metrics: Metrics, error: AuthError) -> None:
    """A role outside a policy's path is answered as AccessDenied when it is deleted: an outage must not hide that."""
    iam = Iam()
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=3600, timer=time.timer)
    await roles.fetch_role(admitted(), new_trail())
    time.passed, iam.error = ROLE_TTL, error
    with pytest.raises(AuthError):
        await roles.fetch_role(admitted(), new_trail())
    time.passed, iam.error = ROLE_TTL + 31, UpstreamError(Reason.IAM_UNAVAILABLE, "seen")
    with pytest.raises(UpstreamError) as raised:
        await roles.fetch_role(admitted(), new_trail())
    assert raised.value.reason is Reason.IAM_UNAVAILABLE


PASSING = [
    AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"),
    UpstreamError(Reason.IAM_THROTTLED, "seen"),
    UpstreamError(Reason.IAM_UNAVAILABLE, "seen"),
]


@pytest.mark.parametrize("error", PASSING, ids=[error.reason for error in PASSING])
async def test_any_other_error_of_iam_is_never_remembered(time: Time, metrics: Metrics, error: AuthError) -> None:
    iam = Iam(error=error)
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            await roles.fetch_role(admitted(), new_trail())
        assert raised.value is error
    assert iam.asked == 2


async def test_roles_are_bounded(time: Time, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ROLES", 3)
    roles = CachingRoles(Iam(), metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for number in range(10):
        await roles.fetch_role(admitted(role=f"role-{number}"), new_trail())
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="role") == 3


async def test_unreadable_roles_are_bounded(time: Time, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_UNREADABLE_ROLES", 3)
    iam = Iam(error=UpstreamError(Reason.IAM_ACCESS_DENIED, "seen"))
    roles = CachingRoles(iam, metrics, ttl=ROLE_TTL, max_stale=0, timer=time.timer)
    for number in (*range(10), 0):
        with pytest.raises(UpstreamError):
            await roles.fetch_role(admitted(role=f"role-{number}"), new_trail())
    assert iam.asked == 11  # the first was forgotten for the later ones
