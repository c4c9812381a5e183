"""The rules about headers: which are signed, which may be unsigned, and which values they may have (invariant I5).

If a list of allowed headers lacks one, proxies are rejected (the list of Vault 1.5.1 lacked the session token). If a list
has one header too many, that can be a vulnerability. The closed sets below are those of the contract. Tests check recorded
requests of every common signer against these sets (``tests/recordings``).
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final

from app.core.errors import CredentialError, malformed
from app.core.reasons import Reason
from app.core.signed_request import SignedRequest

ACTION: Final = "GetCallerIdentity"
VERSION: Final = "2011-06-15"
POST_BODY: Final = f"Action={ACTION}&Version={VERSION}".encode()
_BODY_DIGEST: Final = hashlib.sha256(POST_BODY).hexdigest()

# The headers that bind a signed GetCallerIdentity request to the system that verifies it: the header of this service, and
# those of similar systems.
AUDIENCE_HEADERS: Final = frozenset(
    {
        "x-kuma-audience",
        "x-k8s-aws-id",
        "x-vault-aws-iam-server-id",
        "x-consul-iam-serverid",
        "x-teleport-challenge",
    }
)
_REQUIRED_SIGNED: Final = frozenset({"content-type", "host", "x-amz-date"})
_SIGNED_HEADERS: Final = _REQUIRED_SIGNED | {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "content-length",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-user-agent",
}
# Headers that signers send unsigned and that have no effect: the service drops them. ``host`` may be unsigned as well, but
# must equal the URL's host.
_HARMLESS_UNSIGNED: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "connection",
        "content-length",
        "user-agent",
        "x-amz-user-agent",
        "x-amzn-trace-id",
    }
)
# Signed headers that may be absent from an envelope, because each has only one possible value. botocore takes Host from the
# URL. Go's net/http adds Content-Length after signing, so envelopes of Go's SDK v2 lack that header.
_IMPLIED_SIGNED: Final = frozenset({"content-length", "host"})
_FORM_CONTENT_TYPE: Final = re.compile(
    r"application/x-www-form-urlencoded(?:; ?charset=utf-8)?", re.ASCII | re.IGNORECASE
)


def _require_canonical_signed_headers(request: SignedRequest) -> None:
    names = request.signature.signed_headers
    if names != tuple(sorted({name.lower() for name in names})):
        raise malformed("SignedHeaders is not lower-case, sorted and unique")


def _require_no_unsigned_audience(request: SignedRequest) -> None:
    """Reject an audience header that the signature does not cover: anybody can add such a header (CVE-2026-71861).

    If another audience header is signed, the credential is malformed. If none is signed, the credential has no audience.
    """
    signed = set(request.signature.signed_headers)
    unsigned = (request.headers.keys() & AUDIENCE_HEADERS) - signed
    if unsigned and signed & AUDIENCE_HEADERS:
        raise malformed(f"beside the signed audience header there is an unsigned one: {', '.join(sorted(unsigned))}")
    if unsigned:
        raise CredentialError(Reason.AUDIENCE_MISSING, "the audience header is not among SignedHeaders")


def _require_known_signed_headers(request: SignedRequest) -> None:
    """Check that all names in SignedHeaders are allowed, and that the required names are among them (I5).

    The allowed set contains the headers that every common signer signs.
    """
    names = set(request.signature.signed_headers) - AUDIENCE_HEADERS
    if request.form.is_presigned:
        if names != {"host"}:
            raise malformed("a presigned URL must sign only host and the audience")
        return
    if not names >= _REQUIRED_SIGNED:
        raise malformed("SignedHeaders lacks content-type, host or x-amz-date")
    if not names <= _SIGNED_HEADERS:
        raise malformed("SignedHeaders holds a header that does not belong there")


def _require_signed_headers_present(request: SignedRequest) -> None:
    """Reject an envelope that lacks a signed header, unless the URL or the body gives the header's value."""
    if request.form.is_presigned:
        return
    if set(request.signature.signed_headers) - request.headers.keys() - _IMPLIED_SIGNED:
        raise malformed("a header of SignedHeaders is missing")


def _require_harmless_unsigned_headers(request: SignedRequest) -> None:
    """Reject unsigned headers that could have an effect, above all x-amz-* (CVE-2026-54330, CVE-2025-49831)."""
    unsigned = request.headers.keys() - set(request.signature.signed_headers)
    if not unsigned <= _HARMLESS_UNSIGNED:
        raise malformed("an unsigned header does not belong there")


def _require_host_header_of_url(request: SignedRequest) -> None:
    if request.headers.get("host", request.url.authority) != request.url.authority:
        raise malformed("the Host header is not the URL's host")


def _require_content_headers(request: SignedRequest) -> None:
    """Check that the content headers fit the only allowed body.

    STS answers a POST with another content type with a redirect.
    """
    if request.form.is_presigned:
        return
    signed = {name: request.headers[name] for name in request.signature.signed_headers if name in request.headers}
    if not _FORM_CONTENT_TYPE.fullmatch(signed["content-type"]):
        raise malformed("the content type is not that of a form")
    if signed.get("content-length", str(len(POST_BODY))) != str(len(POST_BODY)):
        raise malformed("the signed Content-Length is not the body's")
    if signed.get("x-amz-content-sha256", _BODY_DIGEST) != _BODY_DIGEST:
        raise malformed("X-Amz-Content-Sha256 is not the body's digest")


HEADER_RULES: Final[tuple[Callable[[SignedRequest], None], ...]] = (
    _require_canonical_signed_headers,
    _require_no_unsigned_audience,
    _require_known_signed_headers,
    _require_signed_headers_present,
    _require_harmless_unsigned_headers,
    _require_host_header_of_url,
    _require_content_headers,
)
