"""What an AWS error code means to a decision. HTTP statuses are not used: STS throttles with HTTP 400.

Sources: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, botocore's retry tables, and the end state of
aws-iam-authenticator issue 382, which told throttled callers for years that they were denied.
"""

from typing import Final

# botocore/retries/standard.py, ThrottledRetryableChecker.
THROTTLING_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
ACCESS_DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
EXPIRED_SESSION_CODES: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
# STS checked the request and does not vouch for it.
REJECTION_CODES: Final = frozenset(
    {
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
    }
)
