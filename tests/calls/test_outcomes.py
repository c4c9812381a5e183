"""Errors as values: each waiting decision gets its own copy, also of an error class with more attributes."""

import pytest

from app.calls.outcomes import Failure
from app.core.errors import (
    AuthenticationError,
    AuthError,
    AuthorizationError,
    OutOfTimeError,
    OwnCredentialsError,
    UpstreamDownError,
    UpstreamError,
)
from app.core.reasons import Reason
from app.iam.missing_permission import MissingPermission, RoleUnreadableError

DENIED = RoleUnreadableError("seen", MissingPermission(operation="GetRole", remedy="attach a policy"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError(Reason.OVERLOADED, "seen", retry_after=7), UpstreamError),
        (UpstreamDownError(Reason.IAM_UNAVAILABLE, "seen"), UpstreamDownError),
        (OutOfTimeError(Reason.IAM_UNAVAILABLE, "seen"), OutOfTimeError),
        (OwnCredentialsError(Reason.OWN_CREDENTIALS_UNAVAILABLE, "seen"), OwnCredentialsError),
        (AuthenticationError(Reason.STS_REJECTED, "seen"), AuthenticationError),
        (AuthorizationError(Reason.ROLE_NOT_FOUND, "seen"), AuthorizationError),
        (DENIED, UpstreamError),
    ],
)
def test_a_copy_says_what_the_error_says(error: AuthError, kind: type[AuthError]) -> None:
    copy = Failure.of(error).error(" twice")
    assert type(copy) is kind
    assert (copy.reason, copy.detail) == (error.reason, f"{error.detail} twice")
    assert getattr(copy, "retry_after", None) == getattr(error, "retry_after", None)
