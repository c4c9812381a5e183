"""Strict base64. For each value the decoders accept only one text: the text that the encoder writes (I26)."""

import base64
import binascii
from typing import Final

# "-" and "_" become "+" and "/". The characters that base64url does not use ("+", "/" and the padding "=") become "!", which
# no base64 alphabet contains.
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")


class Base64TextError(ValueError):
    """The text is not canonical base64. The error message quotes no part of the text."""


def decode_base64url(text: str) -> bytes:
    """Decode unpadded base64url (RFC 4648 section 5).

    Raises:
        Base64TextError: the text contains padding or a character outside the alphabet, or its unused bits are not zero.
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
        Base64TextError: the text contains a character outside the alphabet (such as a line break), its padding is missing,
            or its unused bits are not zero.
    """
    try:
        return _decode(text.encode("ascii"))
    except ValueError as error:  # `binascii.Error` and `UnicodeEncodeError` are subclasses of `ValueError`
        raise Base64TextError("not canonical base64") from error


def _decode(standard: bytes) -> bytes:
    """Decode leniently, then encode the bytes again. If the second text differs from the first, the first is not canonical.

    These two steps take less time than Python's strict decoder.
    """
    data = binascii.a2b_base64(standard)
    if binascii.b2a_base64(data, newline=False) != standard:
        raise Base64TextError
    return data
