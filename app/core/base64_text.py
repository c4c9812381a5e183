"""Base64 with one accepted text for each value: a text that differs from its value's own encoding is rejected (I26)."""

import base64
import binascii
from typing import Final

# The characters that base64url does not use ("+", "/" and padding) become "!", which is in no alphabet.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")


class Base64TextError(ValueError):
    """The text is not canonical base64. The message contains nothing of the text."""


def decode_base64url(text: str) -> bytes:
    """Decode unpadded base64url (RFC 4648 section 5).

    Raises:
        Base64TextError: a foreign character, padding, or unused bits that are not zero.
    """
    try:
        return _decode(text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    except ValueError as error:  # `binascii.Error` and `UnicodeEncodeError` are subclasses of `ValueError`
        raise Base64TextError("not canonical base64url without padding") from error


def encode_base64url(data: bytes) -> str:
    """Encode as unpadded base64url (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: str) -> bytes:
    """Decode padded standard base64 (RFC 4648 section 4).

    Raises:
        Base64TextError: a foreign character (line breaks too), missing padding, or unused bits that are not zero.
    """
    try:
        return _decode(text.encode("ascii"))
    except ValueError as error:  # `binascii.Error` and `UnicodeEncodeError` are subclasses of `ValueError`
        raise Base64TextError("not canonical base64") from error


def _decode(standard: bytes) -> bytes:
    """Decode leniently, then encode the result again. A text that differs from the result is not canonical.

    This is faster than the strict decoder.
    """
    data = binascii.a2b_base64(standard)
    if binascii.b2a_base64(data, newline=False) != standard:
        raise Base64TextError
    return data
