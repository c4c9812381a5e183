"""The account that an access key id seems to belong to. This account is a hint for rate limits, never part of a decision.

Since 2019 AWS encodes the account in a new key id. The id consists of four letters for the kind of key, and of ten bytes in
base32. The first six bytes, without their lowest seven bits, contain the account. Only STS knows whether the key exists:
anybody can invent an id for any account.
"""

import re
from typing import Final

_KEY_ID: Final = re.compile(r"A[A-Z0-9]{3}[A-Z2-7]{16}", re.ASCII)
# This table maps base32's alphabet to the digits that `int` reads. `int` needs a tenth of the time of `base64.b32decode`.
_DIGITS: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv")
_BITS_BEHIND_ACCOUNT: Final = 32
# Ids from before 2019 contain no account: their fifth character is I or J. In newer ids the highest bit is set.
_NEW: Final = 1 << 47
_ACCOUNT_MASK: Final = 0x7FFFFFFFFF80
_ACCOUNT_SHIFT: Final = 7
_MAX_ACCOUNT: Final = 10**12 - 1  # no bound: what an account's number is


def account_of_key_id(key_id: str) -> str | None:
    """Return the 12-digit account that a key id seems to belong to, or None if the id does not contain one."""
    if not _KEY_ID.fullmatch(key_id):
        return None
    # Sixteen letters of base32 are ten bytes; the first six bytes contain the account.
    head = int(key_id[4:].translate(_DIGITS), 32) >> _BITS_BEHIND_ACCOUNT
    account = (head & _ACCOUNT_MASK) >> _ACCOUNT_SHIFT
    return f"{account:012}" if head & _NEW and account <= _MAX_ACCOUNT else None
