"""The errors of a decision: each names the party at fault and the reason.

::

    AuthError(reason, detail)
    ├── RequestError         400 404 405 413 415  the API call is malformed; nothing was decided
    ├── CredentialError      401  what was presented is not an acceptable credential
    ├── AuthenticationError  401  STS did not vouch for it
    ├── AuthorizationError   403  known principal, not permitted
    └── UpstreamError        503  the service could not decide: never a denial, never an approval
        ├── UpstreamDownError     the upstream did not answer, or failed inside
        └── OutOfTimeError        the decision's deadline passed before the upstream could answer
"""

from app.core.reasons import Reason


class AuthError(Exception):
    """A decision that ended without an identity.

    Attributes:
        reason: the closed reason; all text that leaves the service is derived from the reason.
        detail: what the service saw, for the audit line only. It never contains a token, a signature or a URL (I22).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class RequestError(AuthError):
    """The API call is malformed. ``field`` is the dotted path of the invalid member; it contains known member names only."""

    def __init__(self, reason: Reason, detail: str, *, field: str | None = None) -> None:
        super().__init__(reason, detail)
        self.field = field


class CredentialError(AuthError):
    """The credential breaks a local rule; no network call was made for it."""


class AuthenticationError(AuthError):
    """STS did not vouch for the credential."""


class AuthorizationError(AuthError):
    """The principal is known, and it may not be this proxy."""


class UpstreamError(AuthError):
    """The service decided nothing: AWS, the network or the service's own AWS permissions prevented a decision.

    ``retry_after`` is the number of whole seconds after which to retry. None means the value in the table of reasons.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class OutOfTimeError(UpstreamError):
    """The decision's deadline passed. This says nothing about the upstream, or about a decision that has time left."""


class UpstreamDownError(UpstreamError):
    """The upstream did not answer, or failed with an internal error. Several such errors in a row open its circuit breaker.

    Only failures that no caller can cause have this type: a strange answer to a strange credential must not open the circuit
    for other callers.
    """
