"""The one internal type that every form of credential is decoded into."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.sigv4 import Signature


class CredentialForm(StrEnum):
    """The form of a credential (contract, section 3). The set is closed, so metrics use it as a label."""

    NATIVE = "native"
    JWT = "jwt"
    EKS = "eks"
    ENVELOPE = "envelope"
    PLAIN_ENVELOPE = "plain_envelope"

    @property
    def is_presigned(self) -> bool:
        """Whether the form is a query-signed GET; all others are header-signed POSTs (I4)."""
        return self not in _POSTED_FORMS

    @property
    def audience_header(self) -> str:
        """The signed header that binds this form to its audience."""
        return _AUDIENCE_HEADERS[self]


_POSTED_FORMS: Final = frozenset({CredentialForm.ENVELOPE, CredentialForm.PLAIN_ENVELOPE})
_AUDIENCE_HEADERS: Final = {
    CredentialForm.NATIVE: "x-kuma-audience",
    CredentialForm.JWT: "x-kuma-audience",
    CredentialForm.EKS: "x-k8s-aws-id",
    CredentialForm.ENVELOPE: "x-vault-aws-iam-server-id",
    CredentialForm.PLAIN_ENVELOPE: "x-kuma-audience",
}
ALL_FORMS: Final = frozenset(CredentialForm)


def require_form(form: CredentialForm, accepted: AbstractSet[CredentialForm]) -> None:
    """Reject a form that the service does not accept.

    Raises:
        CredentialError: ``credential_malformed``; the detail names the form.
    """
    if form not in accepted:
        raise CredentialError(Reason.CREDENTIAL_MALFORMED, f"the form {form} is off in KMESH_AWSIAM_CREDENTIAL_FORMS")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedUrl:
    """The parts of a URL, as text. ``authority`` is any text in the place of the host."""

    scheme: str
    authority: str = field(repr=False)
    path: str = field(repr=False)
    query: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A decoded ``sts:GetCallerIdentity`` request. It is unverified: only its grammar was checked.

    Attributes:
        form: how the credential was written.
        method: the HTTP method in the text.
        url: the URL in the text.
        parameters: the nine query parameters of a presigned URL by name, decoded; empty for an envelope.
        headers: lower-case name to value, without ``authorization``; each name once. Empty for a presigned URL.
        body: the bytes of a POST; empty for a presigned URL.
        signature: the claimed signature.
        amz_date: the text of ``X-Amz-Date``.
        expires: the text of ``X-Amz-Expires``; only a presigned URL has it.
        security_token: the session token; secret.
        encoded: the parameters in SigV4's canonical percent-encoding, by name, if the URL uses that encoding for all of
            them; else empty. They are equal to the texts that `app.core.forwarding` would write for the decoded values.
    """

    form: CredentialForm
    method: str
    url: UnverifiedUrl
    parameters: dict[str, str] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    signature: Signature
    amz_date: str
    expires: str | None
    security_token: str | None = field(repr=False)
    encoded: dict[str, str] = field(default_factory=dict, repr=False, compare=False)


# The part of a URL before the query: visible ASCII without fragment and backslash, which is RFC 3986 without what no signer
# writes. The authority has no grammar here, because it is compared as a whole with a finite set (CVE-2023-24329,
# CVE-2019-9636 and similar). The quantifiers are possessive: otherwise a wrong character at the end makes the match try
# every place at which the authority could end, and 12 KiB take half a second.
_BEFORE_QUERY: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{0,15})://([!\"$-.0->@-\[\]-~]*+)([!\"$->@-\[\]-~]*+)", re.ASCII
)


def parse_url(text: str) -> UnverifiedUrl:
    """Split a URL once; later steps use only these parts.

    The query is returned as it is: `app.core.presigned` checks each part of it against a grammar, and an envelope may have
    no query.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    before, mark, query = text.partition("?")
    match = _BEFORE_QUERY.fullmatch(before)
    if match is None:
        raise CredentialError(
            Reason.CREDENTIAL_MALFORMED, "the URL is not absolute, or holds a character that no URL of STS has"
        )
    scheme, authority, path = match.groups()
    # RFC 9110 section 4.2.3: an empty path is "/"; SigV4 signs both alike.
    return UnverifiedUrl(scheme=scheme, authority=authority, path=path or "/", query=query if mark else None)
