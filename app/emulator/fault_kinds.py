"""The closed set of faults."""

import enum
from typing import Final


class FaultKind(enum.StrEnum):
    """All faults that can be injected."""

    THROTTLE = "throttle"
    """400 Throttling."""
    INTERNAL_FAILURE = "internal_failure"
    """500 InternalFailure."""
    SERVICE_UNAVAILABLE = "service_unavailable"
    """503 ServiceUnavailable."""
    ACCESS_DENIED = "access_denied"
    """403 AccessDenied, as if the policy of a VPC endpoint denied the call."""
    UNKNOWN_CODE = "unknown_code"
    """400 with an error code that AWS does not document."""
    REDIRECT = "redirect"
    """302 to a page of AWS's website."""
    HANG = "hang"
    """No answer until a test releases or clears the fault; then the true answer."""
    SLOW_DRIP = "slow_drip"
    """The true answer, a byte at a time."""
    CUT_OFF = "cut_off"
    """Half of the true answer, then the connection ends."""
    RESET = "reset"
    """The connection is reset before any byte of the answer is sent."""
    # Lies: status 200 with an answer that AWS never sends to GetCallerIdentity. A lie replaces only a successful answer.
    WRONG_CONTENT_TYPE = "wrong_content_type"
    """The true document as text/html."""
    OVERSIZE_BODY = "oversize_body"
    """The true document with a mebibyte of padding."""
    TRUNCATED = "truncated"
    """Half of the document, with a matching Content-Length."""
    DTD = "dtd"
    """The true document, with its account as an entity of a DTD."""
    TWO_DOCUMENTS = "two_documents"
    """The true document, followed by one about another caller."""
    FORGED_ACTION = "forged_action"
    """Another action's answer that contains a GetCallerIdentity answer about an administrator."""
    ACCOUNT_MISMATCH = "account_mismatch"
    """An Account that differs from the account in the ARN."""
    SESSION_MISMATCH = "session_mismatch"
    """A UserId whose session differs from the session in the ARN."""
    OTHER_PARTITION = "other_partition"
    """An ARN of another partition."""
    DUPLICATE_ACCOUNT = "duplicate_account"
    """A second Account element, with another account."""
    GZIP_BOMB = "gzip_bomb"
    """A small gzip body that decompresses to 64 MiB."""


LIES: Final = frozenset(
    {
        FaultKind.WRONG_CONTENT_TYPE,
        FaultKind.OVERSIZE_BODY,
        FaultKind.TRUNCATED,
        FaultKind.DTD,
        FaultKind.TWO_DOCUMENTS,
        FaultKind.FORGED_ACTION,
        FaultKind.ACCOUNT_MISMATCH,
        FaultKind.SESSION_MISMATCH,
        FaultKind.OTHER_PARTITION,
        FaultKind.DUPLICATE_ACCOUNT,
        FaultKind.GZIP_BOMB,
    }
)
