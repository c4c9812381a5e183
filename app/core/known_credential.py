"""A credential as a decision receives it: new, or one whose exact bytes STS has accepted or rejected before."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.core.endpoints import StsEndpoint
from app.core.errors import AuthenticationError, AuthError, AuthorizationError
from app.core.forwarding import ForwardableRequest
from app.core.principal import Principal
from app.core.reasons import Reason
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
        access_key_id: the key that signed the credential; for the audit line.
        key_account: the account that the key id names, or None; for the audit line.
        endpoint: the STS endpoint that the credential is signed for.
        key: the cache key of the credential's text.
        is_approved: whether an earlier decision approved the credential. It selects the cache and has no other effect.
    """

    form: CredentialForm
    signed_at: datetime
    lifetime: timedelta
    principal: Principal
    access_key_id: str = field(repr=False)
    key_account: str | None
    endpoint: StsEndpoint
    key: bytes = field(compare=False, repr=False)
    is_approved: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCredential:
    """A credential that STS's answer makes unacceptable: STS rejected it, or named a principal that is no role.

    Attributes:
        kind: the type of the error.
        reason: the reason of the error.
        detail: the detail of the error.
        form: the form of the credential.
        signed_at: the moment of signing, by the signer's clock.
        access_key_id: the key id in the credential; for the audit line.
        key_account: the account that the key id names, or None; for the audit line.
        endpoint: the STS endpoint that the credential is signed for.
        key: the cache key of the credential's text.
    """

    kind: type[AuthenticationError | AuthorizationError]
    reason: Reason
    detail: str
    form: CredentialForm
    signed_at: datetime
    access_key_id: str = field(repr=False)
    key_account: str | None
    endpoint: StsEndpoint
    key: bytes = field(compare=False, repr=False)

    def error(self) -> AuthError:
        """Return a new error for one decision. A shared one would collect the tracebacks of all decisions."""
        return self.kind(self.reason, f"{self.detail} (remembered)")


# What the service remembers of STS's answer about a text.
RememberedCredential = KnownCredential | RefusedCredential
PresentedCredential = NewCredential | RememberedCredential


def know(key: bytes, request: ForwardableRequest, principal: Principal) -> KnownCredential:
    """Make the cacheable result of a request that STS accepted.

    Args:
        key: the cache key of the credential's text.
        request: the request that the text contains.
        principal: the role that STS named.
    """
    validated = request.request
    key_account = validated.key_account
    return KnownCredential(
        form=validated.form,
        signed_at=validated.signed_at,
        lifetime=validated.lifetime,
        principal=principal,
        access_key_id=validated.access_key_id,
        # The two accounts are usually equal. Then the cache entry refers to one text instead of two.
        key_account=principal.account if key_account == principal.account else key_account,
        endpoint=validated.endpoint,
        key=key,
    )


def refuse(
    key: bytes, request: ForwardableRequest, error: AuthenticationError | AuthorizationError
) -> RefusedCredential:
    """Make the cacheable result of a request whose credential STS's answer makes unacceptable.

    Args:
        key: the cache key of the credential's text.
        request: the request that the text contains.
        error: why the credential is unacceptable.
    """
    validated = request.request
    return RefusedCredential(
        kind=type(error),
        reason=error.reason,
        detail=error.detail,
        form=validated.form,
        signed_at=validated.signed_at,
        access_key_id=validated.access_key_id,
        key_account=validated.key_account,
        endpoint=validated.endpoint,
        key=key,
    )
