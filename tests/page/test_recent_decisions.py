"""What the page remembers: the latest decisions in bounded memory. It never changes the outcome of a decision."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from app.core.errors import UpstreamError
from app.core.proxy import ProxyAssertion, ProxyType
from app.core.reasons import Reason
from app.decision.record import DecisionRecord
from app.local.clock import utc_now
from app.page.agents_seen import MAX_AGENTS
from app.page.recent_decisions import MAX_DECISIONS, MAX_LINE_BYTES, RecentDecisions, encode_line
from app.telemetry.audit import decision_fields
from tests.support.decisions_page import denial, recent_decisions, record
from tests.support.principals import PRINCIPAL

MOST_BYTES = 2_000_000


def test_the_latest_decisions_are_kept_newest_first() -> None:
    recent = recent_decisions(most=3)
    for number in range(5):
        recent.note(record(request_id=f"request-{number}"), None, 0.001)
    kept = [(line.number, orjson.loads(line.json)["request_id"]) for line in recent.lines()]
    assert kept == [(5, "request-4"), (4, "request-3"), (3, "request-2")]
    assert recent.count == 5


def test_a_kept_decision_is_its_audit_line_and_the_time() -> None:
    recent = recent_decisions()
    trail, error = record(), denial()
    recent.note(trail, error, 0.001)
    kept = orjson.loads(recent.lines()[0].json)
    assert kept.pop("time").startswith("20")
    assert kept == orjson.loads(orjson.dumps(decision_fields(trail, error, 0.001), option=orjson.OPT_UTC_Z))


LONGEST = "\x01" * 253
LONGEST_ASSERTION = ProxyAssertion(
    type=ProxyType.DATAPLANE,
    mesh=LONGEST,
    name=LONGEST,
    zone=LONGEST,
    tags={"kuma.io/service": frozenset(f"{each:02}{LONGEST[2:]}" for each in range(64))},
    labels={
        "kuma.io/service": LONGEST,
        "kuma.io/workload": LONGEST,
        **{f"{each:02}{LONGEST[2:]}": LONGEST for each in range(64)},
    },
)


def longest(number: int) -> DecisionRecord:
    """A decision with the longest texts that a client can send, in characters that take six bytes in JSON."""
    trail = record("x", request_id=f"{number:0128}")
    trail.asserted = LONGEST_ASSERTION
    trail.principal = replace(PRINCIPAL, role="r" * 64, role_id="A" * 128, session=f"{number:064}")
    trail.client = "2001:0db8:0000:0000:0000:ff00:0042:8329"
    return trail


def fullest(number: int) -> DecisionRecord:
    """A decision whose line is just short enough to be kept as it is."""
    trail = record("x" * 17, request_id=f"{number:0128}")
    trail.principal = replace(PRINCIPAL, role="r" * 9, session=f"{number:032}")
    return trail


def test_the_fullest_line_is_kept_as_it_is() -> None:
    fields = decision_fields(fullest(1), denial(), 0.001)
    line = encode_line(fields)
    assert line == orjson.dumps(fields, option=orjson.OPT_UTC_Z)
    assert MAX_LINE_BYTES - 100 < len(line) <= MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("make", "tasks"),
    [(lambda _: record(), 1), (fullest, MAX_AGENTS), (longest, MAX_AGENTS)],
    ids=["usual", "fullest", "longest"],
)
def test_a_thousand_decisions_take_less_than_two_megabytes(make: Callable[[int], DecisionRecord], tasks: int) -> None:
    """With everything else that the page remembers, and after more decisions than are kept."""
    trails = [make(number) for number in range(MAX_DECISIONS + 100)]
    tracemalloc.start()
    try:
        recent = RecentDecisions(utc_now, lambda: 0.0)
        while trails:  # the record's own memory does not count
            recent.note(trails.pop(), denial(), 0.001)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (recent.unrecorded, len(recent.lines()), len(recent.agents)) == (0, MAX_DECISIONS, tasks)
    assert used < MOST_BYTES, f"{used} bytes"


def test_a_long_line_is_shortened_and_stays_whole_where_it_matters() -> None:
    line = encode_line(decision_fields(longest(1), denial(), 0.001))
    assert len(line) <= MAX_LINE_BYTES
    fields = orjson.loads(line)
    assert fields["request_id"] == f"{1:0128}"
    assert (fields["outcome"], fields["reason"], fields["form"]) == ("denied", Reason.PROXY_MESH_MISMATCH, "native")


CAUSE = (
    "AssumeRole answered AccessDenied, denied by a policy that AWS does not name; attach a policy that allows "
    "sts:AssumeRole to the service's own role, and check the reader role: it must exist under "
    "KMESH_AWSIAM_READER_ROLE_NAME, trust the service's role, and ask for the external id of "
    "KMESH_AWSIAM_READER_EXTERNAL_ID"
)
UNREADABLE = UpstreamError(Reason.IAM_ACCESS_DENIED, CAUSE)


@pytest.mark.parametrize("make", [fullest, longest])
def test_no_text_of_a_client_takes_the_place_of_the_cause(make: Callable[[int], DecisionRecord]) -> None:
    """The page shows ``detail`` as what the service saw, with the remedy, and a client can make any line too long."""
    line = encode_line(decision_fields(make(1), UNREADABLE, 0.001))
    assert len(line) <= MAX_LINE_BYTES
    assert orjson.loads(line)["detail"] == CAUSE


def test_a_long_cause_takes_the_place_of_no_name() -> None:
    """The role is not read, so many members are null, and only these are left out."""
    trail = record("payments-backend_production_svc_8080", request_id="1-5759e988-bd862e3fe1be46a994272793")
    trail.role = trail.granted = trail.token = None
    trail.client = "2001:0db8:85a3:0000:0000:8a2e:0370:7334"
    trail.principal = replace(PRINCIPAL, role="payments-production-backend-ecs-task-role", session=f"{1:032}")
    trail.signed_for = {"host": "sts-fips.ap-southeast-2.amazonaws.com", "region": "ap-southeast-2"}
    fields = {"time": utc_now(), **decision_fields(trail, UNREADABLE, 0.001)}
    assert len(orjson.dumps(fields)) > MAX_LINE_BYTES, "this line is too short for this test"
    kept = orjson.loads(encode_line(fields))
    assert (kept["detail"], kept["principal"]["role"]) == (CAUSE, "payments-production-backend-ecs-task-role")
    assert kept["claimed"]["mesh"] == "payments-backend_production_svc_8080"


def test_a_line_that_no_cut_makes_short_enough_keeps_what_no_client_chooses() -> None:
    fields = {**decision_fields(record(), denial(), 0.001), **{f"new-{each}": "\x01" * 16 for each in range(100)}}
    line = encode_line(fields)
    assert len(line) <= MAX_LINE_BYTES
    assert orjson.loads(line)["principal"]["role"] == "demo"


def test_a_usual_line_is_not_shortened() -> None:
    fields = decision_fields(record("x" * 20), denial(), 0.001)
    assert orjson.loads(encode_line(fields))["detail"] == "the role is for mesh default"
    assert encode_line(fields) == orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def test_what_cannot_be_recorded_is_counted_and_raises_nothing() -> None:
    """JSON cannot contain a lone surrogate. The audit line of such a decision fails too."""
    recent = recent_decisions()
    recent.note(record(request_id="\ud800"), None, 0.001)
    assert (recent.unrecorded, recent.lines()) == (1, [])


def test_reasons_and_caches_are_counted() -> None:
    recent = recent_decisions()
    recent.note(record(), None, 0.001)
    recent.note(record(), denial(), 0.001)
    assert recent.reasons.within(5).counts == {"allowed": 1, "proxy_mesh_mismatch": 1}
    assert recent.caches.within(5).counts == {"identity miss": 2, "role hit": 2}


def test_only_tasks_of_listed_accounts_are_remembered() -> None:
    """Everybody has roles in some account, and must not evict the tasks of the mesh."""
    recent = recent_decisions()
    recent.note(record("stranger"), denial(Reason.ACCOUNT_NOT_AUTHORIZED), 0.001)
    recent.note(DecisionRecord("request-1"), denial(Reason.MALFORMED_REQUEST), 0.001)
    recent.note(record("known"), denial(Reason.PROXY_MESH_MISMATCH), 0.001)
    recent.note(record("known"), None, 0.001)
    [agent] = recent.agents.latest()
    assert (agent.role, agent.client, agent.reason, agent.decisions) == ("known", "known", None, 2)
