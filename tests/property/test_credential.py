"""For any input as a credential, the result is a request or a `CredentialError`, and always the same one."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.credential import decode_credential, encode_jwt_clothes, encode_native
from app.core.errors import CredentialError
from app.core.forwarding import ValidatedRequest
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from tests.support.signing import (
    AUDIENCE,
    FORMS,
    HOST,
    NOW,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    Recipe,
    base64,
    base64url,
    judge,
    jwt,
    make_policy,
    signature_holds,
)

bounded = settings(max_examples=200, deadline=None)
UNBOUND = make_policy(allow_unbound=True)
CALLS = {form: Recipe(form=form).sign() for form in FORMS}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)
# The alphabets of a URL, a query and a header, and characters outside of them.
snippets = st.text(max_size=5) | st.sampled_from(
    [
        *("", "&", ";", "=", "?", "#", "/", "//", "%", "%00", "%0a", "%2F", "+", " ", "\n", "\\", "@", ":443", "{"),
        *("\u00e9", "\u212a", "\ud800", "https://", "evil.example", "X-Amz-Date", "x-amz-date"),
        *("Action=AssumeRole", "&Action=GetCallerIdentity"),
    ]
)


@st.composite
def cuts(draw: st.DrawFn, text: str) -> str:
    """Texts with one part removed and a snippet inserted."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.sampled_from([start, min(start + 1, len(text)), min(start + 8, len(text)), len(text)]))
    return text[:start] + draw(snippets) + text[end:]


def accepted(text: str) -> ValidatedRequest | None:
    """Apply the rules to a credential. Any other error than `CredentialError` fails the test."""
    try:
        return judge(text, UNBOUND)
    except CredentialError:
        return None


def assert_harmless(request: ValidatedRequest | None) -> None:
    """Every accepted credential calls GetCallerIdentity of STS, and nothing else (I1, I2, I3)."""
    if request is None:
        return
    question = b"Action=GetCallerIdentity&Version=2011-06-15"
    sent = {name.lower(): value for name, value in request.headers}
    assert len(sent) == len(request.headers)
    assert sent["host"] == request.endpoint.host
    if request.form.is_presigned:
        assert request.method == "GET"
        assert request.body == b""
        assert request.target.startswith(f"/?{question.decode()}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=")
        assert request.target.count("&") == 8
    else:
        assert (request.method, request.target, request.body) == ("POST", "/", question)
        assert sent["content-length"] == str(len(question))
    assert all(value.isascii() and value.isprintable() for value in (request.target, *sent.values()))
    assert timedelta(0) < request.lifetime <= timedelta(minutes=15)
    with suppress(CredentialError):
        assert require_fresh(request, NOW).expires_at <= NOW + timedelta(minutes=20)


@bounded
@given(st.text())
def test_arbitrary_text_is_rejected_and_breaks_nothing(text: str) -> None:
    assert_harmless(accepted(text))


@bounded
@given(st.sampled_from(["kuma-aws-v1.", "k8s-aws-v1.", ""]), st.binary(max_size=200))
def test_arbitrary_bytes_in_base64url_are_rejected_and_break_nothing(prefix: str, data: bytes) -> None:
    assert_harmless(accepted(prefix + base64url(data.decode("latin-1"))))


@bounded
@given(json_values, json_values)
def test_arbitrary_json_is_rejected_and_breaks_nothing(one: Any, other: Any) -> None:
    assert_harmless(accepted(json.dumps(one)))
    assert_harmless(accepted(base64url(json.dumps(one))))
    assert_harmless(accepted(jwt(one, other)))


@bounded
@given(st.data(), st.sampled_from(FORMS))
def test_a_credential_that_is_cut_at_any_place_is_harmless(data: st.DataObject, form: CredentialForm) -> None:
    assert_harmless(accepted(data.draw(cuts(CALLS[form].credential()))))


@bounded
@given(st.data(), st.sampled_from(PRESIGNED_FORMS))
def test_a_url_that_is_cut_at_any_place_is_harmless(data: st.DataObject, form: CredentialForm) -> None:
    call = replace(CALLS[form], url=data.draw(cuts(CALLS[form].url)).replace("\ud800", "?"))
    assert_harmless(accepted(call.credential()))


@bounded
@given(st.data(), st.sampled_from(POSTED_FORMS))
def test_an_envelope_with_any_member_changed_is_harmless(data: st.DataObject, form: CredentialForm) -> None:
    members = CALLS[form].members()
    name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(json_values | cuts(str(members[name])))
    assert_harmless(accepted(json.dumps(members)))


@bounded
@given(st.data(), st.sampled_from(POSTED_FORMS))
def test_an_envelope_with_any_header_changed_is_harmless(data: st.DataObject, form: CredentialForm) -> None:
    headers: dict[str, Any] = dict(CALLS[form].headers)
    name = data.draw(st.sampled_from(sorted(headers)))
    value = headers.pop(name)
    headers[data.draw(st.just(name) | cuts(name))] = data.draw(json_values | cuts(value))
    written: dict[str, Any] = {"headers": headers}
    if form is CredentialForm.ENVELOPE:
        written = {"iam_request_headers": base64(json.dumps(headers))}
    assert_harmless(accepted(json.dumps(CALLS[form].members() | written)))


@bounded
@given(st.text(max_size=300))
def test_a_url_is_read_out_of_both_native_forms_alike(url: str) -> None:
    """The two native forms must mean the same for every URL."""
    outcomes = []
    for encode in (encode_native, encode_jwt_clothes):
        try:
            outcomes.append(decode_credential(encode(url)).parameters)
        except (CredentialError, UnicodeEncodeError):  # encode_native takes only ASCII: callers pass a signed URL
            outcomes.append({})
    assert outcomes[0] == outcomes[1]


tokens = st.text("ABCXYZabcxyz0189+/=_.~-", min_size=1, max_size=200)


@bounded
@given(
    form=st.sampled_from(FORMS),
    token=tokens,
    key=st.text("ABCXYZ0189", min_size=16, max_size=128),
    expires=st.integers(1, 900),
    seconds=st.integers(0, 10**9),
    audience=st.text("abcXYZ019._:/-", min_size=1, max_size=60),
)
def test_what_is_validly_signed_passes_and_its_signature_still_holds(
    *, form: CredentialForm, token: str, key: str, expires: int, seconds: int, audience: str
) -> None:
    recipe = Recipe(
        form=form,
        token=token,
        access_key_id=key,
        expires=expires,
        now=NOW.replace(year=2000) + timedelta(seconds=seconds),
        audience=audience,
    )
    request = judge(recipe.credential(), make_policy(audience=audience))
    assert request.endpoint.host == HOST
    assert request.signed_at == recipe.now
    assert signature_holds(request, recipe)


@bounded
@given(form=st.sampled_from(FORMS), other=st.text("abcXYZ019._:/-", min_size=1, max_size=60))
def test_what_is_signed_for_somebody_else_never_leaves_with_a_valid_signature(form: CredentialForm, other: str) -> None:
    recipe = Recipe(form=form, audience=other)
    request = accepted(recipe.credential())
    assert other == AUDIENCE or request is None or not signature_holds(request, recipe)
