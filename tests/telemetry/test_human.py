"""The log for people: one line for each decision, whatever the proxy asserts."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AuthenticationError, AuthError, AuthorizationError, UpstreamError
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.decision.record import FRESH, AudienceNote, CandidateNote, DecisionRecord, TokenNote
from app.telemetry.audit import configure_logging, decision_fields, get_logger, write_decision
from app.telemetry.human import decision_line
from tests.support.principals import PRINCIPAL

CLAIM = ProxyAssertion(
    type=ProxyType.DATAPLANE,
    mesh="default",
    name="demo-app-1",
    tags={"kuma.io/service": frozenset({"demo-app"})},
    labels={"kuma.io/workload": "demo"},
)
TRAIL = DecisionRecord(request_id="request-1", client="10.0.3.17", asserted=CLAIM, principal=PRINCIPAL)
MISMATCH = AuthorizationError(Reason.PROXY_MESH_MISMATCH, "the role is for mesh payments")


def line(trail: DecisionRecord, error: AuthError | None = None) -> str:
    return decision_line({**decision_fields(trail, error, 0.0154), "event": "decision", "time": "2026-11-27T20:05:57Z"})


def test_an_approval_in_words() -> None:
    assert line(TRAIL) == (
        "2026-11-27T20:05:57Z decision allowed role 111122223333/demo-app claims dataplane mesh=default name=demo-app-1 "
        "workload=demo service=demo-app from 10.0.3.17 request request-1 in 15.4 ms"
    )


def test_a_denial_in_words() -> None:
    assert line(TRAIL, MISMATCH) == (
        "2026-11-27T20:05:57Z decision denied proxy_mesh_mismatch role 111122223333/demo-app claims dataplane mesh=default "
        "name=demo-app-1 workload=demo service=demo-app from 10.0.3.17 request request-1 in 15.4 ms: "
        "the role is for mesh payments"
    )


NOBODY = replace(TRAIL, principal=None)
NOTE = TokenNote(jti="jti-1", kid="kid", expires_at=datetime.now(UTC), origin=FRESH)


@pytest.mark.parametrize(
    ("trail", "words"),
    [
        (NOBODY, " nobody known "),
        (replace(NOBODY, token=NOTE), " token jti-1 "),
        (replace(NOBODY, access_key_id="AKIAEXAMPLE"), " key AKIAEXAMPLE (no account, unverified) "),
        (
            replace(NOBODY, access_key_id="AKIAEXAMPLE", key_account="111122223333"),
            " key AKIAEXAMPLE (account 111122223333, unverified) ",
        ),
        (replace(TRAIL, asserted=None), " claims nothing from "),
        (replace(TRAIL, client=None), ' from "a Unix socket" '),
        (
            replace(TRAIL, asserted=ProxyAssertion(type=ProxyType.EGRESS, zone="z")),
            " claims egress zone=z from ",
        ),
        (
            replace(TRAIL, asserted=replace(CLAIM, tags={}, listeners=frozenset({ZoneListener.EGRESS}))),
            " workload=demo listener=ZoneEgress from ",
        ),
        (
            replace(TRAIL, audience=AudienceNote(expected="ours", hint="theirs")),
            " signed for audience theirs instead of ours ",
        ),
        (
            replace(TRAIL, audience=AudienceNote(expected="ours", presented="a b")),
            ' signed for audience "a b" instead of ours ',
        ),
        (replace(TRAIL, audience=AudienceNote(expected="ours")), " signed for audience (none) instead of ours "),
    ],
)
def test_who_it_was_and_what_it_claims(trail: DecisionRecord, words: str) -> None:
    assert words in line(trail)


def test_an_audience_that_the_caller_says_is_ours_is_no_difference() -> None:
    """STS rejected the credential for another cause, and the agent always says which audience it signs for."""
    trail = replace(NOBODY, audience=AudienceNote(expected="ours", hint="ours"))
    assert "audience" not in line(trail, AuthenticationError(Reason.STS_REJECTED, "STS answered 403"))


@pytest.mark.parametrize(
    ("error", "note", "words"),
    [
        (None, CandidateNote("denied", Reason.ROLE_SERVICE_MISSING), " candidate denied role_service_missing from "),
        (MISMATCH, CandidateNote("allowed"), " candidate allowed from "),
        (MISMATCH, CandidateNote("unknown", missing="role"), " candidate unknown role from "),
        (None, CandidateNote("failed"), " candidate failed from "),
    ],
)
def test_a_difference_of_the_report_only_policy_is_in_the_line(
    error: AuthError | None, note: CandidateNote, words: str
) -> None:
    assert words in line(replace(TRAIL, candidate=note), error)


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (None, CandidateNote("allowed")),
        (MISMATCH, CandidateNote("denied", Reason.PROXY_MESH_MISMATCH)),
        (UpstreamError(Reason.IAM_UNAVAILABLE, "no answer"), CandidateNote("unknown", missing="answer")),
    ],
)
def test_a_report_only_policy_that_changes_nothing_is_not_in_the_line(
    error: AuthError | None, note: CandidateNote
) -> None:
    assert "candidate" not in line(replace(TRAIL, candidate=note), error)


@given(st.text(min_size=1, max_size=20), st.text(max_size=40))
def test_no_text_of_a_client_leaves_its_place(text: str, detail: str) -> None:
    """I23: a client's text adds no line, no control character, and no word that looks like the service's own."""
    asserted = ProxyAssertion(type=ProxyType.DATAPLANE, mesh=text, tags={"kuma.io/service": frozenset({text})})
    trail = replace(TRAIL, asserted=asserted, audience=AudienceNote(expected="ours", presented=text))
    written = line(trail, AuthorizationError(Reason.PROXY_MESH_MISMATCH, detail))
    assert re.fullmatch(r"[ -~]+", written)
    # Outside quotes there are only the service's words and texts of safe characters.
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "QUOTED", written.partition(" in 15.4 ms")[0])
    assert re.fullmatch(
        r"\S+ decision denied proxy_mesh_mismatch role 111122223333/demo-app claims dataplane mesh=\S+ service=\S+ "
        r"signed for audience \S+ instead of ours from 10\.0\.3\.17 request request-1",
        bare,
    )


@pytest.mark.usefixtures("_own_logging")
def test_other_events_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "human")
    assert write_decision(TRAIL, MISMATCH, 0.0154)
    get_logger().info("decision", other="field")
    get_logger().warning("unknown caller", check="token")
    decision, other, warning = capsys.readouterr().out.splitlines()
    assert re.match(r"2\d{3}-\d\d-\d\dT\S+Z decision denied proxy_mesh_mismatch role ", decision)
    assert "other" in other
    assert "unknown caller" in warning
    assert "check" in warning
