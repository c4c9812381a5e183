"""The small parsers: for every input they return the value that the input means, or raise their own error."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.arn import ArnError, parse_arn
from app.core.base64_text import Base64TextError, decode_base64, decode_base64url, encode_base64url
from app.core.caller_identity import StsReply, read_caller_identity
from app.core.endpoints import StsEndpoint
from app.core.errors import AuthenticationError, CredentialError, UpstreamError
from app.core.iam_documents import read_role, read_role_page
from app.core.signed_request import parse_url
from app.core.sigv4 import parse_amz_date, parse_authorization, parse_signature
from app.core.strict_json import StrictJsonError, parse_object
from app.core.strict_xml import DocumentError
from app.core.sts_documents import IdentityDocument, read_assumed_role, read_error_code, read_identity_document

bounded = settings(max_examples=200, deadline=None)

ENDPOINT = StsEndpoint(
    host="sts.us-east-1.amazonaws.com", partition="aws", region="us-east-1", signing_region="us-east-1"
)
FIELDS = {
    "Arn": "arn:aws:sts::111122223333:assumed-role/demo-app/4f1c",
    "UserId": "AROAEXAMPLEEXAMPLE01:4f1c",
    "Account": "111122223333",
}
XML = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    + "".join(f"<{name}>{value}</{name}>" for name, value in FIELDS.items())
    + "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
JSON = json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": FIELDS}})
ROLE_XML = (
    '<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><RoleName>demo-app</RoleName>'
    "<RoleId>AROAEXAMPLEEXAMPLE001</RoleId><Arn>arn:aws:iam::111122223333:role/demo-app</Arn><Tags><member>"
    "<Key>kuma.io/type</Key><Value>dataplane</Value></member></Tags></Role></GetRoleResult></GetRoleResponse>"
)
MARKUP = [
    "<",
    ">",
    "&",
    "&amp;",
    "&x;",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x?>",
    "<!DOCTYPE a>",
    "<Account>",
    "\x00",
    '"',
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> bytes:
    """Documents with one part replaced by markup, by text or by another part."""
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    piece = draw(st.sampled_from([*MARKUP, text[start:end], text]) | st.text(max_size=5))
    return (text[:start] + piece + text[end:]).encode(errors="surrogatepass")


@bounded
@given(st.binary())
def test_base64url_round_trips(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@bounded
@given(st.text() | st.text("ABab01+/-_=\n "))
def test_base64url_has_one_spelling_a_value(text: str) -> None:
    with suppress(Base64TextError):
        assert encode_base64url(decode_base64url(text)) == text


@bounded
@given(st.text("ABab01+/-_=\n "), st.text("ABab01+/-_=\n "))
def test_two_texts_of_base64_never_mean_one_value(one: str, other: str) -> None:
    with suppress(Base64TextError):
        assert (decode_base64(one) == decode_base64(other)) == (one == other)


@bounded
@given(st.text() | st.binary() | json_values.map(json.dumps))
def test_parse_object_gives_an_object_or_its_own_error(text: str | bytes) -> None:
    with suppress(StrictJsonError):
        assert isinstance(parse_object(text), dict)


@bounded
@given(st.dictionaries(st.text(), json_values))
def test_parse_object_reads_every_object_back(value: dict[str, Any]) -> None:
    assert parse_object(json.dumps(value)) == value


@bounded
@given(st.dictionaries(st.text(max_size=5), json_values, min_size=1), st.data())
def test_parse_object_never_picks_one_of_two(value: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    again = f", {json.dumps(name, ensure_ascii=data.draw(st.booleans()))}: 1}}"
    try:
        parse_object(json.dumps(value)[:-1] + again)
    except StrictJsonError:
        return
    raise AssertionError("a member that stands twice was read")


@bounded
@given(st.text() | st.from_regex(r"https?://[!-~]*", fullmatch=True))
def test_parse_url_gives_parts_that_make_up_the_url_or_its_own_error(text: str) -> None:
    with suppress(CredentialError):
        url = parse_url(text)
        written = {
            f"{url.scheme}://{url.authority}{path}" for path in ({url.path, ""} if url.path == "/" else {url.path})
        }
        assert text in {base + ("" if url.query is None else f"?{url.query}") for base in written}
        assert not set("/?#\\ ") & set(url.authority)


@bounded
@given(st.text() | st.from_regex(r"arn(:[a-z0-9/]*){4,8}", fullmatch=True))
def test_parse_arn_gives_parts_that_make_up_the_arn_or_its_own_error(text: str) -> None:
    with suppress(ArnError):
        assert str(parse_arn(text)) == text


@bounded
@given(st.text() | st.from_regex(r"[A-Z0-9-]+ Credential=[!-~]+, SignedHeaders=[!-~]+, Signature=[0-9a-f]{64}"))
def test_parse_authorization_gives_what_is_written_back_or_its_own_error(text: str) -> None:
    with suppress(CredentialError):
        assert parse_authorization(text).authorization().replace(", ", ",") == text.replace(", ", ",")


@bounded
@given(st.text(), st.text(), st.text(), st.text())
def test_parse_signature_gives_a_signature_or_its_own_error(one: str, two: str, three: str, four: str) -> None:
    with suppress(CredentialError):
        parse_signature(algorithm=one, credential=two, signed_headers=three, signature=four)


@bounded
@given(st.text(max_size=20) | st.from_regex(r"[0-9]{8}T[0-9]{6}Z", fullmatch=True))
def test_parse_amz_date_gives_the_moment_that_is_written_or_its_own_error(text: str) -> None:
    with suppress(CredentialError):
        moment = parse_amz_date(text)
        assert f"{moment.year:04}{moment:%m%dT%H%M%SZ}" == text


@bounded
@given(st.sampled_from(["text/xml", "application/json", "text/html"]), st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_are_no_identity_document(media_type: str, body: bytes) -> None:
    with suppress(DocumentError):
        read_identity_document(media_type, body)
        raise AssertionError("arbitrary bytes were read as an identity")


@bounded
@given(st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_are_no_document_of_iam_or_assumerole(body: bytes) -> None:
    for read in (lambda: read_role(body, "x"), lambda: read_role_page(body, "x"), lambda: read_assumed_role(body)):
        with suppress(DocumentError):
            read()
            raise AssertionError("arbitrary bytes were read as an answer")


@bounded
@given(mutated(ROLE_XML))
def test_a_damaged_role_is_read_whole_or_not_at_all(body: bytes) -> None:
    with suppress(DocumentError):
        role = read_role(body, "x")
        assert role.arn
        assert role.role_id
        assert role.name
        assert all(key for key, _ in role.tags)


@bounded
@given(
    st.sampled_from([("text/xml", XML), ("application/json", JSON)]).flatmap(
        lambda s: st.tuples(st.just(s[0]), mutated(s[1]))
    )
)
def test_a_damaged_document_is_read_whole_or_not_at_all(case: tuple[str, bytes]) -> None:
    with suppress(DocumentError):
        document = read_identity_document(*case)
        assert isinstance(document, IdentityDocument)
        assert document.account
        assert document.arn
        assert isinstance(document.user_id, str)


@bounded
@given(st.integers(100, 599), st.text(max_size=20), st.binary() | mutated(XML) | mutated(JSON))
def test_whatever_sts_answers_ends_in_an_identity_or_an_error_of_ours(
    status: int, content_type: str, body: bytes
) -> None:
    reply = StsReply(status=status, content_type=content_type, body=body, request_id="")
    with suppress(AuthenticationError, UpstreamError):
        identity = read_caller_identity(reply, ENDPOINT)
        assert (reply.status, identity.arn.partition) == (200, "aws")
        assert len(identity.account) == 12


@bounded
@given(st.binary() | st.text().map(str.encode) | mutated('{"Error": {"Code": "Throttling"}}'))
def test_read_error_code_gives_a_short_word_or_none(body: bytes) -> None:
    code = read_error_code(body)
    assert code is None or (code.isascii() and 0 < len(code) <= 128)
