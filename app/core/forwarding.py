"""What leaves towards STS: a request rebuilt from parsed values and constants (invariant I2).

Client text is never relayed: each part is a constant, a value of a closed set, or a value that a rule has held to its
grammar. This undid CVE-2020-16250, where the client chose the headers of the relayed request.
"""

import re
from collections.abc import Iterator
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

    Thousands of them wait in a queue, so a value holds nothing twice: `headers` adds the constant ones when they are read.

    Attributes:
        form: how the credential was written; labels metrics.
        access_key_id: the client's text, a hint for limits; it decides nothing.
        endpoint: where it goes; a constant out of the closed set.
        method: ``GET`` or ``POST``.
        target: path and query, rebuilt; secret.
        audience: the value of a presigned form's audience header; None for a POST, and where no audience is signed.
        client_headers: the headers of a POST that have the client's values, in order, Authorization last; secret.
        body: the constant body of a POST, else empty.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` it may be used.
    """

    form: CredentialForm
    access_key_id: str = field(repr=False)
    endpoint: StsEndpoint
    method: str
    target: str = field(repr=False)
    audience: str | None = field(repr=False)
    client_headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    signed_at: datetime
    lifetime: timedelta

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Every header that is sent, in order; secret.

        Host and Content-Length are written from the endpoint and the body, signed or not: an envelope may lack both.
        """
        headers = [("Host", self.endpoint.host), _ACCEPT]
        if not any(name == "user-agent" for name, _ in self.client_headers):
            headers.append(_USER_AGENT)
        if not self.form.is_presigned:
            headers.append(("content-length", str(len(self.body))))
        if self.audience is not None:
            headers.append((self.form.audience_header, self.audience))
        return [*headers, *self.client_headers]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardableRequest:
    """A validated request within its lifetime: safe to send to STS, still no proof of identity.

    Attributes:
        request: what to send.
    """

    request: ValidatedRequest

    @property
    def expires_at(self) -> datetime:
        """The end of the signature's life, and so of any verdict about it."""
        return self.request.signed_at + self.request.lifetime


def rebuild(
    request: SignedRequest, *, endpoint: StsEndpoint, audience: str | None, signed_at: datetime, lifetime: timedelta
) -> ValidatedRequest:
    """Build the outgoing request. `app.core.request_policy.validate` calls it, after the rules; nobody else does."""
    is_presigned = request.form.is_presigned
    return ValidatedRequest(
        form=request.form,
        access_key_id=request.signature.scope.access_key_id,
        endpoint=endpoint,
        method=request.method,
        target=f"/?{_query(request)}" if is_presigned else "/",
        audience=audience if is_presigned else None,
        client_headers=() if is_presigned else tuple(_client_headers(request)),
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


def _client_headers(request: SignedRequest) -> Iterator[tuple[str, str]]:
    """Yield the signed headers of a POST, and the Authorization in its one spelling."""
    for name in request.signature.signed_headers:
        if name not in ("host", "content-length"):
            yield name, request.headers[name]
    yield "Authorization", request.signature.authorization()
