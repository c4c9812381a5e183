"""The account that a key id encodes, by AWS's own layout; None for ids that encode none."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.key_account import account_of_key_id
from app.emulator.identities import new_access_key_id

ACCOUNTS = st.integers(0, 10**12 - 1).map(lambda number: f"{number:012}")


@given(ACCOUNTS, st.sampled_from(["AKIA", "ASIA"]))
@example("000000000000", "ASIA")
@example("999999999999", "ASIA")
def test_a_new_id_names_its_account(account: str, kind: str) -> None:
    assert account_of_key_id(new_access_key_id(kind, account)) == account


@given(ACCOUNTS, st.text("AQZ27", min_size=1, max_size=4))
def test_an_id_with_further_letters_tells_nothing(account: str, further: str) -> None:
    assert account_of_key_id(new_access_key_id("ASIA", account) + further) is None


def test_a_published_id_names_its_account() -> None:
    """The example of the article that describes the layout."""
    assert account_of_key_id("ASIAQNZGKIQY56JQ7WML") == "029608264753"


@pytest.mark.parametrize(
    "key_id",
    [
        "AKIAIOSFODNN7EXAMPLE",  # AWS's own example, an id of the old kind
        "AKIAJ4JAAAAAAAAAAAAA",
        "ASIAEXAMPLEEXAMPLE01",  # the alphabet has no 0 and no 1
        "ASIAQNZGKIQY56JQ7WM",  # a letter too few
        "ASIAQNZGKIQY56JQ7WMLA",
        "asiaqnzgkiqy56jq7wml",
        "",
        "A" * 128,
    ],
)
def test_an_id_of_another_kind_tells_nothing(key_id: str) -> None:
    assert account_of_key_id(key_id) is None


def test_an_id_without_the_highest_bit_is_an_old_one_whatever_else_it_holds() -> None:
    for bits in (1, 111122223333 << 7, 111122223333 << 7 | 0x7F):
        key_id = "ASIA" + base64.b32encode(bits.to_bytes(6, "big") + bytes(4)).decode()
        assert account_of_key_id(key_id) is None


def test_more_than_twelve_digits_are_no_account() -> None:
    bits = (1 << 47 | 10**12 << 7).to_bytes(6, "big")
    assert account_of_key_id("ASIA" + base64.b32encode(bits + bytes(4)).decode()) is None


@given(st.text(max_size=40))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    account = account_of_key_id(text)
    assert account is None or (len(account) == 12 and account.isdigit())
