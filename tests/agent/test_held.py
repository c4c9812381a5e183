"""What a token file contains, and until when it is valid, from its text alone."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agent.held import Held, HeldError, check_file, parse_held
from app.core.signed_request import CredentialForm
from tests.support.patience import PATIENCE
from tests.support.signing import NOW, Recipe, base64url, jwt
from tests.support.token_service import make_token
from tests.support.tokens import DATAPLANE_CLAIMS, DATAPLANE_HEADER, ISSUED

CREDENTIAL = Recipe(form=CredentialForm.JWT).credential()
END = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
TOKEN = jwt({"alg": "RS256", "kid": "k"}, {"exp": int(END.timestamp())}, "c2ln")


def service_token(validity: int) -> str:
    """Return a token with the claims of the service's own tokens."""
    return jwt(dict(DATAPLANE_HEADER), {**DATAPLANE_CLAIMS, "exp": ISSUED + validity}, "c2ln")


def test_a_credential_ends_fifteen_minutes_after_its_signature() -> None:
    held = parse_held(CREDENTIAL)
    assert (held.kind, held.ends_at) == ("credential", NOW.replace(microsecond=0) + timedelta(minutes=15))
    assert held.life == timedelta(minutes=15)


def test_a_credential_that_is_signed_for_less_ends_sooner() -> None:
    text = Recipe(form=CredentialForm.JWT, expires=60).credential()
    assert parse_held(text).ends_at == NOW.replace(microsecond=0) + timedelta(seconds=60)


def test_a_token_ends_when_it_says() -> None:
    assert parse_held(TOKEN) == Held("token", END, None)


def test_a_token_lives_from_its_issue_which_is_not_its_backdated_iat() -> None:
    issued_at = datetime.fromtimestamp(ISSUED, UTC)
    assert parse_held(service_token(300)) == Held(
        "token", issued_at + timedelta(minutes=5), issued_at, "0b6f2c1e-6a55-4f0c-9c56-0d5a9e0a4b11"
    )


@pytest.mark.parametrize("dated", [True, "1", 1e300, -1, None, int(END.timestamp())])
def test_a_token_that_says_no_moment_of_its_issue_has_an_end_all_the_same(dated: object) -> None:
    text = jwt({"alg": "RS256"}, {"exp": int(END.timestamp()), "iat": dated}, "c2ln")
    assert parse_held(text) == Held("token", END, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        f"{TOKEN}\n",
        f"{CREDENTIAL}\n",
        f" {TOKEN}",
        TOKEN.rpartition(".")[0] + ".",
        jwt({"alg": "RS256"}, {}, "c2ln"),
        jwt({"alg": "RS256"}, {"exp": "1"}, "c2ln"),
        jwt({"alg": "RS256"}, {"exp": True}, "c2ln"),
        jwt({"alg": "RS256"}, {"exp": 1e300}, "c2ln"),
        jwt({"alg": "RS256"}, {"exp": -1}, "c2ln"),
        f"e30.{base64url('[1]')}.c2ln",
        "e30.e30.c2ln.c2ln",
        "x" * 20_000,
    ],
)
def test_what_is_neither_is_told_without_its_text(text: str) -> None:
    with pytest.raises(HeldError) as error:
        parse_held(text)
    assert len(str(error.value)) < 100


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='aeyJ0.-_=\n{}[]"', max_size=80) | st.text(max_size=40))
def test_any_text_is_held_or_refused(text: str) -> None:
    try:
        held = parse_held(text)
    except HeldError:
        return
    assert held.ends_at.tzinfo is UTC


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9), st.lists, max_leaves=3)
)
def test_any_end_of_a_token_is_a_moment_or_refused(end: object) -> None:
    text = f"e30.{base64url(json.dumps({'exp': end}))}.c2ln"
    try:
        held = parse_held(text)
    except HeldError:
        return
    assert held.ends_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(minutes=5), None),
        (timedelta(seconds=59), "the token ends in 59 s"),
        (timedelta(0), "the token ended 0 s ago"),
        (timedelta(minutes=-2), "the token ended 120 s ago"),
    ],
)
def test_a_file_is_good_until_its_end_is_near(tmp_path: Path, left: timedelta, words: str | None) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    fault = check_file(path, END - left)[1]
    assert fault is None if words is None else words in (fault or "")


@pytest.mark.parametrize(
    ("validity", "left", "words"),
    [(300, 25, None), (300, 24, "25 s before"), (60, 5, None), (60, 4, "5 s before"), (3600, 59, "60 s before")],
)
def test_the_end_of_a_token_that_lives_shortly_is_near_later(
    tmp_path: Path, validity: int, left: int, words: str | None
) -> None:
    """Otherwise the health check of a token with a short life would fail before the agent renews it."""
    path = tmp_path / "token"
    path.write_text(service_token(validity))
    fault = check_file(path, datetime.fromtimestamp(ISSUED + validity - left, UTC))[1]
    assert fault is None if words is None else words in (fault or "")


@pytest.mark.parametrize(
    ("ahead", "words"), [(300, None), (301, "signed 301 s ahead of this host's clock"), (3600, "3600 s ahead")]
)
def test_a_credential_from_before_the_clock_was_set_back_is_told(tmp_path: Path, ahead: int, words: str | None) -> None:
    path = tmp_path / "token"
    path.write_text(CREDENTIAL)
    fault = check_file(path, NOW.replace(microsecond=0) - timedelta(seconds=ahead))[1]
    assert fault is None if words is None else words in (fault or "")


def test_a_token_that_is_issued_ahead_is_for_the_control_planes_clock(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(service_token(300))
    assert check_file(path, datetime.fromtimestamp(ISSUED - 3600, UTC))[1] is None


def test_files_that_no_proxy_can_use_are_told(tmp_path: Path) -> None:
    path = tmp_path / "token"
    now = datetime.now(UTC)
    assert check_file(path, now)[1] == "it is not there"
    path.write_bytes(b"\xff\xfe")
    assert "ASCII" in (check_file(path, now)[1] or "")
    path.write_text(make_token() + "\n")
    assert "newline" in (check_file(path, now)[1] or "")
    assert "cannot be read" in (check_file(tmp_path, now)[1] or "")


def test_a_fifo_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """Opening a FIFO for reading blocks until a writer opens it, which may never happen."""
    path = tmp_path / "token"
    os.mkfifo(path)
    told: SimpleQueue[str | None] = SimpleQueue()
    Thread(target=lambda: told.put(check_file(path, END)[1]), daemon=True).start()
    try:
        fault = told.get(timeout=PATIENCE)
    except Empty:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # ends the thread
        pytest.fail("the FIFO is waited for")
    assert fault == "it is no regular file"
