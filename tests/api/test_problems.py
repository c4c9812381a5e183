"""One problem document (RFC 9457) for each reason, from one table."""

import json
import re

import pytest

from app.api.problems import MEDIA_TYPE, problem_answer, reason_answer
from app.api.schemas import Problem
from app.core.errors import CredentialError, RequestError
from app.core.reasons import EXPLANATIONS, Reason

STATUSES = {400, 401, 403, 404, 405, 413, 415, 500, 503}


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_own_problem(reason: Reason) -> None:
    answer = reason_answer(reason, "request-1")
    explanation = EXPLANATIONS[reason]
    assert answer.media_type == MEDIA_TYPE == "application/problem+json"
    problem = json.loads(answer.body)
    assert list(problem) == ["type", "title", "status", "detail", "reason", "requestId"]
    assert problem == {
        "type": "about:blank",
        "title": explanation.title,
        "status": explanation.status,
        "detail": explanation.detail,
        "reason": reason.value,
        "requestId": "request-1",
    }
    assert answer.status == explanation.status
    assert answer.status in STATUSES
    assert Problem.model_validate(problem).reason is reason


@pytest.mark.parametrize("reason", Reason)
def test_only_what_was_not_decided_asks_to_come_again(reason: Reason) -> None:
    headers = dict(reason_answer(reason, "request-1").extra_headers)
    assert (b"retry-after" in headers) == (EXPLANATIONS[reason].status == 503)
    if headers:
        assert 1 <= int(headers[b"retry-after"]) <= 60


@pytest.mark.parametrize("reason", Reason)
def test_an_explanation_is_a_sentence_with_a_remedy(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    assert explanation.detail.endswith(".")
    assert not explanation.title.endswith(".")
    assert re.fullmatch(r"[ -~]+", explanation.detail + explanation.title)
    assert not re.search(r"[{}]", explanation.detail)  # the text has no placeholder


def test_titles_tell_reasons_apart() -> None:
    titles = [explanation.title for explanation in EXPLANATIONS.values()]
    assert len(set(titles)) == len(titles)


def test_what_was_seen_does_not_go_out() -> None:
    """I24: `detail` is only for the audit line."""
    answer = problem_answer(CredentialError(Reason.HOST_NOT_ALLOWED, "canary"), "request-1")
    assert b"canary" not in answer.body


def test_the_field_of_a_malformed_call_goes_out() -> None:
    error = RequestError(Reason.MALFORMED_REQUEST, "canary", field="proxy.mesh")
    detail = json.loads(problem_answer(error, "request-1").body)["detail"]
    assert detail == f"At fault: proxy.mesh. {EXPLANATIONS[Reason.MALFORMED_REQUEST].detail}"
