"""Texts in PEM (RFC 7468), as far as the libraries that read them are too lenient."""

import re
from typing import Final

_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")


def require_one_private_key(pem: bytes) -> None:
    """Refuse a second private key: libraries take the first one and are silent about the others.

    Whoever appends a key to a file to exchange it would go on with the old one. That there is a first one is the library's
    to say.

    Raises:
        ValueError: there are several.
    """
    count = len(_PRIVATE_KEY.findall(pem))
    if count > 1:
        raise ValueError(f"the file holds {count} private keys, and only the first would count; keep one in each file")
