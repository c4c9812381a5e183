"""Build the request to STS from parsed values and constants (invariant I2).

The service never relays the client's text. Each part of the request is a constant, a value of a closed set, or a value whose
grammar a rule has checked. This prevents CVE-2020-16250, where the client chose the headers of the relayed request.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.core.endpoints import StsEndpoint
from app.core.key_account import account_of_key_id
from app.core.signed_request import CredentialForm, SignedRequest

# EKS and Teleport have relied on JSON answers for years. `app.core.sts_documents` reads XML as well. STS does not require
# that the Accept header is signed.
_ACCEPT: Final = ("Accept", "application/json")
_USER_AGENT: Final = ("User-Agent", "kuma-aws-iam")
# Percent-encoding keeps RFC 3986's unreserved characters. `str.replace` encodes the usual other characters, one after the
# other: urllib's `quote` reads a session token character by character, which would take as long as the rest of a decision.
# The service encodes only values that the client did not already write in this encoding.
_USUAL: Final = (("%", "%25"), ("/", "%2F"), ("+", "%2B"), ("=", "%3D"))
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._~%-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRequest:
    """A request that passed every rule except the time check. It is no proof of identity yet.

    Thousands of these requests can wait in a queue. To save memory, none of them stores the constant headers: the property
    `headers` adds them.

    Attributes:
        form: the form of the credential; a label of metrics.
        access_key_id: the client's text. It is a hint for limits and has no effect on the decision.
        endpoint: the STS endpoint that receives the request; a constant of the closed set.
        method: ``GET`` or ``POST``.
        target: path and query, rebuilt; secret.
        audience: the value of a presigned form's audience header; None for a POST, or if no audience header is signed.
        client_headers: the headers of a POST that have the client's values, in order, Authorization last; secret.
        body: the constant body of a POST; empty for a GET.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` the service accepts the request.
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
    def key_account(self) -> str | None:
        """The account that the access key id seems to belong to, or None. Only STS knows the account."""
        return account_of_key_id(self.access_key_id)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Every header that the service sends to STS, in order; secret.

        The endpoint gives Host, and the body gives Content-Length, whether the client signed them or not: an envelope may
        lack both headers.
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
    """A validated request within its lifetime. It is safe to send to STS, but is no proof of identity yet.

    Attributes:
        request: what to send.
    """

    request: ValidatedRequest

    @property
    def expires_at(self) -> datetime:
        """The moment when the signature expires. No decision about the signature may be cached longer."""
        return self.request.signed_at + self.request.lifetime


def rebuild(
    request: SignedRequest, *, endpoint: StsEndpoint, audience: str | None, signed_at: datetime, lifetime: timedelta
) -> ValidatedRequest:
    """Build the request to STS. Only `app.core.request_policy.validate` calls this function, after it checked the rules."""
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
    """Write the parameters in SigV4's canonical encoding. STS then computes the signature that the signer computed."""
    encoded = request.encoded or {name: _percent_encode(value) for name, value in request.parameters.items()}
    return "&".join([f"{name}={value}" for name, value in sorted(encoded.items())])


def _percent_encode(value: str) -> str:
    # A session token contains many of these characters. "%" must be encoded first: the encodings of the others contain "%".
    for character, encoded in _USUAL:
        value = value.replace(character, encoded)
    # Each character is one byte: the decoder accepts only visible ASCII.
    return _UNUSUAL.sub(lambda match: f"%{ord(match[0]):02X}", value)


def _client_headers(request: SignedRequest) -> Iterator[tuple[str, str]]:
    """Yield the signed headers of a POST, and then the Authorization header in the only spelling that the service sends."""
    for name in request.signature.signed_headers:
        if name not in ("host", "content-length"):
            yield name, request.headers[name]
    yield "Authorization", request.signature.authorization()
