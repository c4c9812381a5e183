import json
from typing import Any

import pytest

from app.core.arn import Arn
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.endpoints import StsEndpoint
from app.core.errors import AuthenticationError, AuthError, UpstreamError
from app.core.reasons import Reason

ENDPOINT = StsEndpoint(
    host="sts.us-east-1.amazonaws.com", partition="aws", region="us-east-1", signing_region="us-east-1"
)
ACCOUNT = "111122223333"
ARABIC = "".join(chr(0x660 + int(digit)) for digit in ACCOUNT)
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/4f1c"
USER_ID = "AROAEXAMPLEEXAMPLE01:4f1c"
XML = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    f"<Arn>{ARN}</Arn><UserId>{USER_ID}</UserId><Account>{ACCOUNT}</Account>"
    "</GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)


def ok(*, content_type: str = "application/json", body: bytes | None = None, **fields: Any) -> StsReply:
    """Return a correct answer of STS with the named changes."""
    result = {"Account": ACCOUNT, "Arn": ARN, "UserId": USER_ID} | fields
    answer = {
        "GetCallerIdentityResponse": {"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": "r-1"}}
    }
    return StsReply(
        status=200,
        content_type=content_type,
        body=json.dumps(answer).encode() if body is None else body,
        request_id="r-1",
    )


def refusal(code: str, *, status: int = 403) -> StsReply:
    body = {"Error": {"Code": code, "Message": "no", "Type": "Sender"}, "RequestId": "r-1"}
    return StsReply(status=status, content_type="application/json", body=json.dumps(body).encode(), request_id="r-1")


def refusal_of(reply: StsReply, endpoint: StsEndpoint = ENDPOINT) -> AuthError:
    with pytest.raises(AuthError) as raised:
        read_caller_identity(reply, endpoint)
    return raised.value


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(ok(), id="json"),
        pytest.param(ok(content_type="application/json; charset=utf-8"), id="json-with-charset"),
        pytest.param(ok(content_type=" Application/JSON ;x=y"), id="media-type-in-another-case"),
        pytest.param(ok(content_type="text/xml", body=XML.encode()), id="xml"),
        pytest.param(ok(content_type="text/xml;charset=UTF-8", body=XML.encode()), id="xml-with-charset"),
    ],
)
def test_read_caller_identity_believes_an_answer_that_agrees_with_itself(reply: StsReply) -> None:
    identity = read_caller_identity(reply, ENDPOINT)
    assert identity == CallerIdentity(
        arn=Arn(partition="aws", service="sts", region="", account=ACCOUNT, resource="assumed-role/demo-app/4f1c"),
        user_id=USER_ID,
        request_id="r-1",
    )
    assert identity.account == ACCOUNT


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(ok(content_type="text/html"), id="other-media-type"),
        pytest.param(ok(content_type=""), id="no-media-type"),
        pytest.param(ok(content_type="application/json-patch+json"), id="media-type-with-a-longer-name"),
        pytest.param(ok(content_type="text/xml"), id="json-labelled-as-xml"),
        pytest.param(ok(body=XML.encode()), id="xml-labelled-as-json"),
        pytest.param(ok(body=b""), id="empty-body"),
        pytest.param(ok(Arn="not an arn"), id="no-arn"),
        pytest.param(ok(Arn=None), id="null-arn"),
        pytest.param(ok(Account="444455556666"), id="account-of-somebody-else"),
        pytest.param(ok(Account=111122223333), id="account-as-a-number"),
        pytest.param(ok(Arn="arn:aws:sts::111122223333 :assumed-role/a/b", Account="111122223333 "), id="blank"),
        pytest.param(ok(Arn="arn:aws:sts::11112222333:assumed-role/a/b", Account="11112222333"), id="eleven-digits"),
        pytest.param(ok(Arn="arn:aws:sts::1111222233334:assumed-role/a/b", Account="1111222233334"), id="13-digits"),
        pytest.param(
            ok(Arn=f"arn:aws:sts::{ARABIC}:assumed-role/a/b", Account=ARABIC),
            id="arabic-digits",
        ),
        pytest.param(ok(Arn="arn:aws:sts:::assumed-role/a/b", Account=""), id="no-account"),
        pytest.param(ok(Arn=ARN.replace("arn:aws:", "arn:aws-cn:")), id="other-partition-than-the-host"),
        pytest.param(ok(Arn=ARN.replace("arn:aws:", "arn:AWS:")), id="partition-in-upper-case"),
        pytest.param(ok(Account=f"{ACCOUNT}4", Arn=ARN.replace(ACCOUNT, f"{ACCOUNT}4")), id="13-digits-in-both"),
        pytest.param(ok(UserId="AROAEXAMPLEEXAMPLE01:another"), id="user-id-of-another-session"),
        pytest.param(ok(UserId="AROAEXAMPLEEXAMPLE01:4f1c4f1c"), id="user-id-of-a-longer-session"),
        pytest.param(ok(UserId="AROAEXAMPLEEXAMPLE014f1c"), id="user-id-without-a-colon"),
    ],
)
def test_read_caller_identity_does_not_believe_a_200_that_is_not_quite_right(reply: StsReply) -> None:
    """I10. No decision is made, so nobody is denied."""
    error = refusal_of(reply)
    assert isinstance(error, UpstreamError)
    assert error.reason is Reason.STS_UNAVAILABLE


@pytest.mark.parametrize(
    ("resource", "user_id"),
    [("user/alice", "AIDAEXAMPLEEXAMPLE01"), ("root", ACCOUNT), ("federated-user/bob", f"{ACCOUNT}:bob")],
)
def test_read_caller_identity_believes_principals_without_a_session(resource: str, user_id: str) -> None:
    """A later step denies them with the right reason. They are not an outage."""
    assert (
        read_caller_identity(ok(Arn=f"arn:aws:iam::{ACCOUNT}:{resource}", UserId=user_id), ENDPOINT).user_id == user_id
    )


def test_read_caller_identity_believes_an_instance_identity_whose_user_id_has_two_colons() -> None:
    """SPIRE issue 5982. A later step denies it, because it is not the role of a workload."""
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/i-0abc"
    assert read_caller_identity(ok(Arn=arn, UserId=f"{ACCOUNT}:aws:ec2-instance:i-0abc"), ENDPOINT).account == ACCOUNT


def test_read_caller_identity_compares_the_partition_with_the_host_that_was_asked() -> None:
    china = StsEndpoint(
        host="sts.cn-north-1.amazonaws.com.cn", partition="aws-cn", region="cn-north-1", signing_region="cn-north-1"
    )
    assert refusal_of(ok(), china).reason is Reason.STS_UNAVAILABLE
    assert read_caller_identity(ok(Arn=ARN.replace("arn:aws:", "arn:aws-cn:")), china).arn.partition == "aws-cn"


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 403, 404, 500, 503])
def test_read_caller_identity_reads_no_identity_from_another_status_than_200(status: int) -> None:
    reply = StsReply(status=status, content_type="application/json", body=ok().body, request_id="r-1")
    error = refusal_of(reply)
    assert isinstance(error, UpstreamError)
    assert error.reason is Reason.STS_UNAVAILABLE


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        ("ExpiredToken", AuthenticationError, Reason.SESSION_EXPIRED),
        ("ExpiredTokenException", AuthenticationError, Reason.SESSION_EXPIRED),
        ("SignatureDoesNotMatch", AuthenticationError, Reason.STS_REJECTED),
        ("InvalidClientTokenId", AuthenticationError, Reason.STS_REJECTED),
        ("IncompleteSignature", AuthenticationError, Reason.STS_REJECTED),
        ("Throttling", UpstreamError, Reason.STS_THROTTLED),
        ("SlowDown", UpstreamError, Reason.STS_THROTTLED),
        ("AccessDenied", UpstreamError, Reason.STS_ACCESS_DENIED),
        ("RegionDisabledException", UpstreamError, Reason.STS_UNAVAILABLE),
        ("InternalFailure", UpstreamError, Reason.STS_UNAVAILABLE),
        ("throttling", UpstreamError, Reason.STS_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 503])
def test_read_caller_identity_goes_by_the_code_and_not_by_the_status(
    code: str, kind: type[AuthError], reason: Reason, status: int
) -> None:
    """STS throttles with HTTP 400. aws-iam-authenticator (issue 382) took such answers for denials."""
    error = refusal_of(refusal(code, status=status))
    assert isinstance(error, kind)
    assert error.reason is reason


@pytest.mark.parametrize(
    "body", [pytest.param(b"", id="empty"), pytest.param(b"<html>", id="html"), pytest.param(b"{}", id="no-code")]
)
def test_read_caller_identity_defers_when_a_refusal_has_no_aws_code(body: bytes) -> None:
    """A 403 of a proxy on the path must neither admit a proxy nor blame its credential."""
    error = refusal_of(StsReply(status=403, content_type="text/html", body=body, request_id=""))
    assert isinstance(error, UpstreamError)
    assert error.reason is Reason.STS_UNAVAILABLE
    assert error.detail.startswith("STS answered 403 without an AWS error code; a proxy or firewall on the path")


def test_the_details_for_the_audit_line_hold_nothing_of_an_answer_but_its_code() -> None:
    reply = refusal("SignatureDoesNotMatch")
    assert refusal_of(reply).detail == "STS answered 403 SignatureDoesNotMatch"
    assert ACCOUNT not in refusal_of(ok(Account="444455556666")).detail
