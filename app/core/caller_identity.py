"""The answer of STS → `CallerIdentity`.

The answer is untrusted until it is fully parsed and its fields agree with each other.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from app.core.arn import Arn, ArnError, parse_arn
from app.core.aws_denials import read_denial
from app.core.aws_errors import ACCESS_DENIED_CODES, EXPIRED_SESSION_CODES, REJECTION_CODES, THROTTLING_CODES
from app.core.endpoints import StsEndpoint
from app.core.errors import AuthenticationError, AuthError, UpstreamError
from app.core.reasons import Reason
from app.core.strict_xml import DocumentError
from app.core.sts_documents import IdentityDocument, read_error_code, read_error_message, read_identity_document

_OK: Final = 200
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StsReply:
    """One HTTP answer of STS. Only its size was checked.

    Attributes:
        status: the HTTP status.
        content_type: the text of the header ``Content-Type``; empty if STS sent none.
        body: the bytes as STS sent them, not decompressed.
        request_id: the text of the header ``x-amzn-requestid``, for the audit line; empty if STS sent none.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerIdentity:
    """The identity that STS names for the signer. Its account, ARN, partition and session agree with each other.

    Nothing has checked yet whether this identity is a role, and whether its account is in the list.

    Attributes:
        arn: the ARN in parts.
        user_id: AWS's ``UserId``. The caller of AssumeRole chose the part after the colon.
        request_id: STS's request id, for the audit line.
    """

    arn: Arn
    user_id: str
    request_id: str

    @property
    def account(self) -> str:
        """The 12-digit account id."""
        return self.arn.account


def read_caller_identity(reply: StsReply, endpoint: StsEndpoint) -> CallerIdentity:
    """Read the identity from an answer with status 200, the expected media type and a complete document.

    The fields of the document must agree with each other and with the partition of the endpoint (I10).

    Raises:
        AuthenticationError: ``session_expired``, ``sts_rejected``.
        UpstreamError: ``sts_throttled``, ``sts_access_denied``, or ``sts_unavailable`` for every other fault.
    """
    if reply.status != _OK:
        raise _refusal(reply)
    media_type = reply.content_type.partition(";")[0].strip().lower()
    try:
        document = read_identity_document(media_type, reply.body)
        return hold_together(document, partition=endpoint.partition, request_id=reply.request_id)
    except (DocumentError, ArnError) as error:
        raise _not_believed(str(error)) from error


def hold_together(document: IdentityDocument, *, partition: str, request_id: str) -> CallerIdentity:
    """Check that the texts of an identity agree with each other and with the partition of the STS host (I10).

    Raises:
        ArnError: the ARN of the identity is invalid.
        DocumentError: the texts of the identity disagree with each other or with the partition.
    """
    arn = parse_arn(document.arn)
    if not _ACCOUNT.fullmatch(document.account) or arn.account != document.account:
        raise DocumentError("the account and the ARN disagree")
    if arn.partition != partition:
        raise DocumentError("the ARN is of another partition than the host")
    if arn.resource.startswith("assumed-role/") and not document.user_id.endswith(
        ":" + arn.resource.rpartition("/")[2]
    ):
        raise DocumentError("the ARN and the UserId name two sessions")
    return CallerIdentity(arn=arn, user_id=document.user_id, request_id=request_id)


def _not_believed(detail: str) -> UpstreamError:
    return UpstreamError(Reason.STS_UNAVAILABLE, f"the answer of STS is not believed: {detail}")


def _refusal(reply: StsReply) -> AuthError:
    """Distinguish a denial, throttling and an outage by AWS's error code.

    An answer without a known code decides nothing: a middlebox between the service and STS can send such an answer, for
    example a redirect. The answer must not admit a proxy, and must not tell the proxy's operator that the credential is
    wrong.
    """
    code = read_error_code(reply.body)
    seen = f"STS answered {reply.status} {code or 'without an AWS error code'}"
    if code is None:
        seen += "; a proxy or firewall on the path may answer in its place: look there"
    if code in THROTTLING_CODES:
        return UpstreamError(Reason.STS_THROTTLED, seen)
    if code in EXPIRED_SESSION_CODES:
        return AuthenticationError(Reason.SESSION_EXPIRED, seen)
    if code in REJECTION_CODES:
        return AuthenticationError(Reason.STS_REJECTED, seen)
    if code in ACCESS_DENIED_CODES:
        denial = read_denial(read_error_message(reply.body))
        remedy = "allow sts:GetCallerIdentity in the policy of the VPC endpoint through which the service calls STS"
        return UpstreamError(Reason.STS_ACCESS_DENIED, f"{seen}, denied {denial.problem}; {remedy}")
    return UpstreamError(Reason.STS_UNAVAILABLE, seen)
