"""A rejection by STS gets the reason `audience_mismatch` if the caller names another audience. Nothing else changes."""

from dataclasses import replace

import pytest

from app.api.audience_hint import name_audience
from app.core.audience_hint import AUDIENCE_HINT_HEADER
from app.core.errors import AuthError
from app.core.known_credential import NewCredential
from app.core.reasons import EXPLANATIONS, Reason
from app.core.signed_request import CredentialForm
from app.decision.record import DecisionRecord
from tests.support.service import RunningService
from tests.support.signing import AUDIENCE, FORMS, Recipe
from tests.support.world import PROXY, Aws, recipe_of

HINT = AUDIENCE_HINT_HEADER.lower()
OTHER = "other-control-plane"
PRESIGNED = [form for form in FORMS if form.is_presigned]
POSTED = [form for form in FORMS if not form.is_presigned]


@pytest.mark.parametrize("form", PRESIGNED)
async def test_each_call_is_answered_by_its_own_hint(service: RunningService, aws: Aws, form: CredentialForm) -> None:
    """The service caches the rejection without the hint, so no caller can change the answer to another caller."""
    credential = replace(recipe_of(aws.task(), form), audience=OTHER).credential()
    hints: list[tuple[str | None, str]] = [
        (OTHER, "audience_mismatch"),
        (None, "sts_rejected"),
        (AUDIENCE, "sts_rejected"),
        ("a third one", "audience_mismatch"),
        ("not\tprintable", "sts_rejected"),
        ("a" * 256, "sts_rejected"),
        (OTHER, "audience_mismatch"),
    ]
    for hint, reason in hints:
        answer = await service.present(credential, PROXY, **({} if hint is None else {HINT: hint}))
        assert (answer.status_code, answer.json()["reason"]) == (401, reason)
        assert OTHER not in answer.text
        assert "third" not in answer.text
    assert len(aws.sts_calls()) == 1
    lines = service.decisions()
    assert [line["sts"]["cache"] for line in lines] == ["miss", *["hit"] * 6]
    notes = [line["audience"] for line in lines]
    assert notes[0] == notes[-1] == {"expected": AUDIENCE, "presented": None, "hint": OTHER}
    assert notes[2] == {"expected": AUDIENCE, "presented": None, "hint": AUDIENCE}
    assert (notes[1], notes[4], notes[5]) == (None, None, None)
    for line in lines:
        assert "SignatureDoesNotMatch" in line["detail"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_wrong_hint_turns_no_approval_into_a_denial(
    service: RunningService, aws: Aws, form: CredentialForm
) -> None:
    credential = aws.credential(form=form)
    for _ in range(2):
        assert (await service.present(credential, PROXY, **{HINT: OTHER})).status_code == 200
    assert [line["audience"] for line in service.decisions()] == [None, None]


@pytest.mark.parametrize("form", POSTED)
async def test_an_envelope_of_this_audience_that_sts_rejects_is_only_rejected(
    service: RunningService, aws: Aws, form: CredentialForm
) -> None:
    """An envelope contains its audience, and the service has compared it, so the hint adds no information."""
    credential = replace(recipe_of(aws.task(), form), secret_key="wrong").credential()
    for _ in range(2):
        answer = await service.present(credential, PROXY, **{HINT: OTHER})
        assert answer.json()["reason"] == "sts_rejected"


@pytest.mark.parametrize("form", POSTED)
async def test_an_envelope_for_another_audience_leaves_both_values(
    service: RunningService, aws: Aws, form: CredentialForm
) -> None:
    credential = replace(recipe_of(aws.task(), form), audience=OTHER).credential()
    answer = await service.present(credential, PROXY)
    assert answer.json()["reason"] == "audience_mismatch"
    [line] = service.decisions()
    assert line["audience"] == {"expected": AUDIENCE, "presented": OTHER, "hint": None}


@pytest.mark.parametrize("reason", Reason)
def test_only_a_rejection_by_sts_gets_another_name(reason: Reason) -> None:
    error, trail = AuthError(reason, "seen"), DecisionRecord("request-1")
    credential = NewCredential(Recipe(form=CredentialForm.NATIVE).credential(), b"")
    named = name_audience(error, credential, [(HINT.encode(), OTHER.encode())], AUDIENCE, trail)
    if reason is Reason.STS_REJECTED:
        assert named.reason is Reason.AUDIENCE_MISMATCH
        assert EXPLANATIONS[named.reason].status == EXPLANATIONS[reason].status
    else:
        assert named is error
        assert trail.audience is None


def test_the_sentence_names_the_setting_of_both_sides() -> None:
    sentence = EXPLANATIONS[Reason.AUDIENCE_MISMATCH].detail
    assert "--audience" in sentence
    assert "this service's KMESH_AWSIAM_AUDIENCE" in sentence
