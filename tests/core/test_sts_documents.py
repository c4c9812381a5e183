import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.strict_xml import DocumentError
from app.core.sts_documents import (
    IdentityDocument,
    read_assumed_role,
    read_error_code,
    read_error_message,
    read_identity_document,
)

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
FIELDS = {
    "Arn": "arn:aws:sts::111122223333:assumed-role/demo-app/4f1c",
    "UserId": "AROAEXAMPLEEXAMPLE01:4f1c",
    "Account": "111122223333",
}
IDENTITY = IdentityDocument(account=FIELDS["Account"], arn=FIELDS["Arn"], user_id=FIELDS["UserId"])
RESULT = "".join(f"<{name}>{value}</{name}>" for name, value in FIELDS.items())
XML = (
    f'<GetCallerIdentityResponse xmlns="{NAMESPACE}"><GetCallerIdentityResult>{RESULT}</GetCallerIdentityResult>'
    "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)
JSON = {"GetCallerIdentityResponse": {"GetCallerIdentityResult": FIELDS, "ResponseMetadata": {"RequestId": "r-1"}}}
SAID = "because no VPC endpoint policy allows the iam:GetRole action"
ERROR_XML = (
    f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>'
    "<Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
)


def answer(**fields: Any) -> bytes:
    result = {name: value for name, value in (FIELDS | fields).items() if value is not ...}
    return json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result}}).encode()


def rejects(media_type: str, body: str | bytes) -> bool:
    with pytest.raises(DocumentError) as raised:
        read_identity_document(media_type, body if isinstance(body, bytes) else body.encode())
    return "111122223333" not in str(raised.value)


def edited(old: str, new: str) -> str:
    assert XML.count(old) == 1
    return XML.replace(old, new)


@pytest.mark.parametrize(
    ("media_type", "text"),
    [
        pytest.param("text/xml", XML, id="xml"),
        pytest.param("application/xml", XML, id="xml-as-an-application"),
        pytest.param("text/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{XML}', id="xml-declaration"),
        pytest.param(
            "text/xml", f"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>{XML}", id="whole-declaration"
        ),
        pytest.param("text/xml", f"{XML}\n", id="newline-behind-the-root"),
        pytest.param("text/xml", XML.replace("><", ">\n  <"), id="indented"),
        pytest.param("text/xml", edited("<Arn>", "<New>x</New><Arn>"), id="field-that-aws-adds"),
        pytest.param("text/xml", edited("<Arn>", "<Arn xmlns='urn:x'>evil</Arn><Arn>"), id="twin-in-another-namespace"),
        pytest.param(
            "text/xml",
            XML.replace("<", "<s:").replace("<s:/", "</s:").replace("xmlns=", "xmlns:s="),
            id="namespace-by-prefix",
        ),
        pytest.param("application/json", json.dumps(JSON), id="json"),
        pytest.param("application/json", answer(New="x").decode(), id="json-member-that-aws-adds"),
    ],
)
def test_read_identity_document_reads_the_three_texts(media_type: str, text: str) -> None:
    assert read_identity_document(media_type, text.encode()) == IDENTITY


@pytest.mark.parametrize("media_type", ["", "text/html", "text/plain", "application/octet-stream", "TEXT/XML"])
@pytest.mark.parametrize("body", [XML, json.dumps(JSON)])
def test_read_identity_document_rejects_another_media_type(media_type: str, body: str) -> None:
    assert rejects(media_type, body)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="text-alone"),
        pytest.param(XML[:-1], id="cut-short"),
        pytest.param(XML + XML, id="two-roots"),
        pytest.param(XML + "x", id="text-behind-the-root"),
        pytest.param("x" + XML, id="text-before-the-root"),
        pytest.param(f"{{{json.dumps('x')}:{XML}}}", id="xml-within-json-as-in-cve-2020-16250"),
        pytest.param(XML.replace("GetCallerIdentityResponse", "AssumeRoleResponse"), id="root-of-another-action"),
        pytest.param(XML.replace("GetCallerIdentityResponse", "getcalleridentityresponse"), id="root-in-lower-case"),
        pytest.param(XML.replace("GetCallerIdentityResult", "AssumeRoleResult"), id="result-of-another-action"),
        pytest.param(XML.replace(NAMESPACE, "https://sts.amazonaws.com/doc/2010-01-01/"), id="other-namespace"),
        pytest.param(XML.replace(f' xmlns="{NAMESPACE}"', ""), id="no-namespace"),
        pytest.param(edited("<Account>", "<Account xmlns=''>"), id="field-without-namespace"),
        pytest.param(XML.replace(RESULT, ""), id="no-field"),
        pytest.param(XML.replace(RESULT, RESULT + RESULT), id="every-field-twice"),
        pytest.param(edited("<Arn>", "<Arn>arn:evil</Arn><Arn>"), id="arn-twice"),
        pytest.param(edited("<UserId>", "<UserId>AROA</UserId><UserId>"), id="user-id-twice"),
        pytest.param(edited("<Account>", "<Account>444455556666</Account><Account>"), id="account-twice"),
        pytest.param(edited(f"<Arn>{FIELDS['Arn']}</Arn>", ""), id="no-arn"),
        pytest.param(edited(f"<UserId>{FIELDS['UserId']}</UserId>", ""), id="no-user-id"),
        pytest.param(edited(f"<Account>{FIELDS['Account']}</Account>", ""), id="no-account"),
        pytest.param(edited(f"<Account>{FIELDS['Account']}</Account>", "<Account/>"), id="empty-account"),
        pytest.param(edited("<Account>111122223333", "<Account>1111<b/>22223333"), id="element-within-a-text"),
        pytest.param(
            edited(
                "</GetCallerIdentityResult>",
                f"</GetCallerIdentityResult><GetCallerIdentityResult>{RESULT}</GetCallerIdentityResult>",
            ),
            id="result-twice",
        ),
        pytest.param(edited("<Account>1111", "<Account><!-- x -->1111"), id="comment-that-splits-a-text"),
        pytest.param(edited("<Account>111122223333", "<Account><![CDATA[111122223333]]>"), id="cdata"),
        pytest.param(edited("<Account>1111", "<Account><?x y?>1111"), id="processing-instruction"),
        pytest.param(f"{XML}<!-- x -->", id="comment-behind-the-root"),
        pytest.param(f"{XML}<?x y?>", id="processing-instruction-behind-the-root"),
        pytest.param(f"<!DOCTYPE x>{XML}", id="dtd"),
        pytest.param(f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "1">]>{XML}', id="dtd-behind-the-declaration"),
        pytest.param(edited("<Account>1", "<Account>&e;"), id="undefined-entity"),
        pytest.param(f'<?xml version="1.0"?><?xml version="1.0"?>{XML}', id="two-declarations"),
        pytest.param(f' <?xml version="1.0"?>{XML}', id="declaration-behind-a-blank"),
        pytest.param(f"<?xml {'x' * 101}?>{XML}", id="endless-declaration"),
        pytest.param(f'<?xml ver\x1a\x1asion="1.0"?>{XML}', id="control-characters-in-the-declaration"),
        pytest.param(f'<?xml version="1.1"?>{XML}', id="another-version-of-xml"),
        pytest.param(f'<?xml version="1.0" more="1"?>{XML}', id="declaration-with-an-unknown-attribute"),
        pytest.param("<a>" * 20_000, id="deep-nesting"),
        pytest.param(XML.encode("utf-16"), id="utf-16"),
        pytest.param(XML.encode("utf-16-le"), id="utf-16-without-mark"),
        pytest.param(edited("4f1c</Arn>", "\x00</Arn>"), id="nul"),
        pytest.param(XML.encode().replace(b"4f1c</Arn>", b"\xff</Arn>"), id="no-utf-8"),
        pytest.param(XML.encode().replace(b"4f1c</Arn>", b"\xc0\xbc</Arn>"), id="overlong-utf-8"),
        pytest.param(f'<?xml version="1.0" encoding="UTF-7"?>{XML.replace("<Arn>", "+ADw-Arn+AD4-")}', id="utf-7"),
    ],
)
def test_read_identity_document_rejects_xml_that_is_not_exactly_the_answer(text: str | bytes) -> None:
    """I10: the whole document, exactly one, each field once, and no DTD."""
    assert rejects("text/xml", text)


@pytest.mark.parametrize(
    "mark",
    [pytest.param("<!-- -->", id="comment"), pytest.param("<?x?>", id="instruction"), pytest.param("\0", id="nul")],
)
def test_read_identity_document_refuses_markup_before_it_is_parsed(mark: str) -> None:
    """The markup is in a field that nobody reads, where a parser would accept it."""
    with pytest.raises(DocumentError, match="DTD"):
        read_identity_document("text/xml", edited("<RequestId>", f"<RequestId>{mark}").encode())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{}", id="no-response"),
        pytest.param(b'{"GetCallerIdentityResponse": []}', id="response-is-a-list"),
        pytest.param(b'{"GetCallerIdentityResponse": {}}', id="no-result"),
        pytest.param(b'{"GetCallerIdentityResponse": {"GetCallerIdentityResult": null}}', id="null-result"),
        pytest.param(b'{"AssumeRoleResponse": {"AssumeRoleResult": {}}}', id="other-action"),
        pytest.param(answer() + b"x", id="trailing-content"),
        pytest.param(answer() + answer(), id="two-documents"),
        pytest.param(answer().replace(b'{"Arn"', b'{"Account": "444455556666", "Arn"'), id="account-twice"),
        pytest.param(answer(Account=...), id="no-account"),
        pytest.param(answer(Arn=...), id="no-arn"),
        pytest.param(answer(UserId=...), id="no-user-id"),
        pytest.param(answer(Account=None), id="null-account"),
        pytest.param(answer(Account=111122223333), id="account-as-a-number"),
        pytest.param(answer(Arn=["x"]), id="arn-as-a-list"),
        pytest.param(answer(UserId={"x": "y"}), id="user-id-as-an-object"),
        pytest.param(b'{"GetCallerIdentityResponse":' * 5000, id="deep-nesting"),
        pytest.param(json.dumps(JSON).encode("utf-16"), id="utf-16"),
    ],
)
def test_read_identity_document_rejects_json_that_is_not_exactly_the_answer(body: bytes) -> None:
    assert rejects("application/json", body)


def test_read_identity_document_resolves_the_five_entities_of_xml_alone() -> None:
    text = edited("assumed-role/demo-app/4f1c", "assumed-role/demo-app/a&#43;b&lt;")
    assert read_identity_document("text/xml", text.encode()).arn.endswith("/a+b<")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ERROR_XML, id="xml"),
        pytest.param(f'<?xml version="1.0"?>{ERROR_XML}', id="xml-with-declaration"),
        pytest.param(ERROR_XML.replace(NAMESPACE, "http://webservices.amazon.com/AWSFault/2005-15-09"), id="fault"),
        pytest.param(ERROR_XML.replace(f' xmlns="{NAMESPACE}"', ""), id="xml-without-namespace"),
        pytest.param('{"Error": {"Code": "SignatureDoesNotMatch", "Type": "Sender"}, "RequestId": "r-1"}', id="json"),
        pytest.param(' \n{"Error": {"Code": "SignatureDoesNotMatch"}}', id="json-behind-white-space"),
    ],
)
def test_read_error_code_reads_the_code_whatever_the_document(body: str) -> None:
    assert read_error_code(body.encode()) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("<html><Error><Code>Throttling</Code></Error></html>", id="html"),
        pytest.param(ERROR_XML.replace("ErrorResponse", "NoErrorResponseAtAll"), id="other-root"),
        pytest.param(ERROR_XML.replace("ErrorResponse", "ErrorResponses"), id="a-root-with-a-longer-name"),
        pytest.param("<XErrorResponse><XError><XCode>A</XCode></XError></XErrorResponse>", id="names-that-end-alike"),
        pytest.param(ERROR_XML.replace("<Error>", "<x>").replace("</Error>", "</x>"), id="no-error"),
        pytest.param(ERROR_XML.replace("Code>", "Kode>"), id="no-code"),
        pytest.param(ERROR_XML.replace("<Code>", "<Code>A</Code><Code>"), id="code-twice"),
        pytest.param(ERROR_XML.replace("SignatureDoesNotMatch", ""), id="empty-code"),
        pytest.param(ERROR_XML.replace("SignatureDoesNotMatch", "Signature Does"), id="blank-in-the-code"),
        pytest.param(ERROR_XML.replace("SignatureDoesNotMatch", "Throttling\n"), id="newline-behind-the-code"),
        pytest.param(ERROR_XML.replace("SignatureDoesNotMatch", "A" * 129), id="endless-code"),
        pytest.param(ERROR_XML.replace("SignatureDoesNotMatch", "Thröttling"), id="letter-beyond-ascii"),
        pytest.param("<UnknownOperationException/>", id="answer-to-an-unknown-path"),
        pytest.param("{}", id="json-without-error"),
        pytest.param('{"Error": "Throttling"}', id="json-error-is-text"),
        pytest.param('{"Error": {}}', id="json-without-code"),
        pytest.param('{"Error": {"Code": null}}', id="json-null-code"),
        pytest.param('{"Error": {"Code": 1}}', id="json-code-is-a-number"),
        pytest.param('{"Error": {"Code": "A", "Code": "B"}}', id="json-code-twice"),
        pytest.param('{"Error": {"Code": "A"}', id="json-cut-short"),
    ],
)
def test_read_error_code_reads_none_from_what_is_no_error_document(body: str) -> None:
    assert read_error_code(body.encode()) is None


# AssumeRole.

SESSION = {
    "AccessKeyId": "ASIAEXAMPLEEXAMPLE01",
    "SecretAccessKey": "secret",
    "SessionToken": "token==",
    "Expiration": "2026-11-24T05:30:00Z",
}
ROLE_ARN = "arn:aws:sts::444455556666:assumed-role/reader/kuma-aws-iam"


def assumed(session: str | None = None, user: str | None = None) -> bytes:
    session = "".join(f"<{name}>{text}</{name}>" for name, text in SESSION.items()) if session is None else session
    user = f"<AssumedRoleId>AROAX:kuma-aws-iam</AssumedRoleId><Arn>{ROLE_ARN}</Arn>" if user is None else user
    result = f"<AssumedRoleUser>{user}</AssumedRoleUser><Credentials>{session}</Credentials>"
    namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
    answer = f"<AssumeRoleResult>{result}</AssumeRoleResult>"
    return f'<AssumeRoleResponse xmlns="{namespace}">{answer}</AssumeRoleResponse>'.encode()


def test_read_assumed_role_reads_the_session_and_its_end() -> None:
    role = read_assumed_role(assumed())
    assert (role.arn, role.access_key_id, role.secret_access_key, role.session_token) == (
        ROLE_ARN,
        "ASIAEXAMPLEEXAMPLE01",
        "secret",
        "token==",
    )
    assert role.expires_at == datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
    assert "secret" not in repr(role)
    assert "token" not in repr(role).replace("session_token", "")


@pytest.mark.parametrize("name", SESSION)
@pytest.mark.parametrize("times", [0, 2])
def test_read_assumed_role_wants_each_field_once(name: str, times: int) -> None:
    session = "".join(f"<{key}>{text}</{key}>" * (times if key == name else 1) for key, text in SESSION.items())
    with pytest.raises(DocumentError):
        read_assumed_role(assumed(session))


@pytest.mark.parametrize("moment", ["", "soon", "2026-11-24T05:30:00", "1795498200"])
def test_read_assumed_role_wants_an_end_with_a_time_zone(moment: str) -> None:
    session = "".join(f"<{key}>{text}</{key}>" for key, text in {**SESSION, "Expiration": moment}.items())
    with pytest.raises(DocumentError):
        read_assumed_role(assumed(session))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(assumed(user=""), id="no-arn"),
        pytest.param(assumed().replace(b"AssumeRole", b"GetSessionToken"), id="another-action"),
        pytest.param(assumed().replace(b"sts.amazonaws.com", b"sts.evil.example"), id="another-namespace"),
        pytest.param(b"<!DOCTYPE r>" + assumed(), id="dtd"),
        pytest.param(assumed() + assumed(), id="two-documents"),
    ],
)
def test_read_assumed_role_does_not_believe_another_document(body: bytes) -> None:
    with pytest.raises(DocumentError):
        read_assumed_role(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(f"<ErrorResponse><Error><Message>{SAID}</Message></Error></ErrorResponse>", SAID, id="xml"),
        pytest.param(json.dumps({"Error": {"Message": SAID}}), SAID, id="json"),
        pytest.param('{"Error": {"Message": 1}}', "", id="json-message-is-a-number"),
        pytest.param('{"Error": 1}', "", id="json-without-error"),
        pytest.param("<ErrorResponse><Error></Error></ErrorResponse>", "", id="xml-without-message"),
        pytest.param("<html/>", "", id="no-error-document"),
        pytest.param("", "", id="empty"),
    ],
)
def test_read_error_message_reads_the_text_or_nothing(body: str, message: str) -> None:
    assert read_error_message(body.encode()) == message
