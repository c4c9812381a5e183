"""The account that an access key id seems to belong to. It is a hint for rate limits, and never part of a decision.

AWS encodes the account in the key ids that it has issued since 2019. Four letters name the kind of key; ten bytes in base32
follow. The account is in the first six bytes, above the lowest seven bits. Only STS knows whether such a key exists: anybody
can invent an id for any account.
"""

import re
from typing import Final

_KEY_ID: Final = re.compile(r"A[A-Z0-9]{3}[A-Z2-7]{16}", re.ASCII)
# Maps base32's alphabet to the digits that `int` reads. `int` takes a tenth of the time of `base64.b32decode`.
_DIGITS: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv")
_BITS_BEHIND_ACCOUNT: Final = 32
# Ids from before 2019 contain no account. They begin with I or J here; newer ids have the highest bit set.
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
