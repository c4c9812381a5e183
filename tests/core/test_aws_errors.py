from itertools import combinations

from botocore.retries.standard import ThrottledRetryableChecker

from app.core.aws_errors import (
    ACCESS_DENIED_CODES,
    BAD_CREDENTIAL_CODES,
    EXPIRED_SESSION_CODES,
    REJECTION_CODES,
    THROTTLING_CODES,
)


def test_throttling_codes_are_those_that_botocore_retries_as_throttling() -> None:
    """If a code is missing, a throttled caller gets a denial (aws-iam-authenticator issue 382)."""
    codes: list[str] = ThrottledRetryableChecker._THROTTLED_ERROR_CODES  # type: ignore[attr-defined]
    assert set(codes) == THROTTLING_CODES


def test_no_code_means_two_things() -> None:
    tables = (THROTTLING_CODES, ACCESS_DENIED_CODES, EXPIRED_SESSION_CODES, REJECTION_CODES)
    assert not [one & other for one, other in combinations(tables, 2) if one & other]
    # The answers to the service's own calls.
    own = (THROTTLING_CODES, ACCESS_DENIED_CODES, BAD_CREDENTIAL_CODES)
    assert not [one & other for one, other in combinations(own, 2) if one & other]


def test_the_codes_that_deny_are_these_alone() -> None:
    """Each code denies a proxy because of its credential, so a test must notice a code that is added or removed.

    https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
    """
    assert {"ExpiredToken", "ExpiredTokenException"} == EXPIRED_SESSION_CODES
    assert {
        "IncompleteSignature",
        "InvalidAction",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MalformedQueryString",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "MissingParameter",
        "NotAuthorized",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    } == REJECTION_CODES


def test_the_codes_that_blame_our_own_permissions_are_these_alone() -> None:
    assert {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"} == ACCESS_DENIED_CODES


def test_the_codes_that_blame_our_own_credentials_are_these_alone() -> None:
    """With a code that is missing, an operator would look for a missing permission."""
    assert {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    } == BAD_CREDENTIAL_CODES
