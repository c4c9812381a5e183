"""The account that an access key id seems to belong to: a hint for pacing, and never part of a decision.

AWS writes the account into the key ids that it has issued since 2019: behind the four letters of the kind come ten bytes in
base32, and the account stands in the first six of them, above the lowest seven bits. Nobody but STS can tell whether such a
key exists; anybody can make up an id for any account.
"""

import re
from typing import Final

_KEY_ID: Final = re.compile(r"A[A-Z0-9]{3}[A-Z2-7]{16}", re.ASCII)
# From base32's alphabet to the digits of `int`, which reads it in a tenth of the time of `base64.b32decode`.
_DIGITS: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv")
_BITS_BEHIND_ACCOUNT: Final = 32
# Ids of before 2019 hold no account; they begin with an I or a J here, while the highest bit of new ones is set.
_NEW: Final = 1 << 47
_ACCOUNT_MASK: Final = 0x7FFFFFFFFF80
_ACCOUNT_SHIFT: Final = 7
_MAX_ACCOUNT: Final = 10**12 - 1  # no bound: what an account's number is


def account_of_key_id(key_id: str) -> str | None:
    """Return the 12 digits that a key id seems to be of, or None where it tells nothing."""
    if not _KEY_ID.fullmatch(key_id):
        return None
    # Sixteen letters of that alphabet are ten bytes, of which the first six contain the account.
    head = int(key_id[4:].translate(_DIGITS), 32) >> _BITS_BEHIND_ACCOUNT
    account = (head & _ACCOUNT_MASK) >> _ACCOUNT_SHIFT
    return f"{account:012}" if head & _NEW and account <= _MAX_ACCOUNT else None
