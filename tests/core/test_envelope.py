import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.envelope import decode_envelope
from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm, SignedRequest
from tests.support.mutations import drop_header, replace_in_authorization, set_header
from tests.support.signing import AUDIENCE, BODY, POSTED_FORMS, TOKEN, Recipe, base64

VAULT = Recipe(form=CredentialForm.ENVELOPE)
PLAIN = Recipe(form=CredentialForm.PLAIN_ENVELOPE)
HEADERS = dict(PLAIN.sign().headers)
HEADERS_OF_VAULT = dict(VAULT.sign().headers)


def vault(headers: object = None, **members: Any) -> str:
    """Return a valid Vault envelope with the named members and headers changed."""
    changed = {} if headers is None else {"iam_request_headers": base64(json.dumps(headers))}
    return json.dumps(VAULT.sign().members() | changed | members)


def plain(**members: Any) -> str:
    return json.dumps(PLAIN.sign().members() | members)


def without(text: str, *names: str) -> str:
    return json.dumps({name: value for name, value in json.loads(text).items() if name not in names})


def rejects(text: str) -> bool:
    with pytest.raises(CredentialError) as raised:
        decode_envelope(text)
    return raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_decode_envelope_reads_what_was_signed(form: CredentialForm) -> None:
    request = decode_envelope(Recipe(form=form).credential())
    assert request == SignedRequest(
        form=form,
        method="POST",
        url=request.url,
        parameters={},
        headers={
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-amz-date": "20261124T051500Z",
            "x-amz-security-token": TOKEN,
            form.audience_header: AUDIENCE,
        },
        body=BODY.encode(),
        signature=request.signature,
        amz_date="20261124T051500Z",
        expires=None,
        security_token=TOKEN,
    )
    assert (request.url.scheme, request.url.path, request.url.query) == ("https", "/", None)
    assert request.signature.signed_headers == tuple(sorted({*request.headers, "host"}))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(vault(role="demo-app"), id="hvac-with-a-role"),
        pytest.param(vault(role=None), id="hvac-with-a-null-role"),
        pytest.param(vault(role={"any": ["thing"]}), id="role-of-any-type"),
        pytest.param(vault({name: [value] for name, value in VAULT.sign().headers}), id="lists-as-go-marshals-them"),
        pytest.param(vault({name.lower(): value for name, value in VAULT.sign().headers}), id="names-in-lower-case"),
        pytest.param(vault({name.upper(): value for name, value in VAULT.sign().headers}), id="names-in-upper-case"),
        pytest.param(" " + vault() + "\n", id="white-space-around"),
        pytest.param(json.dumps(json.loads(vault()), indent=2), id="indented"),
        pytest.param(json.dumps(dict(reversed(json.loads(vault()).items()))), id="members-in-another-order"),
    ],
)
def test_decode_envelope_reads_every_way_of_writing_the_same(text: str) -> None:
    assert decode_envelope(text) == decode_envelope(vault())


@pytest.mark.parametrize("lists", [16, 400])
def test_decode_envelope_bounds_the_nesting_of_what_it_ignores(lists: int) -> None:
    """The role may have any type, but it is parsed. The service's own bound is the same on every interpreter."""
    accepted = vault(role="role").replace('"role"}', "[" * 15 + "]" * 15 + "}")
    assert decode_envelope(accepted) == decode_envelope(vault())
    assert rejects(vault(role="role").replace('"role"}', "[" * lists + "]" * lists + "}"))


def test_decode_envelope_reads_lists_in_the_plain_form_too() -> None:
    assert decode_envelope(plain(headers={name: [value] for name, value in HEADERS.items()})) == decode_envelope(
        plain()
    )


def test_decode_envelope_reads_one_without_a_session_token() -> None:
    """An IAM user has no session token. STS confirms the user, and a later step denies it because it is no role."""
    assert decode_envelope(replace(VAULT, token=None).credential()).security_token is None


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_decode_envelope_keeps_the_authorization_apart_from_the_headers(form: CredentialForm) -> None:
    assert "authorization" not in decode_envelope(Recipe(form=form).credential()).headers


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="no-member"),
        pytest.param("{", id="cut-short"),
        pytest.param(vault()[:-1] + ', "role": "a", "role": "b"}', id="member-twice"),
        pytest.param(vault(iam_request_query=""), id="vault-one-member-more"),
        pytest.param(vault(Role="demo"), id="vault-role-in-another-case"),
        *(pytest.param(without(vault(), name), id=f"vault-without-{name}") for name in json.loads(vault())),
        pytest.param(without(vault(role="demo"), "iam_request_body"), id="vault-role-in-place-of-the-body"),
        pytest.param(plain(role="demo"), id="plain-with-a-role"),
        pytest.param(plain(query=""), id="plain-one-member-more"),
        *(pytest.param(without(plain(), name), id=f"plain-without-{name}") for name in json.loads(plain())),
        pytest.param(json.dumps(json.loads(vault()) | json.loads(plain())), id="both-forms-at-once"),
        pytest.param(
            json.dumps(json.loads(without(plain(), "url")) | {"iam_request_url": "aHR0cHM6Ly8="}),
            id="half-of-each-form",
        ),
    ],
)
def test_decode_envelope_rejects_another_set_of_members(text: str) -> None:
    """I26: a closed set, each member once."""
    assert rejects(text)


@pytest.mark.parametrize("value", [None, 1, True, ["POST"], {"POST": 1}])
@pytest.mark.parametrize(
    "member", ["iam_http_request_method", "iam_request_url", "iam_request_headers", "iam_request_body"]
)
def test_decode_envelope_rejects_a_vault_member_that_is_no_string(member: str, value: object) -> None:
    assert rejects(vault(**{member: value}))


@pytest.mark.parametrize("value", [None, 1, True, ["POST"], {"POST": 1}])
@pytest.mark.parametrize("member", ["method", "url", "body"])
def test_decode_envelope_rejects_a_plain_member_that_is_no_string(member: str, value: object) -> None:
    assert rejects(plain(**{member: value}))


@pytest.mark.parametrize("headers", [None, 1, "Host: x", [["Host", "x"]], []])
def test_decode_envelope_rejects_headers_that_are_no_object(headers: object) -> None:
    assert rejects(plain(headers=headers))
    assert rejects(vault(iam_request_headers=base64(json.dumps(headers))))


@pytest.mark.parametrize("member", ["iam_request_url", "iam_request_headers", "iam_request_body"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.rstrip("=") + "\n", id="line-break"),
        pytest.param(lambda text: text + "=", id="padding-too-much"),
        pytest.param(lambda text: "*" + text[1:], id="foreign-character"),
        pytest.param(lambda text: '{"Host":"' + text + '"}', id="json"),
    ],
)
def test_decode_envelope_rejects_a_vault_member_that_is_no_base64(member: str, change: Any) -> None:
    assert rejects(vault(**{member: change(json.loads(vault())[member])}))


def test_decode_envelope_rejects_a_url_beyond_ascii() -> None:
    assert rejects(vault(iam_request_url=base64("https://sts.us-east-1.amazonaws.com/é")))


def test_decode_envelope_rejects_headers_with_a_name_twice() -> None:
    """I26: parsers disagree on which of the two counts."""
    headers = json.dumps(dict(VAULT.sign().headers))
    assert rejects(vault(iam_request_headers=base64(headers[:-1] + ', "Content-Type": "text/xml"}')))


@pytest.mark.parametrize(
    "name", ["content-type", "CONTENT-TYPE", "authorization", "x-amz-date", "X-Amz-security-token"]
)
def test_decode_envelope_rejects_a_header_in_two_spellings(name: str) -> None:
    """CVE-2022-2385: two spellings of a header became one."""
    call = PLAIN.sign()
    value = next(value for key, value in call.headers if key.lower() == name.lower())
    assert rejects(set_header(call, name, value).credential())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("Accept ", id="blank-behind"),
        pytest.param(" Accept", id="blank-before"),
        pytest.param("Accept:", id="colon"),
        pytest.param("Accept\r\nX-Evil", id="line-break"),
        pytest.param("Accept\n", id="newline-at-the-end"),
        pytest.param("Accept_Encoding", id="underscore-that-some-gateways-take-for-a-dash"),
        pytest.param("Acc\u212aept", id="kelvin-sign-that-folds-to-k"),
        pytest.param("A" * 65, id="too-long"),
        pytest.param(":authority", id="pseudo-header"),
    ],
)
def test_decode_envelope_rejects_what_is_no_header_name(name: str) -> None:
    assert rejects(plain(headers=HEADERS | {name: "x"}))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param(" x", id="blank-before"),
        pytest.param("x ", id="blank-behind"),
        pytest.param("x\r\nHost: evil", id="line-break"),
        pytest.param("x\n", id="newline-at-the-end"),
        pytest.param("x\ty", id="tab"),
        pytest.param("x\x00", id="nul"),
        pytest.param("x\x7f", id="delete"),
        pytest.param("é", id="letter-beyond-ascii"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param([], id="empty-list"),
        pytest.param(["x", "y"], id="two-values"),
        pytest.param([None], id="null-in-a-list"),
        pytest.param([["x"]], id="list-in-a-list"),
        pytest.param({"x": "y"}, id="object"),
    ],
)
def test_decode_envelope_rejects_what_is_no_header_value(value: object) -> None:
    assert rejects(plain(headers=HEADERS | {"Accept": value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A" * 64, "x"),
        ("Accept", "x"),
        ("Accept", "!"),
        ("Accept", "~"),
        ("Accept", "two words"),
        ("X-Any-Name-9", "it is for the rules to refuse it"),
    ],
)
def test_decode_envelope_leaves_names_and_values_within_their_grammar_to_the_rules(name: str, value: str) -> None:
    request = decode_envelope(plain(headers=HEADERS | {name: value}))
    assert request.headers[name.lower()] == value


@pytest.mark.parametrize("name", ["Content-Length", "content-length"])
def test_decode_envelope_reads_the_bodys_length_as_an_integer(name: str) -> None:
    """As npm's aws4 writes it."""
    assert decode_envelope(plain(headers=HEADERS | {name: 43})).headers["content-length"] == "43"
    assert decode_envelope(vault(HEADERS_OF_VAULT | {name: 43})).headers["content-length"] == "43"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Content-Length", 42, id="another-length"),
        pytest.param("Content-Length", 43.0, id="a-float"),
        pytest.param("Content-Length", [43], id="in-a-list"),
        pytest.param("X-Amz-Content-Length", 43, id="another-header"),
    ],
)
def test_decode_envelope_rejects_any_other_number(name: str, value: object) -> None:
    assert rejects(plain(headers=HEADERS | {name: value}))


def test_decode_envelope_rejects_true_as_the_length_of_a_body_of_one_byte() -> None:
    """In Python ``True == 1``, so the type must be compared too."""
    assert decode_envelope(plain(body="x", headers=HEADERS | {"Content-Length": 1})).body == b"x"
    assert rejects(plain(body="x", headers=HEADERS | {"Content-Length": True}))


@pytest.mark.parametrize(("method", "is_told"), [("GET", True), ("POST", False)])
def test_decode_envelope_tells_that_a_presigned_url_is_another_form(
    method: str,
    is_told: bool,  # noqa: FBT001
) -> None:
    with pytest.raises(CredentialError) as raised:
        decode_envelope(plain(method=method, headers={}))
    assert ("a presigned URL belongs in the native form" in raised.value.detail) is is_told


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("name", ["Authorization", "X-Amz-Date"])
def test_decode_envelope_rejects_one_without_a_header_that_it_cannot_do_without(
    form: CredentialForm, name: str
) -> None:
    assert rejects(drop_header(Recipe(form=form).sign(), name).credential())


def test_decode_envelope_rejects_an_authorization_that_is_no_sigv4() -> None:
    assert rejects(replace_in_authorization(PLAIN.sign(), "AWS4-HMAC-SHA256 ", "").credential())
    assert rejects(set_header(PLAIN.sign(), "Authorization", "Bearer x").credential())


@pytest.mark.parametrize("token", ["two words", "x,y", '"x"', "x" * 8193])
def test_decode_envelope_rejects_what_is_no_session_token(token: str) -> None:
    assert rejects(set_header(PLAIN.sign(), "X-Amz-Security-Token", token).credential())


@pytest.mark.parametrize(
    "url", ["/", "sts.us-east-1.amazonaws.com/", "https://sts.us-east-1.amazonaws.com/#x", "https://a b/", ""]
)
def test_decode_envelope_rejects_what_is_no_absolute_url(url: str) -> None:
    assert rejects(plain(url=url))
    assert rejects(vault(iam_request_url=base64(url)))


@pytest.mark.parametrize("body", ["", "é", "\ud800", "Action=GetCallerIdentity"])
def test_decode_envelope_leaves_the_body_to_the_rules(body: str) -> None:
    """Any text becomes bytes without an error. A rule compares them with the one accepted body."""
    assert decode_envelope(plain(body=body)).body == body.encode(errors="surrogatepass")


@pytest.mark.parametrize(
    ("member", "says"),
    [
        pytest.param(json.dumps(HEADERS), "JSON text", id="headers-as-json-text"),
        pytest.param(base64(json.dumps(HEADERS)) + "\n", "line breaks", id="line-break-in-base64"),
        pytest.param("é", "base64", id="no-base64"),
    ],
)
def test_the_detail_names_what_other_verifiers_would_accept(member: str, says: str) -> None:
    with pytest.raises(CredentialError) as raised:
        decode_envelope(vault(iam_request_headers=member))
    assert says in raised.value.detail
    assert [hint for hint in ("JSON text", "line breaks") if hint in raised.value.detail] == (
        [says] if says != "base64" else []
    )
