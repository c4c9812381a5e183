"""What is remembered of STS's answers, for how long, and for whom."""

from dataclasses import replace
from datetime import timedelta

import pytest
from app.adapters.identity_cache import CachingIdentities, request_digest

from app.adapters import identity_cache
from app.adapters.accounts import FixedAccounts
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.errors import AuthenticationError, AuthError, UpstreamError
from app.reasons import Reason
from tests.support.ports import SharedStore, Sts, Time, new_trail
from tests.support.signing import FORMS, NOW, Recipe, endpoint_of, judge, make_policy

LIFETIME = 900.0
LISTED = FixedAccounts(frozenset({"111122223333"}))


@pytest.fixture
def time() -> Time:
    return Time()


def forwardable(credential: str | None = None) -> ForwardableRequest:
    return require_fresh(judge(credential or Recipe(form=CredentialForm.NATIVE).credential()), NOW)


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
    assert request_digest(OTHER_PARTS[part]) != request_digest(BASE)


def test_no_two_requests_share_a_digest() -> None:
    requests = [BASE, *OTHER_PARTS.values()]
    assert len({request_digest(request) for request in requests}) == len(requests)


def test_the_same_request_has_the_same_digest() -> None:
    again = judge(Recipe(form=CredentialForm.PLAIN_ENVELOPE).credential())
    assert again is not BASE
    assert request_digest(again) == request_digest(BASE)


async def test_the_keys_are_keyed_and_give_nothing_away(time: Time) -> None:
    """I16: a dump of the keys of one process says nothing about another's."""
    keys = set()
    for _ in range(2):
        identities = CachingIdentities(Sts(), LISTED, time.clock, time.timer)
        await identities.identify(forwardable(), new_trail())
        keys |= set(identities._cache)
    assert len(keys) == 2
    assert request_digest(forwardable().request) not in keys
    assert {len(key) for key in keys if isinstance(key, bytes)} == {32}


def test_no_two_forms_share_a_digest() -> None:
    """The same URL in native dress and in a JWT's is two credentials."""
    digests = [request_digest(judge(Recipe(form=form).credential())) for form in FORMS]
    assert len(set(digests)) == len(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_no_two_audiences_share_a_digest(form: CredentialForm) -> None:
    """CVE-2026-19202: a token cache that did not know the audience."""
    recipes = [Recipe(form=form, audience=audience) for audience in ("prod", "test")]
    requests = [judge(recipe.credential(), make_policy(audience=recipe.audience or "")) for recipe in recipes]
    digests = [request_digest(request) for request in requests]
    assert digests[0] != digests[1]


def test_a_presigned_url_that_is_judged_for_two_audiences_has_two_digests() -> None:
    """The URL does not hold its audience; the service's own goes into the request, and so into the key."""
    credential = Recipe(form=CredentialForm.NATIVE).credential()
    requests = [judge(credential, make_policy(audience=audience)) for audience in ("prod", "test")]
    assert request_digest(requests[0]) != request_digest(requests[1])


def test_an_unbound_credential_shares_no_digest_with_a_bound_one() -> None:
    policy = make_policy(allow_unbound=True)
    recipes = [Recipe(form=CredentialForm.NATIVE, audience=audience) for audience in ("kuma-control-plane", None)]
    digests = [request_digest(judge(recipe.credential(), policy)) for recipe in recipes]
    assert digests[0] != digests[1]


# Identities.


async def test_identify_asks_once_for_the_same_credential(time: Time) -> None:
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
    first, second = new_trail(), new_trail()
    identity = await identities.identify(forwardable(), first)
    assert await identities.identify(forwardable(), second) is identity
    assert sts.asked == 1
    assert (first.sts.cache, second.sts.cache) == ("miss", "hit")
    assert second.sts.request_id == identity.request_id == "sts-1"
    assert second.sts.seconds == 0


async def test_identify_asks_for_each_credential_by_itself(time: Time) -> None:
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
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
    time: Time, form: CredentialForm, expires: int | None, lifetime: float
) -> None:
    """I17: counted from the moment of signing, not from that of asking."""
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
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
async def test_an_error_of_sts_is_never_remembered(time: Time, error: AuthError) -> None:
    """I18."""
    sts = Sts(error=error)
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            await identities.identify(forwardable(), new_trail())
        assert raised.value is error
    assert sts.asked == 2
    sts.error = None
    assert (await identities.identify(forwardable(), new_trail())).request_id == "sts-3"


@pytest.mark.parametrize("denial", DENIALS, ids=[denial.reason for denial in DENIALS])
async def test_a_denial_of_sts_is_remembered_for_ten_seconds(time: Time, denial: AuthenticationError) -> None:
    """I18: definite, and brief: a key that was just issued may not be known everywhere yet."""
    sts = Sts(error=denial)
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
    for seconds, asked in ((0.0, 1), (9.9, 1), (10.0, 2)):
        time.passed = seconds
        with pytest.raises(AuthenticationError) as raised:
            await identities.identify(forwardable(), new_trail())
        assert raised.value.reason is denial.reason
        assert sts.asked == asked


async def test_a_denial_is_that_of_one_exact_credential(time: Time) -> None:
    """I18: nobody can create a denial for another."""
    sts = Sts(error=DENIALS[0])
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
    with pytest.raises(AuthenticationError):
        await identities.identify(forwardable(), new_trail())
    sts.error = None
    other = forwardable(Recipe(form=CredentialForm.NATIVE, expires=899).credential())
    assert (await identities.identify(other, new_trail())).request_id == "sts-2"


async def test_denials_are_bounded_and_push_no_identity_out(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_cache, "MAX_DENIALS", 3)
    sts = Sts()
    identities = CachingIdentities(sts, LISTED, time.clock, time.timer)
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


async def test_strangers_are_remembered_apart_and_push_nobody_out(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS vouches for anybody's role; 100,000 of an unlisted account must not evict those who may come in."""
    monkeypatch.setattr(identity_cache, "MAX_IDENTITIES", 1)
    monkeypatch.setattr(identity_cache, "MAX_STRANGERS", 3)
    sts = Sts()
    identities = CachingIdentities(sts, FixedAccounts(frozenset({"444455556666"})), time.clock, time.timer)
    for expires in range(100, 110):
        await identities.identify(
            forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
        )
    assert (len(identities._cache), len(identities._strangers)) == (0, 3)
    again = forwardable(Recipe(form=CredentialForm.NATIVE, expires=109).credential())
    await identities.identify(again, new_trail())
    assert sts.asked == 10


async def test_identities_are_bounded(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_cache, "MAX_IDENTITIES", 3)
    identities = CachingIdentities(Sts(), LISTED, time.clock, time.timer)
    for expires in range(100, 110):
        await identities.identify(
            forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
        )
    assert len(identities._cache) == 3


async def test_two_caches_share_nothing(time: Time) -> None:
    sts = Sts()
    for _ in range(2):
        await CachingIdentities(sts, LISTED, time.clock, time.timer).identify(forwardable(), new_trail())
    assert sts.asked == 2


# What replicas share.


def replica(sts: Sts, time: Time, store: SharedStore) -> CachingIdentities:
    return CachingIdentities(sts, LISTED, time.clock, time.timer, store=store)


async def test_what_one_replica_was_answered_another_knows(time: Time) -> None:
    store, first, second = SharedStore(time), Sts(), Sts()
    identity = await replica(first, time, store).identify(forwardable(), new_trail())
    trail, again = new_trail(), new_trail()
    other = replica(second, time, store)
    assert await other.identify(forwardable(), trail) == identity
    assert (trail.sts.cache, trail.sts.request_id) == ("shared", "sts-1")
    await other.identify(forwardable(), again)
    assert again.sts.cache == "hit"
    assert (first.asked, second.asked) == (1, 0)


async def test_the_identities_of_one_account_evict_none_of_another(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_cache, "MAX_IDENTITIES", 4)
    listed = FixedAccounts(frozenset({"111122223333", "444455556666"}))
    sts = Sts(account="444455556666")
    identities = CachingIdentities(sts, listed, time.clock, time.timer)
    await identities.identify(forwardable(), new_trail())
    sts.account = "111122223333"
    for expires in range(890, 899):
        await identities.identify(
            forwardable(Recipe(form=CredentialForm.NATIVE, expires=expires).credential()), new_trail()
        )
    trail = new_trail()
    await identities.identify(forwardable(), trail)
    assert trail.sts.cache == "hit"


async def test_what_came_out_of_the_store_ends_with_the_signature_and_is_not_put_there_again(time: Time) -> None:
    """I17: else it would live anew each time a replica starts."""
    store = SharedStore(time)
    await replica(Sts(), time, store).identify(forwardable(), new_trail())
    [written] = store.records.values()
    time.passed = 100.0
    sts = Sts()
    other = replica(sts, time, store)
    await other.identify(forwardable(), new_trail())
    assert list(store.records.values()) == [written]
    time.passed = LIFETIME
    await other.identify(forwardable(), new_trail())
    assert sts.asked == 1


async def test_no_denial_and_no_stranger_is_shared(time: Time) -> None:
    store = SharedStore(time)
    with pytest.raises(AuthenticationError):
        await replica(Sts(error=DENIALS[0]), time, store).identify(forwardable(), new_trail())
    unlisted = FixedAccounts(frozenset({"444455556666"}))
    strangers = CachingIdentities(Sts(), unlisted, time.clock, time.timer, store=store)
    await strangers.identify(forwardable(), new_trail())
    assert store.records == {}


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"account":"999999999999"}', b"\xff", b"null"],
    ids=["empty", "object", "part", "bytes", "null"],
)
async def test_a_record_that_is_none_is_asked_about(time: Time, payload: bytes) -> None:
    store, sts = SharedStore(time), Sts()
    store.put("identity", request_digest(forwardable().request), payload, 900)
    trail = new_trail()
    await replica(sts, time, store).identify(forwardable(), trail)
    assert (sts.asked, trail.sts.cache) == (1, "miss")


async def test_another_credential_takes_nothing_out_of_the_store(time: Time) -> None:
    """I16, I19."""
    store, sts = SharedStore(time), Sts()
    await replica(Sts(), time, store).identify(forwardable(), new_trail())
    other = forwardable(Recipe(form=CredentialForm.NATIVE, expires=899).credential())
    await replica(sts, time, store).identify(other, new_trail())
    assert sts.asked == 1
