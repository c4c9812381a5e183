"""For every credential that the decoder accepts, the hint is None or the decoder's key id."""

import json
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.credential import decode_credential
from app.core.errors import CredentialError
from app.core.key_id_hint import hint_key_id
from app.core.signed_request import CredentialForm
from tests.support.corpus import every_scene
from tests.support.signing import ACCESS_KEY_ID, FORMS, PRESIGNED_FORMS, Recipe, base64, base64url, jwt

CALLS = {form: Recipe(form=form).sign() for form in FORMS}
URL = CALLS[CredentialForm.NATIVE].url
ENVELOPE = CALLS[CredentialForm.ENVELOPE]
PLAIN = CALLS[CredentialForm.PLAIN_ENVELOPE]
OTHER = "ASIAOTHEROTHEROTHER1"
snippets = st.text(max_size=5) | st.sampled_from(
    [
        *("?", "&", "%2F", "%41", "/", "\\", '\\"', "\\u0041", "\\u0026", "\\u003f", "=", '"', "{", " "),
        *(f"?X-Amz-Credential={OTHER}/", f"&X-Amz-Credential={OTHER}%2F", "X-Amz-Credential=", f"Credential={OTHER}/"),
        *('"iam_request_headers":""', '"role": 1,', '"x":"y",'),
    ]
)


@st.composite
def cuts(draw: st.DrawFn, text: str) -> str:
    """Texts with one part removed and a snippet inserted, most often near a key id."""
    near = text.find(ACCESS_KEY_ID)
    start = draw(st.integers(0, len(text)) | st.integers(max(0, near - 40), max(0, near) + 40))
    end = draw(st.sampled_from([start, start + 1, start + 8]))
    return text[:start] + draw(snippets) + text[end:]


def holds(text: str) -> None:
    """Compare the hint with the decoder, for a text that the decoder accepts."""
    hint = hint_key_id(text)
    try:
        decoded = decode_credential(text).signature.scope.access_key_id
    except CredentialError:
        return
    assert hint in (None, decoded)


def test_the_hint_holds_for_the_hostile_corpus() -> None:
    for _, scene in every_scene():
        holds(scene.credential)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(PRESIGNED_FORMS))
def test_the_hint_holds_for_any_url(data: st.DataObject, form: CredentialForm) -> None:
    url = data.draw(cuts(URL)).encode(errors="replace").decode()
    holds(replace(CALLS[form], url=url).credential())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_hint_holds_for_any_json_in_a_jwt(data: st.DataObject) -> None:
    payload = data.draw(cuts(json.dumps({"url": URL}))).encode(errors="replace").decode()
    holds(f"{jwt({'alg': 'none', 'typ': 'kuma-aws-v1'}, 0).partition('.')[0]}.{base64url(payload)}.")


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([str, base64url]))
def test_the_hint_holds_for_any_envelope(data: st.DataObject, write: Callable[[str], str]) -> None:
    plain = data.draw(cuts(json.dumps(PLAIN.members()))).encode(errors="replace").decode()
    headers = data.draw(cuts(json.dumps(dict(ENVELOPE.headers)))).encode(errors="replace").decode()
    members = json.dumps({**ENVELOPE.members(), "iam_request_headers": base64(headers)})
    for text in (plain, data.draw(cuts(members)).encode(errors="replace").decode()):
        holds(write(text))


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    for prefix in ("", "kuma-aws-v1.", "k8s-aws-v1.", "a.", "{"):
        holds(prefix + text)
