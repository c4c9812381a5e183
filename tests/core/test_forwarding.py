from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.credential import decode_credential
from app.core.forwarding import ValidatedRequest, rebuild
from app.core.signed_request import CredentialForm
from tests.support.mutations import change_query, drop_header, parameter, set_header
from tests.support.signing import (
    AUDIENCE,
    BODY,
    FORM_TYPE,
    FORMS,
    HOST,
    NOW,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    TOKEN,
    Recipe,
    SignedCall,
    endpoint_of,
    signature_holds,
)

OURS = {"Accept": "application/json", "User-Agent": "kuma-aws-iam"}


def rebuilt(call: SignedCall, audience: str | None = AUDIENCE) -> ValidatedRequest:
    return rebuild(
        decode_credential(call.credential()),
        endpoint=endpoint_of(HOST),
        audience=audience,
        signed_at=NOW,
        lifetime=timedelta(minutes=15),
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_rebuilt_request_still_carries_a_valid_signature(form: CredentialForm) -> None:
    recipe = Recipe(form=form)
    assert signature_holds(rebuilt(recipe.sign()), recipe)


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_a_rebuilt_url_sends_the_nine_parameters_and_our_headers(form: CredentialForm) -> None:
    call = Recipe(form=form).sign()
    request = rebuilt(call)
    assert (request.form, request.method, request.body, request.endpoint) == (form, "GET", b"", endpoint_of(HOST))
    assert request.target.startswith("/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert sorted(request.target.removeprefix("/?").split("&")) == sorted(call.url.split("?")[1].split("&"))
    assert dict(request.headers) == {"Host": HOST, **OURS, form.audience_header: AUDIENCE}


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_a_rebuilt_url_without_a_bound_audience_sends_none(form: CredentialForm) -> None:
    recipe = Recipe(form=form, audience=None)
    request = rebuilt(recipe.sign(), audience=None)
    assert dict(request.headers) == {"Host": HOST, **OURS}
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_a_rebuilt_url_is_signed_for_our_audience_or_not_at_all(form: CredentialForm) -> None:
    """I6: the value is never the client's, so STS refuses a URL that was signed for another relying party."""
    recipe = Recipe(form=form, audience="somebody-else")
    request = rebuilt(recipe.sign())
    assert dict(request.headers)[form.audience_header] == AUDIENCE
    assert not signature_holds(request, recipe)


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda name, value: (name, value.replace("%2F", "/").replace("%3D", "=")), id="bare"),
        pytest.param(lambda name, value: (name, value.replace("%3D", "=")), id="equals-signs-bare"),
        pytest.param(lambda name, value: (name, value.replace("%2F", "%2f").replace("%3B", "%3b")), id="lower-case"),
        pytest.param(lambda name, value: (name, value.replace("E", "%45")), id="letters-escaped"),
        pytest.param(lambda name, value: (name, unquote(value).replace("+", "%2B")), id="as-bare-as-can-be"),
    ],
)
def test_a_rebuilt_url_is_encoded_anew_whatever_the_clients_spelling(rewrite: type) -> None:
    """I2: equal values give equal requests, whatever their spelling in the credential."""
    recipe = Recipe(form=CredentialForm.NATIVE)
    call = recipe.sign()
    respelt = rebuilt(change_query(call, lambda pairs: [rewrite(*pair) for pair in pairs]))
    assert respelt.target == rebuilt(call).target
    assert signature_holds(respelt, recipe)


@st.composite
def spellings(draw: st.DrawFn, value: str) -> str:
    """Values with some characters percent-encoded, in either case, and some unencoded that need no encoding."""
    ways = [st.sampled_from([quote(character, safe=""), f"%{ord(character):02x}", character]) for character in value]
    return "".join(draw(way) for way in ways).replace("+", "%2B")


@settings(max_examples=50, deadline=None)
@given(st.data(), st.text("Az09+/=_.~-;:,@", min_size=1, max_size=20))
def test_a_rebuilt_url_is_what_urllib_writes_for_the_decoded_values(data: st.DataObject, version: str) -> None:
    """Values in the canonical encoding are sent unchanged, so they must equal what encoding them again gives."""
    recipe = Recipe(form=CredentialForm.NATIVE, token="Aa0+/=_.~-", version=version)
    call = recipe.sign()
    start, _, query = call.url.partition("?")
    pairs = [pair.split("=") for pair in query.split("&")]
    respelt = replace(
        call, url=f"{start}?{'&'.join(f'{name}={data.draw(spellings(unquote(value)))}' for name, value in pairs)}"
    )
    values = sorted(decode_credential(respelt.credential()).parameters.items())
    assert rebuilt(respelt).target == "/?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in values)
    assert signature_holds(rebuilt(respelt), recipe)


def test_a_rebuilt_url_has_the_parameters_in_one_order() -> None:
    call = Recipe(form=CredentialForm.NATIVE).sign()
    assert rebuilt(change_query(call, lambda pairs: pairs[::-1])).target == rebuilt(call).target


def test_a_rebuilt_url_escapes_everything_but_unreserved_characters() -> None:
    recipe = Recipe(form=CredentialForm.NATIVE, token="Aa0+/=_.~-")
    request = rebuilt(recipe.sign())
    assert "X-Amz-Security-Token=Aa0%2B%2F%3D_.~-&" in request.target
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_a_rebuilt_post_sends_the_signed_headers_and_ours(form: CredentialForm) -> None:
    call = Recipe(form=form).sign()
    request = rebuilt(call)
    assert (request.form, request.method, request.target, request.body) == (form, "POST", "/", BODY.encode())
    assert dict(request.headers) == {
        "Host": HOST,
        **OURS,
        "content-length": "43",
        "content-type": FORM_TYPE,
        "x-amz-date": "20261124T051500Z",
        "x-amz-security-token": TOKEN,
        form.audience_header: AUDIENCE,
        "Authorization": dict(call.headers)["Authorization"],
    }


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_a_rebuilt_post_sends_signed_values_in_place_of_ours(form: CredentialForm) -> None:
    recipe = Recipe(form=form, headers=(("User-Agent", "signed/1"), ("Content-Length", "43"), ("Host", HOST)))
    request = rebuilt(recipe.sign())
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))
    assert dict(request.headers)["user-agent"] == "signed/1"
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_a_rebuilt_post_supplies_a_signed_length_that_is_absent(form: CredentialForm) -> None:
    """The AWS SDK for Go v2 signs this header and leaves it to net/http. Without it the signature would be wrong."""
    recipe = Recipe(form=form, headers=(("Content-Length", "43"),))
    call = recipe.sign()
    request = rebuilt(drop_header(call, "Content-Length"))
    assert request == rebuilt(call)
    assert dict(request.headers)["content-length"] == "43"
    assert signature_holds(request, recipe)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "application/xml"),
        ("Accept-Encoding", "gzip"),
        ("Connection", "upgrade"),
        ("Content-Length", "99"),
        ("User-Agent", "evil"),
        ("Amz-Sdk-Request", "evil"),
        ("X-Amz-Target", "evil"),
        ("X-Amzn-Trace-Id", "evil"),
        ("Host", HOST),
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_a_rebuilt_post_holds_nothing_that_the_signature_does_not_cover(
    form: CredentialForm, name: str, value: str
) -> None:
    """I2, CVE-2020-16250: the client once chose Accept. An unsigned header has no effect."""
    call = Recipe(form=form).sign()
    assert rebuilt(set_header(call, name, value)) == rebuilt(call)


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_a_rebuilt_post_writes_the_authorization_in_its_one_spelling(form: CredentialForm) -> None:
    call = Recipe(form=form).sign()
    tight = dict(call.headers)["Authorization"].replace(", ", ",")
    assert rebuilt(set_header(call, "Authorization", tight)) == rebuilt(call)


@pytest.mark.parametrize("form", FORMS)
def test_a_rebuilt_request_goes_to_the_endpoint_of_the_table(form: CredentialForm) -> None:
    """I1: the host comes from the table and not from the client, even if the two differ."""
    call = Recipe(form=form).sign()
    elsewhere = replace(call, url=call.url.replace(HOST, "evil.example"))
    request = rebuilt(elsewhere)
    assert request.headers[0] == ("Host", HOST)
    assert "evil" not in f"{request.target}{request.headers}"


@pytest.mark.parametrize("form", FORMS)
def test_a_validated_request_shows_no_secret_in_its_repr(form: CredentialForm) -> None:
    """I22."""
    call = Recipe(form=form).sign()
    shown = repr(rebuilt(call))
    assert "EXAMPLE" not in shown
    assert AUDIENCE not in shown
    if form.is_presigned:
        assert parameter(call, "X-Amz-Signature") not in shown
