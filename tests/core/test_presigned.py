from dataclasses import replace
from urllib.parse import quote

import pytest

from app.core.errors import CredentialError
from app.core.presigned import PARAMETERS, decode_presigned_url
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm, SignedRequest
from tests.support.mutations import (
    append_parameter,
    change_query,
    drop_parameter,
    parameter,
    prepend_parameter,
    rename_parameter,
    replace_in_url,
    set_parameter,
)
from tests.support.signing import PRESIGNED_FORMS, TOKEN, Recipe, SignedCall

CALL = Recipe(form=CredentialForm.NATIVE).sign()
NAMES = sorted(PARAMETERS)


def decode(call: SignedCall) -> SignedRequest:
    return decode_presigned_url(call.url, call.form)


def rejects(call: SignedCall) -> bool:
    with pytest.raises(CredentialError) as raised:
        decode(call)
    return raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_decode_presigned_url_reads_what_was_signed(form: CredentialForm) -> None:
    request = decode(Recipe(form=form, expires=300).sign())
    assert request.form is form
    assert (request.method, request.headers, request.body) == ("GET", {}, b"")
    assert (request.amz_date, request.expires, request.security_token) == ("20261124T051500Z", "300", TOKEN)
    assert request.parameters.keys() == PARAMETERS
    assert (request.parameters["Action"], request.parameters["Version"]) == ("GetCallerIdentity", "2011-06-15")
    assert request.signature.signed_headers == tuple(sorted(("host", form.audience_header)))
    assert request.signature.value == request.parameters["X-Amz-Signature"]


def test_decode_presigned_url_takes_the_parameters_in_any_order() -> None:
    assert decode(change_query(CALL, lambda pairs: pairs[::-1])).parameters == decode(CALL).parameters


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(quote(TOKEN, safe=""), id="every-reserved-character-escaped"),
        pytest.param(quote(TOKEN, safe="/="), id="slashes-and-equals-signs-bare"),
        pytest.param(quote(TOKEN, safe="").replace("%2F", "%2f").replace("%3D", "%3d"), id="escapes-in-lower-case"),
        pytest.param(quote(TOKEN, safe="").replace("IQ", "%49%51", 1), id="letters-escaped"),
    ],
)
def test_decode_presigned_url_reads_a_value_in_any_correct_spelling(spelling: str) -> None:
    """The service encodes the request again, so spellings with the same meaning give the same request."""
    call = replace(CALL, url=CALL.url.replace(parameter(CALL, "X-Amz-Security-Token"), spelling))
    assert decode(call).security_token == TOKEN


@pytest.mark.parametrize("name", NAMES)
def test_decode_presigned_url_rejects_a_missing_parameter(name: str) -> None:
    assert rejects(drop_parameter(CALL, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("add", [append_parameter, prepend_parameter])
def test_decode_presigned_url_rejects_a_parameter_that_stands_twice(name: str, add: type) -> None:
    """STS uses the first of two equal parameters; other parsers use the last."""
    assert rejects(add(CALL, name, parameter(CALL, name)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spell", [str.lower, str.upper])
def test_decode_presigned_url_rejects_a_name_in_another_case(name: str, spell: type) -> None:
    """CVE-2022-2385: names were lower-cased, and two spellings of one name became one."""
    assert rejects(rename_parameter(CALL, name, spell(name)))
    assert rejects(append_parameter(CALL, spell(name), "x"))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="no-name"),
        pytest.param("X-Amz-Target", id="unknown-x-amz-parameter"),
        pytest.param("RoleArn", id="parameter-of-another-action"),
        pytest.param("X%2DAmz%2DDate", id="name-in-percent-escapes"),
        pytest.param(" Action", id="leading-blank"),
        pytest.param("Action[]", id="list-of-php"),
        pytest.param("\u0410ction", id="cyrillic-twin"),
    ],
)
def test_decode_presigned_url_rejects_a_parameter_that_does_not_belong_there(name: str) -> None:
    assert rejects(append_parameter(CALL, name, "x"))


@pytest.mark.parametrize("name", ["RoleArn", "X-Amz-Target", "X-Amz-User-Agent", "Accept"])
def test_decode_presigned_url_rejects_a_further_parameter_even_if_it_is_signed(name: str) -> None:
    recipe = Recipe(form=CredentialForm.NATIVE, parameters=((name, "x"),))
    assert rejects(recipe.sign())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("&X-Amz-Date=", "&&X-Amz-Date=", id="empty-pair"),
        pytest.param("&X-Amz-Date=", ";X-Amz-Date=", id="semicolon-as-separator"),
        pytest.param("&X-Amz-Date=", "&amp;X-Amz-Date=", id="html-separator"),
        pytest.param("?Action=", "?&Action=", id="empty-first-pair"),
        pytest.param("?Action=GetCallerIdentity&", "?Action&", id="name-without-equals-sign"),
        pytest.param("?Action=", "??Action=", id="second-question-mark"),
        pytest.param("?", "", id="no-question-mark"),
    ],
)
def test_decode_presigned_url_rejects_another_way_of_writing_a_query(old: str, new: str) -> None:
    assert rejects(replace_in_url(CALL, old, new))


def test_decode_presigned_url_rejects_one_without_a_query() -> None:
    assert rejects(replace(CALL, url="https://sts.us-east-1.amazonaws.com/"))
    assert rejects(replace(CALL, url="https://sts.us-east-1.amazonaws.com/?"))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("%", id="percent-alone"),
        pytest.param("%4", id="half-an-escape"),
        pytest.param("%zz", id="no-hexadecimal"),
        pytest.param("Get+CallerIdentity", id="plus-that-some-read-as-a-blank"),
        pytest.param("GetCallerIdentity!", id="character-that-is-never-bare"),
        pytest.param("GetCallerIdentity%20", id="blank-in-an-escape"),
        pytest.param("GetCallerIdentity%0D%0AHost:evil", id="line-break-in-an-escape"),
        pytest.param("GetCallerIdentity%0A", id="newline-at-the-end"),
        pytest.param("GetCallerIdentity%00", id="nul-in-an-escape"),
        pytest.param("GetCallerIdentity%7F", id="delete-in-an-escape"),
        pytest.param("GetCallerIdentity%C3%A9", id="utf-8-in-an-escape"),
        pytest.param("GetCallerIdentity%FF", id="no-utf-8-in-an-escape"),
    ],
)
def test_decode_presigned_url_rejects_a_value_that_is_not_one_printable_text(value: str) -> None:
    assert rejects(set_parameter(CALL, "Action", value))


@pytest.mark.parametrize("value", ["", "AssumeRole", "GetCallerIdentity,GetCallerIdentity", "%2525", "a;b:c@d/e=f~g"])
def test_decode_presigned_url_leaves_what_a_value_says_to_the_rules(value: str) -> None:
    """Values are decoded once: ``%2525`` becomes ``%25``."""
    assert decode(set_parameter(CALL, "Action", value)).parameters["Action"] == value.replace("%25", "%")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("X-Amz-Signature", "", id="empty-signature"),
        pytest.param("X-Amz-Signature", "0" * 63, id="short-signature"),
        pytest.param("X-Amz-Credential", "x", id="no-scope"),
        pytest.param("X-Amz-SignedHeaders", "", id="no-signed-header"),
        pytest.param("X-Amz-Security-Token", "", id="empty-token"),
        pytest.param("X-Amz-Security-Token", "a,b", id="no-token"),
    ],
)
def test_decode_presigned_url_rejects_a_signature_that_is_none(name: str, value: str) -> None:
    assert rejects(set_parameter(CALL, name, value))


@pytest.mark.parametrize(
    "url", ["", "/?Action=x", "https:/sts.amazonaws.com/?Action=x", CALL.url + "#x", " " + CALL.url]
)
def test_decode_presigned_url_rejects_what_is_no_absolute_url(url: str) -> None:
    assert rejects(replace(CALL, url=url))
