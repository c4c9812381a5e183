"""Checks on PEM texts (RFC 7468) that the libraries leave out."""

import re
from typing import Final

_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")


def require_one_private_key(pem: bytes) -> None:
    """Reject a second private key: libraries read the first one and silently ignore the others.

    Otherwise an operator who appends a new key to the file would keep using the old one without knowing it. The library
    itself rejects a file without any key.

    Raises:
        ValueError: the file contains several private keys.
    """
    count = len(_PRIVATE_KEY.findall(pem))
    if count > 1:
        raise ValueError(f"the file holds {count} private keys, and only the first would count; keep one in each file")
