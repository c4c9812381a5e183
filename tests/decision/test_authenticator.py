"""The numbered steps in their order: which ports are called with what, and what the record contains."""

import gc
import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.api.known_calls import KnownCalls
from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.credential import encode_native
from app.core.errors import AuthenticationError, AuthError, AuthorizationError, CredentialError, UpstreamError
from app.core.forwarding import ForwardableRequest
from app.core.known_credential import KnownCredential, NewCredential
from app.core.principal import AdmittedPrincipal
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.decision.authenticator import Authenticator, Decision, DecisionPolicy
from app.decision.record import DecisionRecord, UpstreamCall
from app.emulator.identities import new_access_key_id
from app.settings.accounts import FixedAccounts
from app.sts.known_credentials import KnownCredentials
from tests.support.introductions import new_introductions
from tests.support.principals import PRINCIPAL
from tests.support.signing import ACCESS_KEY_ID, FORMS, HOST, NOW, REGION, Recipe, default_policy
from tests.support.world import DATAPLANE

NATIVE = Recipe(form=CredentialForm.NATIVE)
CLAIM = ProxyAssertion(
    type=ProxyType.DATAPLANE, mesh="default", name="demo-app-1", tags={"kuma.io/service": frozenset({"demo-app"})}
)


@dataclass
class Ports:
    """STS and IAM in memory. They know one session of one role, and keep their calls."""

    arn: str = PRINCIPAL.arn
    user_id: str = f"{PRINCIPAL.role_id}:{PRINCIPAL.session}"
    tags: tuple[tuple[str, str], ...] = tuple(DATAPLANE.items())
    sts_error: AuthError | None = None
    iam_error: AuthError | None = None
    requests: list[ForwardableRequest] = field(default_factory=list)
    principals: list[AdmittedPrincipal] = field(default_factory=list)

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:  # noqa: ARG002 - the port's
        self.requests.append(request)
        seen.request_id = "request-of-sts"
        if self.sts_error:
            raise self.sts_error
        return CallerIdentity(arn=parse_arn(self.arn), user_id=self.user_id, request_id="request-of-sts")

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:  # noqa: ARG002 - the port's
        self.principals.append(admitted)
        seen.request_id = "request-of-iam"
        if self.iam_error:
            raise self.iam_error
        principal = admitted.principal
        return RoleRecord(
            arn=f"arn:aws:iam::{principal.account}:role/workloads/{principal.role}",
            role_id=PRINCIPAL.role_id,
            name=principal.role,
            tags=self.tags,
            request_id="request-of-iam",
        )


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def trail() -> DecisionRecord:
    return DecisionRecord(request_id="request-1")


POLICY = DecisionPolicy(
    request=default_policy(), accounts=FixedAccounts(frozenset({PRINCIPAL.account})), enabled_types=frozenset(ProxyType)
)


def authenticator(ports: Ports, now: datetime = NOW, **changes: Any) -> Authenticator:
    policy, known = replace(POLICY, **changes), KnownCredentials(lambda: now)
    introductions = new_introductions(ports, known, policy.accounts, lambda: now)
    return Authenticator(policy, known, introductions, ports, lambda: now)


def new(text: str) -> NewCredential:
    return NewCredential(text, hashlib.sha256(text.encode()).digest())


def who(trail: DecisionRecord) -> tuple[str | None, ...]:
    signed_for = trail.signed_for or {"host": None, "region": None}
    return trail.access_key_id, trail.key_account, signed_for["host"], signed_for["region"]


async def refusal(
    decider: Authenticator, credential: str, trail: DecisionRecord, claim: ProxyAssertion | None = None
) -> AuthError:
    with pytest.raises(AuthError) as raised:
        await decider.authenticate(new(credential), claim, trail, 0.0)
    return raised.value


@pytest.mark.parametrize("form", FORMS)
async def test_authenticate_grants_what_the_role_and_the_proxy_agree_on(
    ports: Ports, trail: DecisionRecord, form: CredentialForm
) -> None:
    decision = await authenticator(ports).authenticate(new(Recipe(form=form).credential()), CLAIM, trail, 0.0)
    identity = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload=None, zone=None)
    assert decision == Decision(identity=identity, principal=PRINCIPAL, expires_at=NOW + timedelta(minutes=15))
    assert trail.form is form


async def test_authenticate_answers_the_identity_alone_when_nothing_is_claimed(
    ports: Ports, trail: DecisionRecord
) -> None:
    decision = await authenticator(ports).authenticate(new(NATIVE.credential()), None, trail, 0.0)
    assert decision.identity.service == "demo-app"


async def test_the_trail_holds_what_every_step_saw(ports: Ports, trail: DecisionRecord) -> None:
    now = NOW + timedelta(seconds=20)
    decision = await authenticator(ports, now).authenticate(new(NATIVE.credential()), CLAIM, trail, 0.0)
    assert (trail.form, trail.signed_at, trail.skew, trail.age) == (CredentialForm.NATIVE, NOW, -20.0, 20.0)
    assert who(trail) == (ACCESS_KEY_ID, None, HOST, REGION)
    assert trail.role is not None
    assert trail.role.tags == tuple(DATAPLANE.items())
    assert (trail.asserted, trail.granted, trail.principal) == (CLAIM, decision.identity, PRINCIPAL)
    assert (trail.sts.request_id, trail.iam.request_id) == ("request-of-sts", "request-of-iam")


# One credential for each local rule that can fail after decoding.
REJECTED: dict[str, Recipe] = {
    "credential_malformed": replace(NATIVE, path="/other"),
    "host_not_allowed": replace(NATIVE, host="sts.example.org"),
    "audience_missing": replace(NATIVE, audience=None),
    "scope_mismatch": replace(NATIVE, region="eu-west-3"),
    "credential_expired": replace(NATIVE, now=NOW - timedelta(hours=1)),
    "credential_not_yet_valid": replace(NATIVE, now=NOW + timedelta(hours=1)),
}


@pytest.mark.parametrize(("reason", "recipe"), REJECTED.items(), ids=REJECTED)
async def test_a_rejected_credential_leaves_its_key_its_destination_and_its_age(
    ports: Ports, trail: DecisionRecord, reason: str, recipe: Recipe
) -> None:
    """The audit line must tell an operator who sent a rejected credential."""
    recipe = replace(recipe, access_key_id=new_access_key_id("ASIA", "444455556666"))
    error = await refusal(authenticator(ports), recipe.credential(), trail)
    assert error.reason.value == reason
    assert who(trail) == (recipe.access_key_id, "444455556666", recipe.host, recipe.region)
    assert trail.age == (NOW - recipe.now).total_seconds()


@pytest.mark.parametrize(
    "recipe",
    [
        replace(NATIVE, host="user:secret@sts.amazonaws.com"),
        replace(NATIVE, host="f" * 64),
        replace(NATIVE, host="a." * 126 + "amazonaws.com"),
        replace(NATIVE, region="f" * 64),
        replace(NATIVE, region="eu_west_1"),
    ],
    ids=["userinfo", "signature-as-host", "long-host", "signature-as-region", "no-region"],
)
async def test_a_place_that_can_be_none_is_not_recorded(ports: Ports, trail: DecisionRecord, recipe: Recipe) -> None:
    """I22: a client can put a signature or a password in the place of a host or a region."""
    await refusal(authenticator(ports), recipe.credential(), trail)
    assert who(trail) == (
        ACCESS_KEY_ID,
        None,
        HOST if recipe.host == HOST else None,
        REGION if recipe.region == REGION else None,
    )


async def test_a_credential_that_cannot_be_decoded_leaves_the_key_that_it_seems_to_have(
    ports: Ports, trail: DecisionRecord
) -> None:
    url = NATIVE.sign().url.replace("X-Amz-Date=", "X-Amz-Other=")
    error = await refusal(authenticator(ports), encode_native(url), trail)
    assert error.reason is Reason.CREDENTIAL_MALFORMED
    assert who(trail) == (ACCESS_KEY_ID, None, None, None)


async def test_text_that_is_no_credential_leaves_nothing(ports: Ports, trail: DecisionRecord) -> None:
    await refusal(authenticator(ports), "no credential", trail)
    assert who(trail) == (None, None, None, None)


async def test_a_verdict_ends_with_the_signature(ports: Ports, trail: DecisionRecord) -> None:
    recipe = replace(NATIVE, expires=60)
    decision = await authenticator(ports).authenticate(new(recipe.credential()), None, trail, 0.0)
    assert decision.expires_at == NOW + timedelta(seconds=60)


LOCAL = {
    Reason.CREDENTIAL_MALFORMED: (NATIVE.credential() + "=", NOW),
    Reason.HOST_NOT_ALLOWED: (replace(NATIVE, host="sts.evil.example").credential(), NOW),
    Reason.AUDIENCE_MISSING: (replace(NATIVE, audience=None).credential(), NOW),
    Reason.AUDIENCE_MISMATCH: (replace(NATIVE, audience_header="x-k8s-aws-id").credential(), NOW),
    Reason.SCOPE_MISMATCH: (replace(NATIVE, region="eu-west-1").credential(), NOW),
    Reason.CREDENTIAL_EXPIRED: (NATIVE.credential(), NOW + timedelta(minutes=15, microseconds=1)),
    Reason.CREDENTIAL_NOT_YET_VALID: (NATIVE.credential(), NOW - timedelta(minutes=5, microseconds=1)),
}


@pytest.mark.parametrize("reason", LOCAL)
async def test_nobody_is_asked_before_every_local_rule_has_passed(
    ports: Ports, trail: DecisionRecord, reason: Reason
) -> None:
    credential, now = LOCAL[reason]
    error = await refusal(authenticator(ports, now), credential, trail)
    assert isinstance(error, CredentialError)
    assert error.reason is reason
    assert (ports.requests, ports.principals) == ([], [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arn": "arn:aws:iam::111122223333:user/alice", "user_id": "AIDAEXAMPLE"}, Reason.PRINCIPAL_NOT_A_ROLE),
        ({"arn": "arn:aws:iam::111122223333:root", "user_id": "111122223333"}, Reason.PRINCIPAL_NOT_A_ROLE),
        ({"arn": PRINCIPAL.arn.replace("1111", "9999")}, Reason.ACCOUNT_NOT_AUTHORIZED),
        ({"sts_error": AuthenticationError(Reason.STS_REJECTED, "seen")}, Reason.STS_REJECTED),
        ({"sts_error": UpstreamError(Reason.STS_THROTTLED, "seen")}, Reason.STS_THROTTLED),
    ],
    ids=["user", "root", "account", "rejected", "throttled"],
)
async def test_iam_is_not_asked_before_a_listed_role_has_signed(
    ports: Ports, trail: DecisionRecord, changes: dict[str, Any], reason: Reason
) -> None:
    """I12: an account that is not in the list costs no IAM call."""
    ports = replace(ports, **changes)
    assert (await refusal(authenticator(ports), NATIVE.credential(), trail)).reason is reason
    assert (len(ports.requests), ports.principals) == (1, [])


async def test_iam_is_asked_for_the_principal_that_sts_named(ports: Ports, trail: DecisionRecord) -> None:
    await authenticator(ports).authenticate(new(NATIVE.credential()), None, trail, 0.0)
    assert ports.principals == [AdmittedPrincipal(PRINCIPAL)]


async def test_an_error_of_iam_goes_out_as_it_came(ports: Ports, trail: DecisionRecord) -> None:
    ports.iam_error = AuthorizationError(Reason.ROLE_NOT_FOUND, "seen")
    assert await refusal(authenticator(ports), NATIVE.credential(), trail) is ports.iam_error
    assert trail.granted is None


async def test_the_settings_reach_the_steps(ports: Ports, trail: DecisionRecord) -> None:
    ports.tags = tuple((key, value) for key, value in DATAPLANE.items() if key != "kuma.io/service")
    error = await refusal(authenticator(ports, require_service=True), NATIVE.credential(), trail)
    assert error.reason is Reason.ROLE_SERVICE_MISSING
    error = await refusal(authenticator(ports, enabled_types=frozenset({ProxyType.EGRESS})), NATIVE.credential(), trail)
    assert error.reason is Reason.PROXY_TYPE_DISABLED


async def test_a_claim_that_the_role_does_not_cover_is_denied_after_all_else(
    ports: Ports, trail: DecisionRecord
) -> None:
    claim = replace(CLAIM, mesh="payments")
    error = await refusal(authenticator(ports), NATIVE.credential(), trail, claim)
    assert error.reason is Reason.PROXY_MESH_MISMATCH
    assert (trail.asserted, trail.granted, trail.principal) == (claim, None, PRINCIPAL)
    assert (len(ports.requests), len(ports.principals)) == (1, 1)


# A credential that is presented again: only facts that depend on its bytes are cached.


@dataclass
class Moving:
    """An authenticator whose clock and accounts the test can change."""

    ports: Ports
    now: datetime = NOW
    accounts: set[str] = field(default_factory=lambda: {PRINCIPAL.account})

    def __post_init__(self) -> None:
        policy = replace(POLICY, accounts=self)
        known = self.known = KnownCredentials(lambda: NOW, lambda: 0.0)  # its entries do not expire
        self.calls = KnownCalls(known)
        introductions = new_introductions(self.ports, known, self, lambda: self.now, timer=lambda: 0.0)
        self.decider = Authenticator(policy, known, introductions, self.ports, lambda: self.now)

    def current(self) -> set[str]:
        return self.accounts

    async def present(
        self, claim: ProxyAssertion | None = CLAIM, text: str | None = None
    ) -> tuple[Decision, DecisionRecord]:
        trail = DecisionRecord(request_id="request-2")
        credential = self.calls.recall(text or NATIVE.credential())
        return await self.decider.authenticate(credential, claim, trail, 0.0), trail

    async def refused(self, claim: ProxyAssertion | None = CLAIM) -> Reason:
        with pytest.raises(AuthError) as raised:
            await self.present(claim)
        return raised.value.reason


@pytest.fixture
def moving(ports: Ports) -> Moving:
    return Moving(ports)


async def test_the_same_text_is_decided_alike_without_sts(moving: Moving) -> None:
    first, _ = await moving.present()
    second, trail = await moving.present()
    assert second == first
    assert len(moving.ports.requests) == 1
    assert (trail.sts.cache, trail.sts.request_id) == ("hit", "request-of-sts")
    assert (trail.form, trail.signed_at, trail.principal, trail.granted) == (
        CredentialForm.NATIVE,
        NOW,
        PRINCIPAL,
        first.identity,
    )
    assert who(trail) == (ACCESS_KEY_ID, None, HOST, REGION)
    assert trail.role is not None


async def test_only_an_approval_approves_a_known_credential(moving: Moving) -> None:
    """I20: an approved credential has a place in the cache that no refused caller can take."""

    def is_approved() -> bool:
        known = moving.calls.recall(NATIVE.credential())
        assert isinstance(known, KnownCredential)
        return known.is_approved

    assert await moving.refused(replace(CLAIM, mesh="payments")) is Reason.PROXY_MESH_MISMATCH
    assert not is_approved()
    await moving.present()
    assert is_approved()


async def test_a_denial_because_of_the_tags_leaves_the_tags(moving: Moving) -> None:
    """The decision can be replayed against a changed policy from its audit line, also if the credential was cached."""
    tags = {**DATAPLANE, "kuma.io/mesh": "payments", "Cost": "7", "KUMA.IO/zone": "z"}
    moving.ports.tags = tuple(tags.items())
    for cache in ("miss", "hit"):
        trail = DecisionRecord(request_id="request-2")
        with pytest.raises(AuthorizationError):
            await moving.decider.authenticate(moving.calls.recall(NATIVE.credential()), CLAIM, trail, 0.0)
        assert trail.sts.cache == cache
        assert trail.role is not None
        assert trail.role.noted == {
            "role_id": PRINCIPAL.role_id,
            "path": "/workloads/",
            "tags": {key: value for key, value in tags.items() if key != "Cost"},
        }


async def test_a_credential_that_sts_rejected_is_rejected_again_without_sts(moving: Moving) -> None:
    """A refused proxy retries every second. Each audit line has as many facts as the first one."""
    moving.ports.sts_error = AuthenticationError(Reason.STS_REJECTED, "seen")
    for cache in ("miss", "hit", "hit"):
        trail = DecisionRecord(request_id="request-2")
        with pytest.raises(AuthenticationError) as raised:
            await moving.decider.authenticate(moving.calls.recall(NATIVE.credential()), CLAIM, trail, 0.0)
        assert raised.value.reason is Reason.STS_REJECTED
        assert (trail.sts.cache, trail.form, trail.signed_at) == (cache, CredentialForm.NATIVE, NOW)
        assert (trail.asserted, trail.principal, trail.granted) == (CLAIM, None, None)
        assert who(trail) == (ACCESS_KEY_ID, None, HOST, REGION)
    assert len(moving.ports.requests) == 1


async def test_another_text_of_the_same_role_is_asked_about(moving: Moving) -> None:
    await moving.present()
    await moving.present(text=replace(NATIVE, expires=899).credential())
    assert len(moving.ports.requests) == 2


async def test_the_age_of_a_known_text_is_looked_at(moving: Moving) -> None:
    """I7."""
    await moving.present()
    moving.now = NOW + timedelta(minutes=15, microseconds=1)
    assert await moving.refused() is Reason.CREDENTIAL_EXPIRED
    moving.now = NOW - timedelta(minutes=5, microseconds=1)
    assert await moving.refused() is Reason.CREDENTIAL_NOT_YET_VALID


async def test_the_account_of_a_known_text_is_looked_at(moving: Moving) -> None:
    """I12."""
    await moving.present()
    moving.accounts = {"999999999999"}
    assert await moving.refused() is Reason.ACCOUNT_NOT_AUTHORIZED
    assert len(moving.ports.principals) == 1


async def test_the_tags_behind_a_known_text_are_looked_at(moving: Moving) -> None:
    await moving.present()
    moving.ports.tags = tuple({**DATAPLANE, "kuma.io/mesh": "payments"}.items())
    assert await moving.refused() is Reason.PROXY_MESH_MISMATCH


async def test_the_claim_beside_a_known_text_is_looked_at(moving: Moving) -> None:
    """I15."""
    await moving.present()
    assert await moving.refused(replace(CLAIM, mesh="payments")) is Reason.PROXY_MESH_MISMATCH


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arn": PRINCIPAL.arn.replace("1111", "9999")}, Reason.ACCOUNT_NOT_AUTHORIZED),
        ({"arn": "arn:aws:iam::111122223333:root", "user_id": "111122223333"}, Reason.PRINCIPAL_NOT_A_ROLE),
        ({"sts_error": AuthenticationError(Reason.STS_REJECTED, "seen")}, Reason.STS_REJECTED),
        ({"sts_error": UpstreamError(Reason.STS_UNAVAILABLE, "seen")}, Reason.STS_UNAVAILABLE),
    ],
    ids=["stranger", "root", "rejected", "unavailable"],
)
async def test_a_text_that_was_not_let_in_is_not_known(ports: Ports, changes: dict[str, Any], reason: Reason) -> None:
    """Refused callers must not use the places of approved ones, and an outage must not be cached (I18)."""
    moving = Moving(replace(ports, **changes))
    for _ in range(2):
        assert await moving.refused() is reason
    assert len(moving.known) == 0
    assert len(moving.ports.requests) == (2 if reason is Reason.STS_UNAVAILABLE else 1)


async def test_a_credential_that_expires_while_sts_is_asked_is_refused() -> None:
    class Slow(Ports):
        async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:
            decider.now = NOW + timedelta(minutes=16)
            return await super().identify(request, seen, deadline)

    decider = Moving(Slow())
    assert await decider.refused() is Reason.CREDENTIAL_EXPIRED


async def test_a_role_that_is_read_again_leaves_nothing_behind() -> None:
    """IAM answers with a new request id each time. The values that were read from a role must go when the role goes."""

    class Refreshed(Ports):
        async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
            record = await super().fetch_role(admitted, seen, deadline)
            return replace(record, request_id=f"request-{len(self.principals)}")

    def held() -> int:
        gc.collect()
        return sum(isinstance(each, RoleRecord) for each in gc.get_objects())

    moving = Moving(Refreshed())
    await moving.present()
    before = held()
    for _ in range(100):
        await moving.present()
    assert held() - before <= 1


NOBODY = FixedAccounts(frozenset())


@pytest.mark.parametrize("empty", ["accounts", "enabled_types"])
def test_a_policy_without_accounts_or_types_is_refused(empty: str) -> None:
    """I21: an empty list is a mistake in the program, and never means everybody."""
    with pytest.raises(ValueError, match="at least one"):
        replace(POLICY, **{empty: NOBODY if empty == "accounts" else frozenset()})  # type: ignore[arg-type]
