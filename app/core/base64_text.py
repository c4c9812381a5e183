"""Base64 with one spelling a value: what does not encode back to itself is refused (invariant I26)."""

import base64


class Base64TextError(ValueError):
    """The text is not canonical base64. The message holds nothing of the text."""


def decode_base64url(text: str) -> bytes:
    """Decode unpadded base64url (RFC 4648 section 5).

    Raises:
        Base64TextError: a foreign character, padding, or unused bits that are not zero.
    """
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:  # binascii.Error is one
        raise Base64TextError("not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
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
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise Base64TextError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Base64TextError("not canonical base64")
    return data
