"""Base64 with one spelling a value: what does not encode back to itself is refused (invariant I26)."""

import base64
import binascii
from typing import Final

# The standard alphabet's two characters, and padding, become one that is in no alphabet.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_QUANTUM: Final = 4


class Base64TextError(ValueError):
    """The text is not canonical base64. The message holds nothing of the text."""


def decode_base64url(text: str) -> bytes:
    """Decode unpadded base64url (RFC 4648 section 5).

    Raises:
        Base64TextError: a foreign character, padding, or unused bits that are not zero.
    """
    try:
        data = binascii.a2b_base64(
            text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4), strict_mode=True
        )
    except ValueError as error:  # binascii.Error is one
        raise Base64TextError("not base64url") from error
    # A strict decoder leaves one freedom: the bits of the last characters that belong to no byte.
    odd = len(text) % _QUANTUM
    if odd and encode_base64url(data[1 - odd :]) != text[-odd:]:
        raise Base64TextError("not canonical base64url without padding")
    return data


def encode_base64url(data: bytes) -> str:
    """Encode as unpadded base64url (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: str) -> bytes:
    """Decode padded standard base64 (RFC 4648 section 4).

    Raises:
        Base64TextError: a foreign character (line breaks too), missing padding, or unused bits that are not zero.
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        raise Base64TextError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Base64TextError("not canonical base64")
    return data
