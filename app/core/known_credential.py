"""What is left to know of a credential whose bytes were judged and vouched for before."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.forwarding import ForwardableRequest
from app.core.principal import Principal
from app.core.signed_request import CredentialForm


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCredential:
    """A credential that passed every rule but the clock's, and whom STS named for it.

    It depends on the credential's bytes and on settings alone. It holds no byte of the credential, so it cannot be sent.

    Attributes:
        form: how the credential is written.
        signed_at: the moment of signing, by the signer's clock.
        lifetime: how long after ``signed_at`` it may be used.
        principal: the role that signed it.
    """

    form: CredentialForm
    signed_at: datetime
    lifetime: timedelta
    principal: Principal


def know(request: ForwardableRequest, principal: Principal) -> KnownCredential:
    """Keep what later decisions need of a request that STS has vouched for."""
    validated = request.request
    return KnownCredential(
        form=validated.form, signed_at=validated.signed_at, lifetime=validated.lifetime, principal=principal
    )
