"""The meaning of AWS error codes. The service ignores the HTTP status: STS sends HTTP 400 when it throttles.

Sources: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, botocore's retry tables, and the outcome of
aws-iam-authenticator issue 382. For years aws-iam-authenticator told throttled callers that they were denied.
"""

from typing import Final, Literal

# Why the AWS credentials of a program cannot be used. There are none; their source cannot be reached, refuses them or is
# slow; AWS says that they have expired, or rejects them for another reason; or the SDK fails otherwise.
CredentialFault = Literal["missing", "unreachable", "refused", "slow", "expired", "rejected", "failed"]

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
# AWS does not accept the key, the session or the signature: the credentials are at fault, and no permission.
BAD_CREDENTIAL_CODES: Final = EXPIRED_SESSION_CODES | {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
# STS checked the request and rejected it.
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
