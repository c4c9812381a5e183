"""The details of STS's protocol, as measured on the real STS."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from app.emulator import Emulator, SessionCredentials
from tests.emulator.conftest import ACCOUNT
from tests.emulator.signing import IDENTITY, Message, presign, sign

FAULT_NAMESPACE = b'xmlns="http://webservices.amazon.com/AWSFault/2005-15-09"'


def test_xml_names_arn_user_and_account_in_this_order(emulator: Emulator, credentials: SessionCredentials) -> None:
    answer = presign(credentials).send(emulator.url)

    role = emulator.world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    request_id = answer.headers["x-amzn-requestid"]
    assert answer.headers["content-type"] == "text/xml"
    assert answer.body.decode().strip() == (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/task-1</Arn>"
        f"<UserId>{role.role_id}:task-1</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )


def test_every_answer_has_the_date_of_the_emulators_clock() -> None:
    """AWS's errors have it too: clients learn from this header how wrong their clock is."""
    with Emulator(clock=lambda: datetime(2026, 11, 24, 9, 5, 3, tzinfo=UTC)) as emulator:
        answer = Message(target=f"/?{IDENTITY}").send(emulator.url)
    assert (answer.code, answer.headers["date"]) == ("MissingAuthenticationToken", "Tue, 24 Nov 2026 09:05:03 GMT")


def test_json_comes_when_asked_for_by_an_unsigned_header(emulator: Emulator, credentials: SessionCredentials) -> None:
    answer = presign(credentials).with_headers(("Accept", "application/json")).send(emulator.url)

    role = emulator.world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "GetCallerIdentityResponse": {
            "GetCallerIdentityResult": {
                "Account": ACCOUNT,
                "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/task-1",
                "UserId": f"{role.role_id}:task-1",
            },
            "ResponseMetadata": {"RequestId": answer.headers["x-amzn-requestid"]},
        }
    }


def test_errors_come_as_json_too(emulator: Emulator) -> None:
    answer = Message(target=f"/?{IDENTITY}", headers=(("Accept", "application/json"),)).send(emulator.url)

    assert answer.json == {
        "Error": {
            "Code": "MissingAuthenticationToken",
            "Message": "Request is missing Authentication Token",
            "Type": "Sender",
        },
        "RequestId": answer.headers["x-amzn-requestid"],
    }


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded;x=y"])
def test_form_type_is_enough_for_a_post(emulator: Emulator, credentials: SessionCredentials, content_type: str) -> None:
    assert sign(credentials, headers={"Content-Type": content_type}).send(emulator.url).status == 200


REDIRECTED = {
    "post-without-content-type": lambda c: sign(c).without_header("content-type"),
    "post-of-json": lambda c: sign(c, headers={"Content-Type": "application/json"}),
    "post-without-action": lambda c: sign(c, body="Version=2011-06-15"),
    "get-without-action": lambda c: presign(c, query="Version=2011-06-15"),
    "get-with-an-empty-action": lambda c: presign(c, query="Action=&Version=2011-06-15"),
    "get-of-nothing": lambda _: Message(),
}


@pytest.mark.parametrize("make", REDIRECTED.values(), ids=REDIRECTED.keys())
def test_request_without_an_action_is_redirected_to_a_page(
    emulator: Emulator, credentials: SessionCredentials, make: object
) -> None:
    assert callable(make)
    answer = make(credentials).send(emulator.url)

    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers["location"] == "https://aws.amazon.com/iam"


@pytest.mark.parametrize(
    "query",
    [
        "Action=Nonsense&Version=2011-06-15",
        "Action=GetCallerIdentity",
        "Action=GetCallerIdentity&Version=",
        "Action=GetCallerIdentity&Version=2010-05-08",
        "Action=GetRole&Version=2011-06-15",
    ],
)
def test_unknown_action_or_version_is_invalid_in_a_namespace_of_its_own(
    emulator: Emulator, credentials: SessionCredentials, query: str
) -> None:
    answer = presign(credentials, query=query).send(emulator.url)

    assert (answer.status, answer.code) == (400, "InvalidAction")
    assert FAULT_NAMESPACE in answer.body


@pytest.mark.parametrize(
    "query",
    [
        "Action=GetCallerIdentity&Action=Nonsense&Version=2011-06-15",
        "Action=GetCallerIdentity&Version=2011-06-15&Version=1999-01-01",
        "Action=GetCallerIdentity&Version=2011-06-15&Unheard=of&Empty=",
    ],
    ids=["first-action-wins", "first-version-wins", "unknown-parameter-ignored"],
)
def test_parameters_are_taken_leniently(emulator: Emulator, credentials: SessionCredentials, query: str) -> None:
    assert sign(credentials, method="GET", query=query).send(emulator.url).status == 200
    assert sign(credentials, body=query).send(emulator.url).status == 200


def test_query_of_a_post_goes_before_its_body(emulator: Emulator, credentials: SessionCredentials) -> None:
    """The attack on consul-awsauth: a correct body, and another action in the URL."""
    arn = quote(f"arn:aws:iam::{ACCOUNT}:role/kuma-aws-iam", safe="")
    query = f"Action=AssumeRole&RoleArn={arn}&RoleSessionName=taken"

    answer = sign(credentials, query=query).send(emulator.url)

    assert answer.status == 200
    assert b"<AssumeRoleResult>" in answer.body


@pytest.mark.parametrize("target", ["/x", "//", "/index.html", "/_emulator/calls", "/ecs/111122223333/demo-app"])
def test_other_paths_of_an_aws_host_are_unknown(emulator: Emulator, target: str) -> None:
    answer = Message(target=target).send(emulator.url)

    assert (answer.status, answer.body) == (404, b"<UnknownOperationException/>\n")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_unknown(emulator: Emulator, method: str) -> None:
    assert Message(method=method, target=f"/?{IDENTITY}").send(emulator.url).status == 404


def test_body_beyond_ten_megabytes_is_too_large(emulator: Emulator, credentials: SessionCredentials) -> None:
    message = replace(sign(credentials), body=b"x" * 10_000_001)

    answer = message.send(emulator.url)

    assert (answer.status, answer.body) == (413, b"")


def test_long_query_is_refused_without_a_word(emulator: Emulator, credentials: SessionCredentials) -> None:
    answer = presign(credentials, query=f"{IDENTITY}&Long={'x' * 16_000}").send(emulator.url)

    assert (answer.status, answer.body) == (400, b"")


def test_every_answer_has_a_request_id_of_its_own_that_the_log_knows(
    emulator: Emulator, credentials: SessionCredentials
) -> None:
    answers = [presign(credentials).send(emulator.url), Message(target="/x").send(emulator.url)]

    ids = [answer.headers["x-amzn-requestid"] for answer in answers]
    assert [call.request_id for call in emulator.calls] == ids
    assert len(set(ids)) == 2


def test_calls_are_noted_with_what_became_of_them(emulator: Emulator, credentials: SessionCredentials) -> None:
    before = datetime.now(UTC)
    presign(credentials).send(emulator.url)
    presign(credentials).changed("Expires=60", "Expires=61").send(emulator.url)
    Message(target="/x").send(emulator.url)

    seen = [(c.service, c.action, c.account, c.region, c.outcome) for c in emulator.calls]
    assert seen == [
        ("sts", "GetCallerIdentity", ACCOUNT, "eu-west-1", "ok"),
        ("sts", "GetCallerIdentity", ACCOUNT, "eu-west-1", "SignatureDoesNotMatch"),
        ("sts", None, None, None, "http_404"),
    ]
    assert emulator.calls.count("sts", "GetCallerIdentity") == 2
    assert emulator.calls.count(account=ACCOUNT, outcome="ok") == 1
    assert before <= emulator.calls[0].at <= datetime.now(UTC)
    assert len(emulator.calls) == 3


def test_markup_in_names_stays_text(emulator: Emulator) -> None:
    user = emulator.world.add_user(ACCOUNT, "<b>&amp;")

    answer = presign(user).send(emulator.url)

    assert b"user/&lt;b&gt;&amp;amp;</Arn>" in answer.body


def test_time_in_json_is_in_seconds(emulator: Emulator, credentials: SessionCredentials) -> None:
    arn = quote(f"arn:aws:iam::{ACCOUNT}:role/kuma-aws-iam", safe="")
    body = f"Action=AssumeRole&Version=2011-06-15&RoleArn={arn}&RoleSessionName=x1"

    answer = sign(credentials, body=body).with_headers(("Accept", "text/html, application/json;q=0.9"))

    result = answer.send(emulator.url).json["AssumeRoleResponse"]["AssumeRoleResult"]
    key = emulator.world.find_key(result["Credentials"]["AccessKeyId"])
    assert key is not None
    assert key.expiration is not None
    assert result["Credentials"]["Expiration"] == key.expiration.timestamp()


def test_header_in_latin_1_is_read(emulator: Emulator, credentials: SessionCredentials) -> None:
    message = presign(credentials).with_headers(("x-unsigned", "\xe9t\xe9"))

    assert message.send(emulator.url).status == 200


def test_call_that_does_not_come_is_not_waited_for(emulator: Emulator) -> None:
    with pytest.raises(TimeoutError):
        emulator.calls.wait_for(1, timeout=0)
