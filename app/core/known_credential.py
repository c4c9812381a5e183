"""A credential as a decision receives it: new, or known because STS vouched for exactly these bytes before."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.core.forwarding import ForwardableRequest
from app.core.principal import Principal
from app.core.signed_request import CredentialForm


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential that is not known. It is untrusted.

    Attributes:
        text: what the proxy presented; secret.
        key: the key of its text.
    """

    text: str = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCredential:
    """A credential that passed every rule except the time check, and the principal that STS named for it.

    The value depends only on the credential's bytes and on settings. It contains no byte of the credential.

    Attributes:
        form: how the credential is written.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` it may be used.
        principal: the role that signed it.
        key: the key of its text.
        is_approved: whether an earlier decision approved it. This selects the cache and has no other effect.
    """

    form: CredentialForm
    signed_at: datetime
    lifetime: timedelta
    principal: Principal
    key: bytes = field(compare=False, repr=False)
    is_approved: bool = field(default=False, compare=False)


PresentedCredential = NewCredential | KnownCredential


def know(key: bytes, request: ForwardableRequest, principal: Principal) -> KnownCredential:
    """Make the cacheable result of a request that STS vouched for.

    Args:
        key: of the credential's text.
        request: what the text says.
        principal: the role that STS named.
    """
    validated = request.request
    return KnownCredential(
        form=validated.form, signed_at=validated.signed_at, lifetime=validated.lifetime, principal=principal, key=key
    )
