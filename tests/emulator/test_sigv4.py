"""The emulator really verifies signatures: a signed part cannot be changed, and an unsigned part can."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from app.emulator import Emulator, SessionCredentials, World
from tests.emulator.conftest import ACCOUNT, MovableClock
from tests.emulator.signing import (
    IDENTITY,
    Message,
    presign,
    sign,
    sign_by_hand,
    with_other_secret,
    with_other_token,
)

AUDIENCE = {"x-kuma-audience": "kuma-control-plane"}

Change = Callable[[Message], Message]


def test_presigned_get_with_a_signed_audience_header_is_accepted(
    emulator: Emulator, credentials: SessionCredentials
) -> None:
    answer = presign(credentials, headers=AUDIENCE).send(emulator.url)

    assert answer.status == 200
    assert answer.element("Arn") == f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/task-1"


def test_header_signed_post_is_accepted(emulator: Emulator, credentials: SessionCredentials) -> None:
    assert sign(credentials, headers=AUDIENCE).send(emulator.url).status == 200


def test_header_signed_get_is_accepted(emulator: Emulator, credentials: SessionCredentials) -> None:
    assert sign(credentials, method="GET", query=IDENTITY).send(emulator.url).status == 200


def test_key_of_a_user_has_no_token(emulator: Emulator) -> None:
    user = emulator.world.add_user(ACCOUNT, "alice", path="/people/")

    answer = presign(user).send(emulator.url)

    assert answer.element("Arn") == f"arn:aws:iam::{ACCOUNT}:user/people/alice"
    assert answer.element("UserId") == user.principal.user_id


def test_root_and_federated_users_are_told_apart_from_roles(emulator: Emulator) -> None:
    root = presign(emulator.world.add_user(ACCOUNT, "root")).send(emulator.url)
    federated = presign(emulator.world.issue_federated_user(ACCOUNT, "bob")).send(emulator.url)

    assert (root.element("Arn"), root.element("UserId")) == (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert federated.element("Arn") == f"arn:aws:sts::{ACCOUNT}:federated-user/bob"


@pytest.mark.parametrize("signer", [presign, sign])
def test_wrong_secret_is_a_mismatch(
    emulator: Emulator, credentials: SessionCredentials, signer: Callable[..., Message]
) -> None:
    answer = signer(with_other_secret(credentials)).send(emulator.url)

    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert "Check your AWS Secret Access Key" in (answer.message or "")


TAMPERED_GET: dict[str, Change] = {
    "host": lambda m: replace(m, host="sts.amazonaws.com:443"),
    "signed-header": lambda m: m.with_headers(("x-kuma-audience", "another")),
    "signed-header-missing": lambda m: m.without_header("x-kuma-audience"),
    "signed-header-twice": lambda m: replace(m, headers=(*m.headers, ("x-kuma-audience", "another"))),
    "action": lambda m: m.changed("Action=GetCallerIdentity", "Action=AssumeRole"),
    "version-appended": lambda m: replace(m, target=m.target + "&Version=2011-06-15"),
    "extra-parameter": lambda m: replace(m, target=m.target + "&Extra=1"),
    "expires": lambda m: m.changed("X-Amz-Expires=60", "X-Amz-Expires=61"),
    "signature": lambda m: replace(m, target=m.target[:-4] + "0000"),
    "signed-headers": lambda m: m.changed("host%3Bx-kuma-audience", "host"),
    "body": lambda m: replace(m, body=b"Action=GetCallerIdentity").with_headers(("Content-Type", "text/plain")),
}


@pytest.mark.parametrize("change", TAMPERED_GET.values(), ids=TAMPERED_GET.keys())
def test_tampered_presigned_get_is_a_mismatch(
    emulator: Emulator, credentials: SessionCredentials, change: Change
) -> None:
    message = presign(credentials, headers=AUDIENCE, host="sts.amazonaws.com", region="us-east-1")
    assert message.send(emulator.url).status == 200

    answer = change(message).send(emulator.url)

    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def _authorization(message: Message, old: str, new: str) -> Message:
    value = dict(message.headers)["Authorization"]
    assert old in value
    return message.with_headers(("Authorization", value.replace(old, new)))


TAMPERED_POST: dict[str, Change] = {
    "host": lambda m: replace(m, host="sts.amazonaws.com:443"),
    "body": lambda m: replace(m, body=m.body + b"&Extra=1"),
    "action-by-query": lambda m: replace(m, target="/?Action=GetCallerIdentity"),
    "signed-header": lambda m: m.with_headers(("x-kuma-audience", "another")),
    "date": lambda m: m.with_headers(("X-Amz-Date", f"{m.date - timedelta(seconds=1):%Y%m%dT%H%M%SZ}")),
    "name-appended-that-stands-for-nothing": lambda m: _authorization(m, "x-kuma-audience,", "x-kuma-audience;x-z,"),
    "names-out-of-order": lambda m: _authorization(m, "content-type;host", "host;content-type"),
    "host-not-signed": lambda m: _authorization(m, "host;", ""),
    "content-hash-of-another-body": lambda m: replace(m, body=m.body + b"&Extra=1").with_headers(
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    ),
}


@pytest.mark.parametrize("change", TAMPERED_POST.values(), ids=TAMPERED_POST.keys())
def test_tampered_post_is_a_mismatch(emulator: Emulator, credentials: SessionCredentials, change: Change) -> None:
    message = sign(credentials, headers=AUDIENCE, host="sts.amazonaws.com", region="us-east-1")
    assert message.send(emulator.url).status == 200

    answer = change(message).send(emulator.url)

    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("signer", [presign, sign])
def test_unsigned_header_changes_nothing(
    emulator: Emulator, credentials: SessionCredentials, signer: Callable[..., Message]
) -> None:
    message = signer(credentials).with_headers(("x-kuma-audience", "anything"), ("User-Agent", "anyone"))

    assert message.send(emulator.url).status == 200


def test_headers_that_botocore_never_signs_count_when_they_are_signed(
    emulator: Emulator, credentials: SessionCredentials
) -> None:
    """Other SDKs sign `user-agent`, which botocore never signs."""
    message = sign_by_hand(credentials, {"user-agent": "some  sdk", "x-kuma-audience": "kuma-control-plane"})

    assert message.send(emulator.url).status == 200
    assert message.with_headers(("user-agent", "another")).send(emulator.url).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("eu-west-1", "us-east-1", "Credential should be scoped to a valid region."),
        ("%2Fsts%2F", "%2Fiam%2F", "Credential should be scoped to correct service: 'sts'."),
        ("aws4_request", "aws5_request", "Credential should be scoped with a valid terminator: 'aws4_request'."),
    ],
    ids=["region", "service", "terminator"],
)
def test_wrong_scope_is_refused_before_the_key_is_looked_at(
    emulator: Emulator, credentials: SessionCredentials, old: str, new: str, sentence: str
) -> None:
    message = presign(replace(credentials, access_key_id="ASIAUNKNOWN"))

    answer = message.changed(old, new).send(emulator.url)

    assert (answer.status, answer.code, answer.message) == (403, "SignatureDoesNotMatch", sentence)


def test_unknown_key_is_invalid(emulator: Emulator, credentials: SessionCredentials) -> None:
    answer = presign(replace(credentials, access_key_id="ASIAUNKNOWN")).send(emulator.url)

    assert (answer.status, answer.code) == (403, "InvalidClientTokenId")


def test_token_of_another_session_is_invalid_before_the_signature(
    emulator: Emulator, credentials: SessionCredentials
) -> None:
    other = emulator.issue(ACCOUNT, "demo-app", "task-2")

    swapped = presign(with_other_token(credentials, other.session_token)).send(emulator.url)
    missing = sign(credentials).without_header("x-amz-security-token").send(emulator.url)

    assert (swapped.code, missing.code) == ("InvalidClientTokenId", "InvalidClientTokenId")


def test_key_of_another_partition_is_invalid(emulator: Emulator) -> None:
    chinese = emulator.issue("777788889999", "demo-app", "task-1")
    host = "sts.cn-north-1.amazonaws.com.cn"

    assert presign(chinese, host=host, region="cn-north-1").send(emulator.url).status == 200
    assert presign(chinese).send(emulator.url).code == "InvalidClientTokenId"


def test_session_dies_with_its_role_even_when_the_name_comes_back(world: World, emulator: Emulator) -> None:
    first = world.add_role(ACCOUNT, "short-lived")
    session = emulator.issue(ACCOUNT, "short-lived", "task-1")
    assert presign(session).send(emulator.url).status == 200

    world.delete_role(ACCOUNT, "short-lived")
    deleted = presign(session).send(emulator.url)
    second = world.add_role(ACCOUNT, "short-lived")
    recreated = presign(session).send(emulator.url)

    assert (deleted.code, recreated.code) == ("InvalidClientTokenId", "InvalidClientTokenId")
    assert first.role_id != second.role_id


def test_expired_session_says_so_even_when_its_role_is_gone_and_its_secret_wrong(
    world: World, emulator: Emulator, clock: MovableClock
) -> None:
    world.add_role(ACCOUNT, "expiring")
    session = emulator.issue(ACCOUNT, "expiring", "task-1")
    world.delete_role(ACCOUNT, "expiring")
    clock.fixed = session.expiration

    answer = presign(with_other_secret(session)).send(emulator.url)

    assert (answer.status, answer.code) == (403, "ExpiredToken")


@pytest.mark.parametrize("signer", [presign, sign])
@pytest.mark.parametrize(
    ("age", "sentence"),
    [
        (timedelta(minutes=15), None),
        (timedelta(minutes=15, seconds=1), "Signature expired"),
        (timedelta(minutes=-15), None),
        (timedelta(minutes=-15, seconds=-1), "Signature not yet current"),
    ],
    ids=["oldest", "too-old", "newest", "too-new"],
)
def test_signature_lives_fifteen_minutes_on_either_side(
    emulator: Emulator, clock: MovableClock, signer: Callable[..., Message], age: timedelta, sentence: str | None
) -> None:
    credentials = emulator.issue(ACCOUNT, "demo-app", "task-1")
    message = signer(credentials)
    clock.fixed = message.date + age

    answer = message.send(emulator.url)

    assert answer.code == (None if sentence is None else "SignatureDoesNotMatch")
    assert (answer.message or "").partition(":")[0] == (sentence or "")


def test_expires_is_ignored_as_sts_does(
    emulator: Emulator, credentials: SessionCredentials, clock: MovableClock
) -> None:
    message = presign(credentials, expires=1)
    clock.fixed = message.date + timedelta(minutes=14)

    assert message.send(emulator.url).status == 200


def test_date_of_the_scope_must_be_the_signing_date(emulator: Emulator, credentials: SessionCredentials) -> None:
    message = presign(credentials)
    day = f"{message.date:%Y%m%d}"

    answer = message.changed(f"%2F{day}%2F", "%2F20200101%2F").send(emulator.url)

    assert answer.code == "SignatureDoesNotMatch"
    assert (answer.message or "").startswith("Date in Credential scope does not match")


def test_request_without_a_signature_is_told_so(emulator: Emulator) -> None:
    answer = Message(target=f"/?{IDENTITY}").send(emulator.url)

    assert (answer.status, answer.code) == (403, "MissingAuthenticationToken")


HALF_SIGNED: dict[str, Change] = {
    "query-without-signature": lambda m: replace(m, target=m.target.partition("&X-Amz-Signature")[0]),
    "query-of-another-algorithm": lambda m: m.changed("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
    "query-with-a-short-credential": lambda m: m.changed("%2Faws4_request", ""),
    "query-with-a-date-that-is-none": lambda m: m.changed(f"Date={m.date:%Y%m%d}", f"Date={m.date:%Y}9999"),
    "query-with-a-date-in-words": lambda m: m.changed("X-Amz-Date=2", "X-Amz-Date=yesterday"),
    "header-of-another-algorithm": lambda m: m.with_headers(("Authorization", "Bearer x")),
    "header-without-signature": lambda m: m.with_headers(
        ("Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host")
    ),
    "header-without-date": lambda m: m.with_headers(
        ("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=00")
    ),
}


@pytest.mark.parametrize("change", HALF_SIGNED.values(), ids=HALF_SIGNED.keys())
def test_half_a_signature_is_incomplete(emulator: Emulator, credentials: SessionCredentials, change: Change) -> None:
    answer = change(presign(credentials)).send(emulator.url)

    assert (answer.status, answer.code) == (400, "IncompleteSignature")
