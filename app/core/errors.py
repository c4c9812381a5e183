"""The errors of a decision: whose fault, and for which reason.

::

    AuthError(reason, detail)
    ├── RequestError         400 404 405 413 415  the API call is malformed; nothing was decided
    ├── CredentialError      401  what was presented is not an acceptable credential
    ├── AuthenticationError  401  STS did not vouch for it
    ├── AuthorizationError   403  known principal, not permitted
    └── UpstreamError        503  we could not decide: never a denial, never an approval
        ├── UpstreamDownError     the upstream did not answer, or failed inside
        └── OutOfTimeError        this decision's time was over before the upstream could tell anything
"""

from app.core.reasons import Reason


class AuthError(Exception):
    """A decision that ended without an identity.

    Attributes:
        reason: the closed reason; everything that leaves the service is derived from it.
        detail: what was seen, for the audit line alone. It never holds a token, a signature or a URL (I22).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class RequestError(AuthError):
    """The API call is malformed. ``field`` is the dotted path of the member at fault, made of known names only."""

    def __init__(self, reason: Reason, detail: str, *, field: str | None = None) -> None:
        super().__init__(reason, detail)
        self.field = field


class CredentialError(AuthError):
    """The credential breaks a local rule; no network call was made for it."""


class AuthenticationError(AuthError):
    """STS did not vouch for the credential."""


class AuthorizationError(AuthError):
    """The principal is known and may not be this proxy."""


class UpstreamError(AuthError):
    """Nothing was decided: AWS, the network or our own permissions stood in the way.

    ``retry_after`` is when to come again, in whole seconds, where that is known better than the reason's table tells.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class OutOfTimeError(UpstreamError):
    """The decision's time was over: it tells nothing about the upstream, and nothing to somebody who has time left."""


class UpstreamDownError(UpstreamError):
    """The upstream did not answer, or failed inside. Enough of these in a row, and it is not asked for a moment.

    Only what no caller can bring about is one: an odd answer to an odd credential must not close the way for others.
    """
