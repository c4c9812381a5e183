"""What leaves towards STS: a request rebuilt from parsed values and constants (invariant I2).

Client text is never relayed: each part is a constant, a value of a closed set, or a value that a rule has held to its
grammar. This undid CVE-2020-16250, where the client chose the headers of the relayed request.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.core.endpoints import StsEndpoint
from app.core.signed_request import CredentialForm, SignedRequest

# JSON is what EKS and Teleport have relied on for years; the reader takes XML as well. The name need not be signed.
_ACCEPT: Final = ("Accept", "application/json")
_USER_AGENT: Final = ("User-Agent", "kuma-aws-iam")
# RFC 3986's unreserved characters stay as they are. Replaced one kind after the other, since urllib's quote walks a session
# token character by character and would cost as much as everything else in a decision. It is needed for values alone that
# the client did not write in this encoding.
_USUAL: Final = (("%", "%25"), ("/", "%2F"), ("+", "%2B"), ("=", "%3D"))
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._~%-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRequest:
    """A request that passed every rule but the clock's. Still no proof of identity.

    Attributes:
        form: how the credential was written; labels metrics.
        access_key_id: the client's text, a hint for limits; it decides nothing.
        endpoint: where it goes; a constant out of the closed set.
        method: ``GET`` or ``POST``.
        target: path and query, rebuilt; secret.
        headers: every header that is sent, in order; secret.
        body: the constant body of a POST, else empty.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` it may be used.
    """

    form: CredentialForm
    access_key_id: str = field(repr=False)
    endpoint: StsEndpoint
    method: str
    target: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    signed_at: datetime
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardableRequest:
    """A validated request within its lifetime: safe to send to STS, still no proof of identity.

    Attributes:
        request: what to send.
        expires_at: the end of the signature's life, and so of any verdict about it.
    """

    request: ValidatedRequest
    expires_at: datetime


def rebuild(
    request: SignedRequest, *, endpoint: StsEndpoint, audience: str | None, signed_at: datetime, lifetime: timedelta
) -> ValidatedRequest:
    """Build the outgoing request. `app.core.request_policy.validate` calls it, after the rules; nobody else does."""
    headers = _presigned_headers(request, audience) if request.form.is_presigned else _posted_headers(request)
    return ValidatedRequest(
        form=request.form,
        access_key_id=request.signature.scope.access_key_id,
        endpoint=endpoint,
        method=request.method,
        target=f"/?{_query(request)}" if request.form.is_presigned else "/",
        headers=(("Host", endpoint.host), *headers),
        body=request.body,
        signed_at=signed_at,
        lifetime=lifetime,
    )


def _query(request: SignedRequest) -> str:
    """Write the parameters in SigV4's canonical encoding; equal values give equal signatures."""
    encoded = request.encoded or {name: _percent_encode(value) for name, value in request.parameters.items()}
    return "&".join([f"{name}={value}" for name, value in sorted(encoded.items())])


def _percent_encode(value: str) -> str:
    # A session token has hundreds of these three. The percent sign comes first: the others bring new ones.
    for character, encoded in _USUAL:
        value = value.replace(character, encoded)
    # One byte a character: the decoder lets nothing but visible ASCII through.
    return _UNUSUAL.sub(lambda match: f"%{ord(match[0]):02X}", value)


def _presigned_headers(request: SignedRequest, audience: str | None) -> Iterable[tuple[str, str]]:
    if audience is None:
        return _ACCEPT, _USER_AGENT
    return _ACCEPT, _USER_AGENT, (request.form.audience_header, audience)


def _posted_headers(request: SignedRequest) -> Iterator[tuple[str, str]]:
    """Yield the signed headers, the Authorization in its one spelling, and our own.

    Host and Content-Length are written from the endpoint and the body, signed or not: an envelope may lack both.
    """
    signed = request.signature.signed_headers
    yield _ACCEPT
    if "user-agent" not in signed:
        yield _USER_AGENT
    yield "content-length", str(len(request.body))
    for name in signed:
        if name not in ("host", "content-length"):
            yield name, request.headers[name]
    yield "Authorization", request.signature.authorization()
