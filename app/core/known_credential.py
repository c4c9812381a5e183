"""A credential as a decision receives it: new, or known because STS accepted a credential with the same bytes before."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.core.forwarding import ForwardableRequest
from app.core.principal import Principal
from app.core.signed_request import CredentialForm


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential that the service has not verified before. It is untrusted.

    Attributes:
        text: what the proxy presented; secret.
        key: the cache key of the credential's text.
    """

    text: str = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCredential:
    """A credential that passed every rule except the time check, and the principal that STS named for it.

    This value depends only on the credential's bytes and on settings. It does not contain the credential's text.

    Attributes:
        form: the form of the credential.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` the service accepts the credential.
        principal: the role that signed the credential.
        key: the cache key of the credential's text.
        is_approved: whether an earlier decision approved the credential. It selects the cache and has no other effect.
    """

    form: CredentialForm
    signed_at: datetime
    lifetime: timedelta
    principal: Principal
    key: bytes = field(compare=False, repr=False)
    is_approved: bool = field(default=False, compare=False)


PresentedCredential = NewCredential | KnownCredential


def know(key: bytes, request: ForwardableRequest, principal: Principal) -> KnownCredential:
    """Make the cacheable result of a request that STS accepted.

    Args:
        key: the cache key of the credential's text.
        request: the request that the text contains.
        principal: the role that STS named.
    """
    validated = request.request
    return KnownCredential(
        form=validated.form, signed_at=validated.signed_at, lifetime=validated.lifetime, principal=principal, key=key
    )
