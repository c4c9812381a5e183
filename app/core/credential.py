"""Decode the untrusted text of a credential into a `SignedRequest`, which is typed but still unverified."""

import json
from collections.abc import Set as AbstractSet
from typing import Any, Final

from app.core.base64_text import Base64TextError, decode_base64url, encode_base64url
from app.core.envelope import ENVELOPE_FORMS, decode_envelope
from app.core.errors import malformed
from app.core.presigned import decode_presigned_url
from app.core.signed_request import ALL_FORMS, CredentialForm, SignedRequest, require_form
from app.core.strict_json import StrictJsonError, parse_object

# A session token can have 4 KB. Percent-encoding and then base64 double its length (contract, section 1).
MAX_CREDENTIAL_CHARS: Final = 12 * 1024

NATIVE_PREFIX: Final = "kuma-aws-v1."
EKS_PREFIX: Final = "k8s-aws-v1."
_PREFIXES: Final = ((NATIVE_PREFIX, CredentialForm.NATIVE), (EKS_PREFIX, CredentialForm.EKS))
JWT_HEADER: Final = {"alg": "none", "typ": "kuma-aws-v1"}

_JWT_PARTS: Final = 3


def decode_credential(text: str, forms: AbstractSet[CredentialForm] = ALL_FORMS) -> SignedRequest:
    """Decode a credential that has one of the given forms.

    Check the size, the grammar, and that every name is in its closed set. Later steps check values and times.

    Args:
        text: what the proxy presented; untrusted.
        forms: the forms to decode. The first characters of the text show the form. The two envelopes begin alike, but have
            different members. `app.core.request_policy.validate` checks the form again.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    if len(text) > MAX_CREDENTIAL_CHARS:
        raise malformed("the credential is over 12 KiB")
    if not text.isascii():
        raise malformed("the credential is not ASCII")
    for prefix, form in _PREFIXES:
        if text.startswith(prefix):
            require_form(form, forms)
            return decode_presigned_url(_base64url(text.removeprefix(prefix)), form)
    if seems_presigned(text):
        return _decode_jwt_clothes(text, forms)
    if not forms & ENVELOPE_FORMS:
        raise malformed(
            "the forms envelope and plain_envelope are off in KMESH_AWSIAM_CREDENTIAL_FORMS, and it is no other form",
        )
    return decode_envelope(text if text.startswith("{") else _base64url(text), forms)


def seems_presigned(text: str) -> bool:
    """Return whether a text can only be a presigned URL in one of its forms, and no envelope."""
    return "." in text and not text.startswith("{")


def encode_native(url: str) -> str:
    """Write a presigned URL in the native form."""
    return NATIVE_PREFIX + encode_base64url(url.encode("ascii"))


def encode_jwt_clothes(url: str) -> str:
    """Write a presigned URL as an unsigned JWT.

    ``kuma-dp`` accepts such a token file: it checks that the text has the shape of a JWT, but checks no signature.
    """
    header, payload = (json.dumps(part, separators=(",", ":")).encode("ascii") for part in (JWT_HEADER, {"url": url}))
    return f"{encode_base64url(header)}.{encode_base64url(payload)}."


def _decode_jwt_clothes(text: str, forms: AbstractSet[CredentialForm]) -> SignedRequest:
    parts = text.split(".")
    if len(parts) != _JWT_PARTS or parts[2] != "":
        raise malformed("it has neither a known prefix nor the shape of an unsigned JWT")
    require_form(CredentialForm.JWT, forms)
    header, payload = (_json_object(part) for part in parts[:2])
    if header != JWT_HEADER or payload.keys() != {"url"} or not isinstance(payload["url"], str):
        raise malformed("the JWT's header and payload are not those of this form")
    return decode_presigned_url(payload["url"], CredentialForm.JWT)


def _json_object(part: str) -> dict[str, Any]:
    try:
        return parse_object(_base64url(part))
    except StrictJsonError as error:
        raise malformed(f"a part of the JWT is refused: {error}") from error


def _base64url(text: str) -> str:
    try:
        return decode_base64url(text).decode("ascii")
    except (Base64TextError, UnicodeDecodeError) as error:
        raise malformed("it is not unpadded base64url of ASCII") from error
