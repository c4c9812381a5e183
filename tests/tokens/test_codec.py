from dataclasses import replace
from datetime import timedelta

import pytest

from app.core.credential import NATIVE_PREFIX
from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.tokens.claims import TokenLife
from app.tokens.codec import (
    LEEWAY_SECONDS,
    MAX_TOKEN_CHARS,
    end_of,
    is_key_id,
    looks_like_token,
    parse_token,
    require_current,
    seconds_of,
)
from tests.support.signing import FORMS, NOW, Recipe
from tests.support.tokens import DATAPLANE_CLAIMS, HOUR, ISSUED, MALFORMED, make_token

LIFE = TokenLife(jti="jti", issued_at=ISSUED, expires_at=ISSUED + HOUR)


def test_a_token_is_taken_apart() -> None:
    token = parse_token(make_token())
    assert token.kid == "dp-1"
    assert token.claims == DATAPLANE_CLAIMS
    assert "demo-app" not in repr(token)


@pytest.mark.parametrize("text", [text for _, text in MALFORMED], ids=[name for name, _ in MALFORMED])
def test_what_is_no_token_of_one_spelling_is_rejected(text: str) -> None:
    with pytest.raises(CredentialError) as raised:
        parse_token(text)
    assert raised.value.reason is Reason.TOKEN_REJECTED


def test_a_token_may_be_so_long_and_no_longer() -> None:
    assert MAX_TOKEN_CHARS == 12288
    head, claims, _ = make_token().split(".")
    room = MAX_TOKEN_CHARS - len(f"{head}.{claims}.")
    assert parse_token(f"{head}.{claims}.{'A' * room}").kid == "dp-1", (
        "room is no number of characters that none encodes"
    )
    with pytest.raises(CredentialError, match="6 KiB"):
        parse_token(f"{head}.{claims}.{'A' * (room + 1)}")


@pytest.mark.parametrize("form", FORMS)
def test_no_credential_looks_like_a_token(form: object) -> None:
    assert not looks_like_token(Recipe(form=form).credential())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", ".", "..", "eyJ", "eyJ.b", "eyJ.b.", "a.eyJ.c", ".eyJ.c", "eyJ.b.c.d", "{a.b.c", f"{NATIVE_PREFIX}b.c"]
)
def test_only_three_full_parts_look_like_a_token(text: str) -> None:
    assert not looks_like_token(text)


def test_a_token_looks_like_one() -> None:
    assert looks_like_token(make_token())
    assert looks_like_token("eyJ.b.c")


@pytest.mark.parametrize("text", ["dp-1", "A.b_c-1", "1a", "x" * 64, "-", "."])
def test_a_key_id(text: str) -> None:
    assert is_key_id(text)


@pytest.mark.parametrize("text", ["", "1", "0042", "x" * 65, "a b", "a/b", "a\n", "ü", "a:b"])
def test_no_key_id(text: str) -> None:
    """Kuma numbers its own keys, so a number alone is one of Kuma's ids."""
    assert not is_key_id(text)


@pytest.mark.parametrize("seconds", [-LEEWAY_SECONDS, 0, HOUR - 1])
def test_a_token_holds_from_its_issue_to_its_end(seconds: int) -> None:
    assert require_current(LIFE, NOW + timedelta(seconds=seconds)) == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (HOUR, Reason.CREDENTIAL_EXPIRED),
        (HOUR + 1, Reason.CREDENTIAL_EXPIRED),
        (-LEEWAY_SECONDS - 1, Reason.CREDENTIAL_NOT_YET_VALID),
    ],
)
def test_a_token_holds_no_longer_and_no_earlier(seconds: int, reason: Reason) -> None:
    with pytest.raises(CredentialError) as raised:
        require_current(LIFE, NOW + timedelta(seconds=seconds))
    assert raised.value.reason is reason


@pytest.mark.parametrize("validity", [1, 86_400])
def test_a_token_lives_a_day_at_most(validity: int) -> None:
    require_current(replace(LIFE, expires_at=ISSUED + validity), NOW)


@pytest.mark.parametrize("validity", [0, -1, 86_401, 10**30])
def test_a_token_that_lives_longer_than_a_day_is_rejected(validity: int) -> None:
    with pytest.raises(CredentialError) as raised:
        require_current(replace(LIFE, expires_at=ISSUED + validity), NOW)
    assert raised.value.reason is Reason.TOKEN_REJECTED


def test_moments_are_whole_seconds() -> None:
    assert seconds_of(NOW + timedelta(microseconds=999_999)) == ISSUED
    assert end_of(LIFE) == NOW + timedelta(hours=1)
