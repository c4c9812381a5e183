"""The errors of a decision. The class of an error names the party at fault; each error has a reason.

::

    AuthError(reason, detail)
    ├── RequestError         400 404 405 413 415  the API call is malformed; the service decided nothing
    ├── CredentialError      401  the credential breaks a local rule
    ├── AuthenticationError  401  STS rejected the credential
    ├── AuthorizationError   403  the principal is known, but not permitted
    └── UpstreamError        503  the service could not decide: neither a denial nor an approval
        ├── UpstreamDownError     the upstream did not answer, or had an internal error
        ├── OwnCredentialsError   the service's own AWS credentials cannot be used
        └── OutOfTimeError        the decision's deadline passed before the upstream could answer
"""

from app.core.reasons import Reason


class AuthError(Exception):
    """A decision that ended without an identity.

    Attributes:
        reason: one of a closed set of reasons. The text that a caller sees depends only on the reason.
        detail: what the service saw. Only the audit line contains the detail. It never contains a token, a signature or a
            URL (I22).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class RequestError(AuthError):
    """The API call is malformed. ``field`` is the dotted path of the invalid member, and has only known member names."""

    def __init__(self, reason: Reason, detail: str, *, field: str | None = None) -> None:
        super().__init__(reason, detail)
        self.field = field


class CredentialError(AuthError):
    """The credential breaks a local rule. The service made no network call about the credential."""


def malformed(detail: str) -> CredentialError:
    """Return the error for a credential that breaks the grammar of its form."""
    return CredentialError(Reason.CREDENTIAL_MALFORMED, detail)


class AuthenticationError(AuthError):
    """STS rejected the credential."""


class AuthorizationError(AuthError):
    """The principal is known, but is not permitted to run this proxy."""


class UpstreamError(AuthError):
    """The service decided nothing: AWS, the network or the service's own AWS permissions prevented a decision.

    ``retry_after`` is the number of whole seconds after which the caller should retry. If it is None, the table of reasons
    (`app.core.reasons.EXPLANATIONS`) gives the number.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class OutOfTimeError(UpstreamError):
    """The decision's deadline passed. The upstream may be healthy, and a decision with a later deadline may succeed."""


class UpstreamDownError(UpstreamError):
    """The upstream did not answer, or failed with an internal error. Several such errors in a row open its circuit breaker.

    Only failures that no caller can cause have this type: a caller must not be able to open the circuit breaker for other
    callers by means of an unusual credential.
    """


class OwnCredentialsError(UpstreamError):
    """The service's own AWS credentials cannot be used: there are none, or AWS rejects them.

    This says nothing about the upstream, so it neither opens nor closes a circuit breaker.
    """
