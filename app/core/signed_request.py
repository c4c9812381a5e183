"""The internal type `SignedRequest`. The service decodes every form of credential into this type."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.core.errors import malformed
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
        """Whether the form is a query-signed GET. All other forms are header-signed POSTs (I4)."""
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
        raise malformed(f"the form {form} is off in KMESH_AWSIAM_CREDENTIAL_FORMS")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedUrl:
    """The parts of a URL, as text. ``authority`` is the text at the place of the host; nothing has checked it."""

    scheme: str
    authority: str = field(repr=False)
    path: str = field(repr=False)
    query: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A decoded ``sts:GetCallerIdentity`` request. It is unverified: only its grammar was checked.

    Attributes:
        form: the form of the credential.
        method: the HTTP method in the text.
        url: the URL in the text.
        parameters: the nine query parameters of a presigned URL by name, decoded; empty for an envelope.
        headers: the value of each header by lower-case name, without ``authorization``. Empty for a presigned URL.
        body: the bytes of a POST; empty for a presigned URL.
        signature: the signature in the text, unverified.
        amz_date: the text of ``X-Amz-Date``.
        expires: the text of ``X-Amz-Expires``; only a presigned URL has it.
        security_token: the session token; secret.
        encoded: the parameters in SigV4's canonical percent-encoding, by name, if the URL uses that encoding for all of
            them; else empty. `app.core.forwarding` would write the same texts for the decoded values.
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


# The part of a URL before the query. It is visible ASCII without a fragment and without a backslash: signers write only this
# part of what RFC 3986 allows. This pattern does not check the grammar of the authority, because a later rule compares the
# whole authority with a finite set (CVE-2023-24329, CVE-2019-9636 and similar). The quantifiers are possessive, so that they
# never backtrack: otherwise, if a wrong character followed, the pattern would try every possible end of the authority, and
# 12 KiB would take half a second.
_BEFORE_QUERY: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{0,15})://([!\"$-.0->@-\[\]-~]*+)([!\"$->@-\[\]-~]*+)", re.ASCII
)


def parse_url(text: str) -> UnverifiedUrl:
    """Split a URL once; later steps use only these parts.

    The query is returned unchanged. `app.core.presigned` checks each parameter against a grammar, and a later rule rejects
    an envelope with a query.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    before, mark, query = text.partition("?")
    match = _BEFORE_QUERY.fullmatch(before)
    if match is None:
        raise malformed("the URL is not absolute, or holds a character that no URL of STS has")
    scheme, authority, path = match.groups()
    # RFC 9110 section 4.2.3: an empty path means "/". SigV4 gives the same signature for both.
    return UnverifiedUrl(scheme=scheme, authority=authority, path=path or "/", query=query if mark else None)
