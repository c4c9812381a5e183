"""The account of an access key id, as far as STS has confirmed it."""

from collections.abc import Set as AbstractSet

from app.calls.budget import Priority
from app.emulator.identities import new_access_key_id
from app.sts.known_keys import OTHERS, KnownKeys

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"


class ChangingList:
    """An account list that the test changes, as an operator changes its file."""

    def __init__(self, *accounts: str) -> None:
        self.accounts = set(accounts)

    def current(self) -> AbstractSet[str]:
        return self.accounts


def test_a_key_of_a_listed_account_is_known() -> None:
    keys, key_id = KnownKeys(ChangingList(ACCOUNT)), new_access_key_id("ASIA", ACCOUNT)
    assert keys.account_of(key_id) is None
    keys.vouch(key_id, ACCOUNT)
    assert keys.account_of(key_id) == ACCOUNT
    assert keys.owner_of(key_id) == (ACCOUNT, Priority.KNOWN)
    assert keys.owner_of(new_access_key_id("ASIA", ACCOUNT)) == (ACCOUNT, Priority.NEW)


def test_a_key_of_an_account_that_was_taken_off_the_list_has_a_strangers_places() -> None:
    """I12: a key that STS confirmed a day ago must not keep the places of listed accounts."""
    listed, key_id = ChangingList(ACCOUNT, OTHER_ACCOUNT), new_access_key_id("ASIA", ACCOUNT)
    keys = KnownKeys(listed)
    keys.vouch(key_id, ACCOUNT)
    listed.accounts.remove(ACCOUNT)
    assert keys.account_of(key_id) is None
    assert keys.hint_of(key_id) == OTHERS
