"""The log as its reader gets it: lines of standard output, one for each decision, without any secret."""

import itertools
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.api.application import build_api
from app.api.authenticate import AuthenticateEndpoint
from app.api.known_calls import KnownCalls
from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.decision.authenticator import Decision
from app.decision.record import PRESENTED, AudienceNote, CandidateNote, DecisionRecord, TokenNote, UpstreamCall
from app.local.clock import utc_now
from app.sts.known_credentials import KnownCredentials
from app.telemetry.audit import Level, LogFormat, configure_logging, decision_fields, get_logger, write_decision
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from tests.support.principals import PRINCIPAL
from tests.support.process import run_program
from tests.support.streams import unread_pipe

CLAIM = ProxyAssertion(
    type=ProxyType.DATAPLANE,
    mesh="default",
    name="demo-app-1",
    tags={"kuma.io/service": frozenset({"b", "a"})},
    labels={"kuma.io/workload": "demo"},
)
GRANTED = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload=None, zone=None)

ReadLines = Callable[[], list[str]]


@pytest.fixture
def lines(_own_logging: None, capsys: pytest.CaptureFixture[str]) -> Callable[[Level, LogFormat], ReadLines]:
    """Configure logging as the service does. Return a function that reads the lines so far."""

    def configure(level: Level = "info", log_format: LogFormat = "json") -> ReadLines:
        configure_logging(level, log_format)
        return lambda: capsys.readouterr().out.split("\n")[:-1]

    return configure


Configure = Callable[..., ReadLines]


ROLE = RoleRecord(
    arn="arn:aws:iam::111122223333:role/mesh/demo-app",
    role_id="AROAEXAMPLEEXAMPLE001",
    name="demo-app",
    tags=(("team", "42"), ("kuma.io/type", "dataplane"), ("kuma.io/mesh", "default"), ("Kuma.io/zone", "z")),
    request_id="iam-1",
)


def full_trail() -> DecisionRecord:
    return DecisionRecord(
        request_id="request-1",
        client="10.0.1.2",
        asserted=CLAIM,
        form=CredentialForm.NATIVE,
        access_key_id="ASIAQNZGKIQY56JQ7WML",
        key_account="029608264753",
        signed_for={"host": "sts.eu-west-1.amazonaws.com", "region": "eu-west-1"},
        signed_at=datetime(2026, 11, 24, 5, 15, tzinfo=UTC),
        skew=-3.5,
        age=3.5,
        principal=PRINCIPAL,
        role=ROLE,
        granted=GRANTED,
        candidate=CandidateNote("denied", Reason.ROLE_WORKLOAD_MISSING),
        sts=UpstreamCall(cache="miss", request_id="sts-1", seconds=0.0123, region="us-east-1"),
        iam=UpstreamCall(cache="hit", request_id="iam-1"),
    )


PRINCIPAL_FIELDS = {
    "partition": "aws",
    "account": "111122223333",
    "role": "demo-app",
    "role_id": "AROAEXAMPLEEXAMPLE001",
    "session": "task-1",
}
GRANTED_FIELDS: dict[str, Any] = {
    "type": "dataplane",
    "mesh": "default",
    "service": "demo-app",
    "workload": None,
    "zone": None,
    "labels": {},
}
CLAIMED_FIELDS: dict[str, Any] = {
    "type": "dataplane",
    "mesh": "default",
    "name": "demo-app-1",
    "zone": None,
    "listeners": [],
    "services": ["a", "b"],
    "service_label": None,
    "workload": "demo",
    "labels": {},
}


def test_an_approval_is_one_json_line_with_every_field(lines: Configure) -> None:
    read = lines()
    write_decision(full_trail(), None, 0.0421)
    [line] = read()
    event: dict[str, Any] = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "event": "decision",
        "level": "info",
        "outcome": "allowed",
        "reason": None,
        "detail": None,
        "request_id": "request-1",
        "client": "10.0.1.2",
        "call": "authenticate",
        "form": "native",
        "access_key": {"id": "ASIAQNZGKIQY56JQ7WML", "unverified_account": "029608264753"},
        "signed_for": {"host": "sts.eu-west-1.amazonaws.com", "region": "eu-west-1"},
        "signed_at": "2026-11-24T05:15:00Z",
        "clock_skew_seconds": -3.5,
        "age_seconds": 3.5,
        "audience": None,
        "principal": PRINCIPAL_FIELDS,
        "claimed": CLAIMED_FIELDS,
        "role": {
            "role_id": "AROAEXAMPLEEXAMPLE001",
            "path": "/mesh/",
            "tags": {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "Kuma.io/zone": "z"},
        },
        "granted": GRANTED_FIELDS,
        "token": None,
        "candidate": {"outcome": "denied", "reason": "role_workload_missing", "missing": None},
        "sts": {"cache": "miss", "request_id": "sts-1", "duration_ms": 12.3},
        "iam": {"cache": "hit", "request_id": "iam-1", "duration_ms": 0.0},
        "duration_ms": 42.1,
    }


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AuthorizationError(Reason.ROLE_TAG_INVALID, "the value of kuma.io/mesh breaks its grammar"), "denied"),
        (UpstreamError(Reason.STS_THROTTLED, "STS answered 400 Throttling"), "error"),
        (AuthError(Reason.INTERNAL_ERROR, "a bug of ours"), "error"),
    ],
    ids=["denied", "undecided", "bug"],
)
def test_a_refusal_says_why_and_what_was_seen(error: AuthError, outcome: str) -> None:
    fields = decision_fields(full_trail(), error, 0.1)
    assert (fields["outcome"], fields["reason"], fields["detail"]) == (outcome, error.reason.value, error.detail)


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_line_that_nobody_takes_ends_nothing_and_is_told(
    monkeypatch: pytest.MonkeyPatch, log_format: LogFormat
) -> None:
    """The reader of a pipe went away, and came back."""
    with unread_pipe() as broken, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", broken)
        configure_logging("info", log_format)
        assert not write_decision(full_trail(), None, 0.1)
        get_logger().info("goes on")
    configure_logging("info", log_format)
    assert write_decision(full_trail(), None, 0.1)


def test_every_field_is_always_there(lines: Configure) -> None:
    """A query needs every field in every line."""
    read = lines()
    write_decision(full_trail(), None, 0.1)
    write_decision(DecisionRecord(request_id="request-2"), AuthError(Reason.CREDENTIAL_MALFORMED, "seen"), 0.1)
    full, bare = (json.loads(line) for line in read())
    assert full.keys() == bare.keys()
    nothing = {name for name, value in bare.items() if value is None}
    assert nothing == {
        "client",
        "form",
        "access_key",
        "signed_for",
        "signed_at",
        "clock_skew_seconds",
        "age_seconds",
        "audience",
        "principal",
        "claimed",
        "role",
        "granted",
        "token",
        "candidate",
    }
    assert bare["sts"] == bare["iam"] == {"cache": "none", "request_id": None, "duration_ms": 0.0}


HOSTILE = 'x"}\n{"event":"decision","outcome":"allowed"}\r\n\x1b[31m\u2028\u0000'


def test_a_claim_shows_its_listeners_and_keeps_the_services_of_its_tags_apart_from_the_label() -> None:
    """An operator sees which of the two a denied proxy has: Kuma compares the tags up to 2.14, and the label from 3.0 on."""
    trail = full_trail()
    trail.asserted = replace(
        CLAIM, listeners=frozenset(ZoneListener), labels={"kuma.io/service": "payments", "kuma.io/workload": "demo"}
    )
    claimed = decision_fields(trail, None, 0.1)["claimed"]
    assert claimed == {
        **CLAIMED_FIELDS,
        "listeners": ["ZoneEgress", "ZoneIngress"],
        "service_label": "payments",
    }


def test_a_presented_token_shows_the_identity_that_it_names() -> None:
    """The line is enough to replay the decision, although no role was read."""
    note = TokenNote(
        jti="jti", kid="kid", expires_at=datetime.now(UTC), origin=PRESENTED, identity=GRANTED, name="demo-app-1"
    )
    token = decision_fields(replace(full_trail(), token=note), None, 0.1)["token"]
    assert (token["identity"], token["name"]) == (GRANTED_FIELDS, "demo-app-1")


def test_iam_cannot_flood_the_log() -> None:
    """I23: IAM's answer is bounded too, even if another program sends it."""
    role = replace(
        ROLE,
        arn=f"arn:aws:iam::111122223333:role/{'p' * 60_000}/demo-app",
        role_id="A" * 60_000,
        tags=tuple((key, "v" * 60_000) for key in same_but_for_case("kuma.io/workload", 1000)),
    )
    noted = decision_fields(replace(full_trail(), role=role), None, 0.1)["role"]
    assert len(json.dumps(noted)) < 40_000
    assert len(noted["tags"]) == 50


def same_but_for_case(key: str, count: int) -> list[str]:
    spellings = itertools.product(*({letter, letter.upper()} for letter in key))
    return ["".join(letters) for letters in itertools.islice(spellings, count)]


def test_a_role_without_an_arn_of_a_role_has_no_path() -> None:
    role = replace(ROLE, arn="arn:aws:iam::111122223333:user/demo-app")
    assert decision_fields(replace(full_trail(), role=role), None, 0.1)["role"]["path"] is None


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_what_a_client_says_makes_no_line_of_its_own(lines: Configure, log_format: LogFormat) -> None:
    """I23: log fields are escaped."""
    read = lines("info", log_format)
    trail = full_trail()
    trail.asserted = ProxyAssertion(
        type=ProxyType.DATAPLANE,
        mesh=HOSTILE,
        name=HOSTILE,
        zone=HOSTILE,
        tags={"kuma.io/service": frozenset({HOSTILE})},
        labels={"kuma.io/workload": HOSTILE, "kuma.io/service": HOSTILE},
    )
    trail.role = replace(ROLE, tags=(("kuma.io/mesh", HOSTILE),))
    trail.audience = AudienceNote(expected="ours", presented=HOSTILE)
    write_decision(trail, None, 0.1)
    [line] = read()
    assert not {"\x1b", "\r", "\x00"} & set(line.replace("\x1b[0m", ""))
    if log_format == "json":
        claimed = json.loads(line)["claimed"]
        assert (claimed["mesh"], claimed["services"], claimed["workload"]) == (HOSTILE, [HOSTILE], HOSTILE)


def test_a_client_cannot_flood_the_log() -> None:
    trail = full_trail()
    trail.asserted = ProxyAssertion(
        type=ProxyType.DATAPLANE,
        mesh="m" * 60_000,
        name="n" * 60_000,
        tags={"kuma.io/service": frozenset(f"{number:0300}" for number in range(1000))},
        labels={"kuma.io/workload": "w" * 60_000, **{f"{number:03}": "v" * 60_000 for number in range(100)}},
    )
    trail.audience = AudienceNote(expected="ours", presented="a" * 60_000)
    fields = decision_fields(trail, None, 0.1)
    claimed = fields["claimed"]
    assert fields["audience"]["presented"] == "a" * 256 + "..."
    assert len(json.dumps(claimed)) < 20_000
    assert list(claimed["labels"]) == [f"{number:03}" for number in range(32)]
    assert claimed["mesh"] == "m" * 256 + "..."
    assert len(claimed["services"]) == 16


def test_a_name_of_kumas_greatest_length_is_whole() -> None:
    trail = full_trail()
    trail.asserted = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="m" * 253, name="n" * 253)
    claimed = decision_fields(trail, None, 0.1)["claimed"]
    assert (claimed["mesh"], claimed["name"]) == ("m" * 253, "n" * 253)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_least_that_is_logged(lines: Configure, level: Level, shown: list[str]) -> None:
    read = lines(level)
    log = get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert [json.loads(line)["level"] for line in read()] == shown


def test_loggers_of_libraries_write_the_same_lines(lines: Configure) -> None:
    read = lines()
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    [line] = read()
    event = json.loads(line)
    assert (event["event"], event["level"], event["logger"]) == (
        "Invalid HTTP request received.",
        "warning",
        "uvicorn.error",
    )


def test_an_exception_is_one_line(lines: Configure) -> None:
    read = lines()
    try:
        int("seen")
    except ValueError:
        get_logger().exception("bug")
    [line] = read()
    assert "ValueError" in json.loads(line)["exception"]


@pytest.mark.parametrize("name", ["botocore.auth", "botocore.endpoint", "boto3", "urllib3.connectionpool"])
def test_libraries_that_log_credentials_are_held_back_at_every_level(lines: Configure, name: str) -> None:
    """I22: their debug lines hold signatures, tokens and signed URLs."""
    read = lines("debug")
    logging.getLogger(name).debug("Signature: canary")
    logging.getLogger(name).info("https://sts.amazonaws.com/?X-Amz-Security-Token=canary")
    assert read() == []
    logging.getLogger(name).warning("connection pool is full")
    assert len(read()) == 1


class Unwritable:
    """An authenticator with a bug: its record contains a text that JSON cannot contain."""

    async def authenticate(
        self, _credential: object, _claimed: object, trail: DecisionRecord, _deadline: float
    ) -> Decision:
        trail.principal = replace(PRINCIPAL, session="canary\ud800")
        return Decision(identity=GRANTED, principal=trail.principal, expires_at=datetime.now(UTC))


async def test_a_decision_that_cannot_be_written_down_is_none_and_leaves_a_line(lines: Configure) -> None:
    """I21: the log has the request id of every 500."""
    read = lines()
    calls = KnownCalls(KnownCredentials(utc_now))
    endpoint = AuthenticateEndpoint(Unwritable(), calls, Metrics(), Readiness(), 10.0)
    api = build_api(endpoint, Metrics(), Readiness(), with_probes=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://service") as client:
        headers = {"x-request-id": "request-1"}
        answer = await client.post("/v1/authenticate", json={"credential": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
    events = [json.loads(line) for line in read()]
    [event] = [event for event in events if event["level"] != "info"]  # httpx logs its requests
    assert (event["event"], event["level"], event["request_id"]) == ("audit line not written", "error", "request-1")
    assert "canary" not in repr(events)


def test_importing_the_module_configures_nothing() -> None:
    script = "import logging, app.telemetry.audit; print(logging.getLogger().handlers)"
    assert run_program(sys.executable, "-c", script).out == "[]\n"
