"""Decode a header-signed POST in JSON (the Vault envelope or the plain envelope) into a `SignedRequest`."""

import re
from collections.abc import Set as AbstractSet
from typing import Any, Final

from app.core.base64_text import Base64TextError, decode_base64
from app.core.errors import malformed
from app.core.signed_request import ALL_FORMS, CredentialForm, SignedRequest, parse_url, require_form
from app.core.sigv4 import parse_authorization, require_security_token
from app.core.strict_json import StrictJsonError, parse_object

ENVELOPE_FORMS: Final = frozenset({CredentialForm.ENVELOPE, CredentialForm.PLAIN_ENVELOPE})

_VAULT_MEMBERS: Final = frozenset(
    {"iam_http_request_method", "iam_request_url", "iam_request_body", "iam_request_headers"}
)
_PLAIN_MEMBERS: Final = frozenset({"method", "url", "headers", "body"})
# With the request hvac sends the name of a Vault role, or null. The service ignores this member.
_IGNORED_VAULT_MEMBERS: Final = frozenset({"role"})

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
# Printable ASCII without a blank at the start or at the end. RFC 9110 section 5.5 also allows obs-text and tabs, but no
# signer writes them.
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)


def decode_envelope(text: str, forms: AbstractSet[CredentialForm] = ALL_FORMS) -> SignedRequest:
    """Decode the JSON of a Vault envelope or a plain envelope; the names of its members show which of the two it is.

    If the form is not in ``forms``, reject the envelope and do not decode its content.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    try:
        members = parse_object(text)
    except StrictJsonError as error:
        raise malformed(f"the envelope is refused: {error}") from error
    if members.keys() == _PLAIN_MEMBERS:
        require_form(CredentialForm.PLAIN_ENVELOPE, forms)
        return _decode(
            CredentialForm.PLAIN_ENVELOPE,
            method=_text(members, "method"),
            url=_text(members, "url"),
            headers=members["headers"],
            body=_text(members, "body").encode(errors="surrogatepass"),
        )
    if members.keys() - _IGNORED_VAULT_MEMBERS == _VAULT_MEMBERS:
        require_form(CredentialForm.ENVELOPE, forms)
        try:
            headers = parse_object(_base64_member(members, "iam_request_headers"))
        except StrictJsonError as error:
            raise malformed(f"iam_request_headers is refused: {error}") from error
        return _decode(
            CredentialForm.ENVELOPE,
            method=_text(members, "iam_http_request_method"),
            url=_ascii(_base64_member(members, "iam_request_url"), "iam_request_url"),
            headers=headers,
            body=_base64_member(members, "iam_request_body"),
        )
    raise malformed("the envelope has not exactly the members of one form")


def _decode(form: CredentialForm, *, method: str, url: str, headers: Any, body: bytes) -> SignedRequest:
    fields = _parse_headers(headers, len(body))
    authorization = fields.pop("authorization", None)
    amz_date = fields.get("x-amz-date")
    if authorization is None or amz_date is None:
        hint = "; a presigned URL belongs in the native form" if method == "GET" else ""
        raise malformed(f"the envelope lacks its Authorization or X-Amz-Date header{hint}")
    token = fields.get("x-amz-security-token")
    return SignedRequest(
        form=form,
        method=method,
        url=parse_url(url),
        parameters={},
        headers=fields,
        body=body,
        signature=parse_authorization(authorization),
        amz_date=amz_date,
        expires=None,
        security_token=None if token is None else require_security_token(token),
    )


def _parse_headers(headers: Any, body_length: int) -> dict[str, str]:
    """Return the headers by lower-case name. Reject two names that differ only in case (I3, CVE-2022-2385)."""
    if not isinstance(headers, dict):
        raise malformed("the headers are not a JSON object")
    fields: dict[str, str] = {}
    for name, given in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise malformed("a header has an invalid name")
        value = str(given) if _is_length(name, given, body_length) else _single(given)
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise malformed("a header has an invalid value")
        if name.lower() in fields:
            raise malformed("a header appears twice, in two spellings")
        fields[name.lower()] = value
    return fields


def _single(given: Any) -> Any:
    # Go's JSON of an http.Header has a list of values for each name. A list with more than one value is ambiguous.
    return given[0] if isinstance(given, list) and len(given) == 1 else given


def _is_length(name: str, given: Any, body_length: int) -> bool:
    """Return whether a header is a Content-Length as npm's aws4 writes it: a JSON integer equal to the body's length.

    The type must be exactly ``int``: in Python ``true`` is an ``int`` too, and ``43.0`` and ``4.3e1`` are equal to 43.
    """
    return name.lower() == "content-length" and type(given) is int and given == body_length


def _text(members: dict[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise malformed(f"the member {name} is not a string")
    return value


def _base64_member(members: dict[str, Any], name: str) -> bytes:
    text = _text(members, name)
    try:
        return decode_base64(text)
    except Base64TextError as error:
        raise malformed(f"the member {name} is {_base64_fault(text) or error}") from error


def _base64_fault(text: str) -> str | None:
    """Return the name of a base64 fault that other verifiers of Vault envelopes accept, so that the sender can fix it."""
    if text.startswith("{"):
        return "JSON text, where its base64 belongs"
    return "base64 with line breaks or blanks in it" if re.search(r"\s", text, re.ASCII) else None


def _ascii(data: bytes, name: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise malformed(f"the member {name} is not ASCII") from error
