"""``preview``: what it reads, what it counts, what it reports about its input, and its exit status."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.cli import preview
from app.core.errors import AuthorizationError, CredentialError, UpstreamError
from app.core.proxy import ProxyType
from app.core.reasons import Reason
from app.decision.record import DecisionRecord
from app.policy import changes
from app.policy.log_lines import MAX_LINE_BYTES
from app.telemetry.audit import decision_fields
from tests.cli.conftest import Invoke
from tests.support.policy_scenes import PROXY, SCENES, make_proxy, make_role
from tests.support.principals import PRINCIPAL
from tests.support.world import ACCOUNT, NEW_GENERATION, OTHER_ACCOUNT

ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/mesh/demo-app"
TAGS = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "default"}


def line(number: int = 1, error: Any = None, *, role: bool = True, **claim: Any) -> bytes:
    """Return the audit line of a proxy that matches its role."""
    record = DecisionRecord(
        f"request-{number}",
        principal=PRINCIPAL,
        role=make_role(SCENES[0][0]) if role else None,
        asserted=make_proxy({**PROXY, **claim}),
    )
    time = f"2026-11-27T09:00:{number % 60:02}.000000Z"
    return orjson.dumps({**decision_fields(record, error, 0.1), "event": "decision", "time": time}) + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "service.log"
    path.write_bytes(line())
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "candidate.env"
    write(path)
    return path


def write(path: Path, **changed: str) -> None:
    variables = {**NEW_GENERATION, **changed}
    path.write_text("".join(f"{name}={text}\n" for name, text in variables.items()))


def result_of(invoke: Invoke, *arguments: object, status: int = 0, **options: Any) -> dict[str, Any]:
    result = invoke("preview", "--json", *map(str, arguments), **options)
    assert result.exit_code == status, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_policy_that_changes_nobody_is_0(invoke: Invoke, log: Path, settings: Path) -> None:
    found = result_of(invoke, "--log", log, "--settings", settings)
    assert found["lines"]["unchanged"] == 1
    assert found["changes"] == []
    assert found["first_seen"] == found["last_seen"] == "2026-11-27T09:00:01.000000Z"


def test_somebody_who_would_be_denied_is_1(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(line(1, name="a") + line(3, name="b") + line(2, name="a"))
    write(settings, KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true")
    found = result_of(invoke, "--log", log, "--settings", settings, status=1)
    assert found["changes"] == [
        {
            "change": "denied",
            "role": f"arn:aws:iam::{ACCOUNT}:role/demo-app",
            "proxy": "dataplane of mesh default",
            "names": ["a", "b"],
            "reason_before": None,
            "reason_after": "role_workload_missing",
            "lines": 3,
            "last_seen": "2026-11-27T09:00:03.000000Z",
            "request_id": "request-3",
        }
    ]


def test_lines_of_any_order_give_the_first_and_the_last_time(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(line(2) + line(1) + line(63) + line(3))
    write(settings, KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true")
    found = result_of(invoke, "--log", log, "--settings", settings, status=1)
    assert (found["first_seen"][-10:], found["last_seen"][-10:]) == ("01.000000Z", "03.000000Z")
    # Two lines have the last time; the later one in the log counts.
    assert found["changes"][0]["request_id"] == "request-3"


@pytest.mark.parametrize(
    ("claim", "proxy", "names"),
    [
        (None, "(not named)", []),
        ({"name": None}, "dataplane of mesh default", []),
        ({"type": ProxyType.INGRESS, "mesh": None}, "ingress", ["demo"]),
    ],
    ids=["identity-alone", "no-name", "no-mesh"],
)
def test_a_row_names_what_the_proxy_asserted(
    invoke: Invoke, log: Path, settings: Path, claim: dict[str, Any] | None, proxy: str, names: list[str]
) -> None:
    members = json.loads(line(**(claim or {})))
    log.write_bytes(orjson.dumps(members if claim is not None else {**members, "claimed": None}))
    write(settings, KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=OTHER_ACCOUNT)
    [row] = result_of(invoke, "--log", log, "--settings", settings, status=1)["changes"]
    assert (row["proxy"], row["names"]) == (proxy, names)


def test_no_text_of_a_log_reaches_the_terminal_as_it_is(invoke: Invoke, log: Path, settings: Path) -> None:
    """I23: a log can contain lines that this service has not written."""
    attack = "\x1b[2J\x9b31m\u202e\r"
    members = json.loads(line())
    members["claimed"]["mesh"] = members["claimed"]["name"] = members["request_id"] = members["time"] = attack
    members["principal"]["role"] = attack
    log.write_bytes(orjson.dumps(members) + b"\n")
    write(settings, KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=OTHER_ACCOUNT)
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert result.exit_code == 1
    assert re.fullmatch(r"[\n -~]+", result.stdout)


def test_somebody_who_would_be_allowed_is_0(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(line(error=AuthorizationError(Reason.ROLE_WORKLOAD_MISSING, "")))
    found = result_of(invoke, "--log", log, "--settings", settings)
    assert [(row["change"], row["reason_before"]) for row in found["changes"]] == [("allowed", "role_workload_missing")]


def test_a_denial_for_another_reason_is_counted(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(line(error=AuthorizationError(Reason.ROLE_WORKLOAD_MISSING, "")))
    write(settings, KMESH_AWSIAM_ROLE_PATH_PREFIX="/other/")
    assert result_of(invoke, "--log", log, "--settings", settings)["lines"]["denied_for_another_reason"] == 1


def test_the_environment_is_the_policy_where_no_file_is_given(invoke: Invoke, log: Path, tmp_path: Path) -> None:
    tags = tmp_path / "tags.json"
    tags.write_text(json.dumps({ROLE_ARN: TAGS}))
    variables = {**NEW_GENERATION, "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"}
    found = result_of(invoke, "--log", log, "--role-tags", tags, status=1, **variables)
    assert found["changes"][0]["reason_after"] == "role_workload_missing"


@pytest.mark.parametrize(
    "value",
    [
        {**TAGS, "kuma.io/mesh": "payments"},
        [{"Key": key, "Value": value} for key, value in {**TAGS, "kuma.io/mesh": "payments"}.items()],
        {
            "Tags": [{"Key": key, "Value": value} for key, value in {**TAGS, "kuma.io/mesh": "payments"}.items()],
            "IsTruncated": False,
        },
    ],
    ids=["object", "list", "answer-of-list-role-tags"],
)
def test_new_tags_of_a_role_are_judged(
    invoke: Invoke, log: Path, settings: Path, tmp_path: Path, value: object
) -> None:
    tags = tmp_path / "tags.json"
    tags.write_text(json.dumps({ROLE_ARN: value, f"arn:aws:iam::{OTHER_ACCOUNT}:role/backend": TAGS}))
    found = result_of(invoke, "--log", log, "--settings", settings, "--role-tags", tags, status=1)
    assert found["changes"][0]["reason_after"] == "proxy_mesh_mismatch"
    assert found["roles_without_a_line"] == [f"arn:aws:iam::{OTHER_ACCOUNT}:role/backend"]


def test_new_tags_make_a_role_known_that_was_not_read(
    invoke: Invoke, log: Path, settings: Path, tmp_path: Path
) -> None:
    log.write_bytes(line(error=AuthorizationError(Reason.ACCOUNT_NOT_AUTHORIZED, ""), role=False))
    found = result_of(invoke, "--log", log, "--settings", settings)
    assert (found["changes"], found["unknown"]["role"]) == ([], 1)
    tags = tmp_path / "tags.json"
    tags.write_text(json.dumps({ROLE_ARN: TAGS}))
    found = result_of(invoke, "--log", log, "--settings", settings, "--role-tags", tags)
    assert [row["change"] for row in found["changes"]] == ["allowed"]


def test_new_tags_concern_no_other_role(invoke: Invoke, log: Path, settings: Path, tmp_path: Path) -> None:
    nobody = decision_fields(DecisionRecord("request-2"), CredentialError(Reason.CREDENTIAL_MALFORMED, ""), 0.1)
    log.write_bytes(line() + orjson.dumps({**nobody, "event": "decision"}))
    tags, other = tmp_path / "tags.json", f"arn:aws:iam::{OTHER_ACCOUNT}:role/backend"
    tags.write_text(json.dumps({other: TAGS}))
    found = result_of(invoke, "--log", log, "--settings", settings, "--role-tags", tags)
    assert (found["lines"]["decisions"], found["lines"]["unchanged"]) == (2, 2)
    assert found["roles_without_a_line"] == [other]


@pytest.mark.parametrize("reason", [Reason.ROLE_NOT_FOUND, Reason.ROLE_ID_MISMATCH])
def test_new_tags_do_not_revive_a_role(
    invoke: Invoke, log: Path, settings: Path, tmp_path: Path, reason: Reason
) -> None:
    log.write_bytes(line(error=AuthorizationError(reason, ""), role=False))
    tags = tmp_path / "tags.json"
    tags.write_text(json.dumps({ROLE_ARN: TAGS}))
    found = result_of(invoke, "--log", log, "--settings", settings, "--role-tags", tags)
    assert found["lines"]["unchanged"] == 1


def test_an_approval_that_would_be_unknown_is_1(invoke: Invoke, log: Path, settings: Path) -> None:
    """The audit line is of a version that did not write the role."""
    old = json.loads(line())
    del old["role"]
    log.write_text(json.dumps(old))
    found = result_of(invoke, "--log", log, "--settings", settings, status=1)
    assert (found["unknown"]["role"], found["lines"]["unknown_and_were_allowed"]) == (1, 1)
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert "1 of the unknown decisions were allowed, so the exit status is 1." in result.stdout


def test_a_decision_without_an_answer_is_unknown_and_0(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(line(error=UpstreamError(Reason.IAM_UNAVAILABLE, ""), role=False))
    assert result_of(invoke, "--log", log, "--settings", settings)["unknown"]["answer"] == 1


def test_a_decision_without_an_answer_that_the_policy_would_deny_is_no_change(
    invoke: Invoke, log: Path, settings: Path
) -> None:
    """The log has no answer to compare the verdict with."""
    log.write_bytes(line(error=UpstreamError(Reason.IAM_UNAVAILABLE, ""), role=False))
    write(settings, KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=OTHER_ACCOUNT)
    found = result_of(invoke, "--log", log, "--settings", settings)
    assert (found["changes"], found["unknown"]["answer"]) == ([], 1)


# The log.


def around(text: bytes) -> dict[str, bytes]:
    inner = text.decode().strip()
    return {
        "cloudwatch-tail": b"2026-11-27T09:00:01.000000+00:00 service/abc " + text,
        "cloudwatch-export": b"2026-11-27T09:00:01.000Z " + text,
        "cloudwatch-event": json.dumps({"timestamp": 1, "message": inner}).encode(),
        "insights": json.dumps({"@message": inner}).encode(),
        "docker": json.dumps({"log": f"{inner}\n", "stream": "stdout"}).encode(),
        "gzip": gzip.compress(text),
    }


@pytest.mark.parametrize("how", around(b"{}"))
def test_what_collectors_put_around_a_line_does_not_matter(invoke: Invoke, log: Path, settings: Path, how: str) -> None:
    log.write_bytes(around(line())[how])
    assert result_of(invoke, "--log", log, "--settings", settings)["lines"]["decisions"] == 1


@pytest.mark.parametrize("text", [line(), gzip.compress(line())], ids=["plain", "gzip"])
def test_a_log_comes_by_stdin_too(invoke: Invoke, settings: Path, text: bytes) -> None:
    found = result_of(invoke, "--log", "-", "--settings", settings, stdin=text)
    assert found["lines"]["decisions"] == 1


def test_several_logs_are_one(invoke: Invoke, log: Path, settings: Path) -> None:
    assert result_of(invoke, "--log", log, "--log", log, "--settings", settings)["lines"]["decisions"] == 2


def test_other_lines_are_skipped_and_counted(invoke: Invoke, log: Path, settings: Path) -> None:
    others = [
        b"",
        b"decision: started",
        b'{"event":"reloaded","what":"decision"}',
        b'{"event":"decision"',
        b'["decision"]',
        b'{"message":"decision {"}',
        b"\xff\xfe decision {}",
        b'{"event":"decision","x":"' + b"x" * MAX_LINE_BYTES + b'"}',
    ]
    log.write_bytes(b"\n".join(others) + b"\n" + line())
    lines = result_of(invoke, "--log", log, "--settings", settings)["lines"]
    assert (lines["decisions"], lines["other"], lines["unreadable"]) == (1, 8, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "no_such_reason"},
        {"outcome": ["allowed"]},
        {"principal": {}},
        {"principal": 1},
        {"claimed": {"type": "dataplane"}},
        {"claimed": {**json.loads(line())["claimed"], "services": [1]}},
        {"role": {"path": "/", "tags": {"kuma.io/type": None}, "role_id": "x"}},
    ],
)
def test_a_line_that_this_version_cannot_read_may_be_an_approval_and_is_1(
    invoke: Invoke, log: Path, settings: Path, change: dict[str, object]
) -> None:
    log.write_bytes(line() + json.dumps({**json.loads(line()), **change}).encode())
    lines = result_of(invoke, "--log", log, "--settings", settings, status=1)["lines"]
    assert (lines["decisions"], lines["unreadable"], lines["unreadable_and_may_be_allowed"]) == (1, 1, 1)
    text = invoke("preview", "--log", str(log), "--settings", str(settings)).stdout
    assert "1 of these may have been allowed, so the exit status is 1." in text


@pytest.mark.parametrize("outcome", ["denied", "error"])
def test_a_line_that_this_version_cannot_read_and_that_was_no_approval_is_0(
    invoke: Invoke, log: Path, settings: Path, outcome: str
) -> None:
    newer = {**json.loads(line()), "outcome": outcome, "reason": "a_reason_of_a_newer_version"}
    log.write_bytes(line() + json.dumps(newer).encode())
    lines = result_of(invoke, "--log", log, "--settings", settings)["lines"]
    assert (lines["decisions"], lines["unreadable"], lines["unreadable_and_may_be_allowed"]) == (1, 1, 0)


def test_a_log_of_which_no_audit_line_can_be_read_is_an_error(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_text(json.dumps({**json.loads(line()), "principal": 1}))
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "none of the audit lines can be read (1): they are of another version" in result.stderr


def test_the_memory_is_bounded_whatever_proxies_call_themselves(
    invoke: Invoke, log: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGES", 2)
    log.write_bytes(b"".join(line(number, mesh=f"mesh-{number}", name=f"n{number}") for number in range(4)))
    write(settings, KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true")
    found = result_of(invoke, "--log", log, "--settings", settings, status=1)
    assert (len(found["changes"]), found["lines_in_no_change"], found["lines"]["would_be_denied"]) == (2, 2, 4)
    log.write_bytes(b"".join(line(number, name=f"n{number}") for number in range(9)))
    [row] = result_of(invoke, "--log", log, "--settings", settings, status=1)["changes"]
    assert len(row["names"]) == changes.MAX_NAMES
    assert "n0, n1, n2, ..." in invoke("preview", "--log", str(log), "--settings", str(settings)).stdout


# Usage errors: status 2 and the remedy.


def test_nothing_that_changes_is_a_usage_error(invoke: Invoke, log: Path) -> None:
    result = invoke("preview", "--log", str(log))
    assert result.exit_code == 2
    assert "give --settings, --role-tags or --kuma-version" in result.stderr


def test_a_log_without_an_audit_line_is_an_error(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_text("09:00 decision outcome=allowed\n")
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert result.exit_code == 2
    assert "no audit line among 1 lines" in result.stderr
    assert "KMESH_AWSIAM_LOG_FORMAT=json" in result.stderr


def test_a_damaged_log_is_an_error(invoke: Invoke, log: Path, settings: Path) -> None:
    log.write_bytes(gzip.compress(line() * 1000)[:-20])
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert (result.exit_code, "cannot be read to its end" in result.stderr) == (2, True)


def test_every_fault_of_the_settings_is_told(invoke: Invoke, log: Path, settings: Path) -> None:
    settings.write_text("KMESH_AWSIAM_ZONE=EU\n")
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert result.exit_code == 2
    assert f"3 problems in {settings}" in result.stderr
    assert "line 1: KMESH_AWSIAM_ZONE: it must be the name of a zone" in result.stderr
    result = invoke("preview", "--log", str(log), "--role-tags", str(settings))
    assert (result.exit_code, "in the environment (give --settings" in result.stderr) == (2, True)


def test_settings_that_are_not_evaluated_are_told(invoke: Invoke, log: Path, settings: Path) -> None:
    write(settings, KMESH_AWSIAM_AUDIENCE="prod")
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert result.exit_code == 0
    assert result.stderr == "not evaluated, since they belong to no policy: KMESH_AWSIAM_AUDIENCE\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rubbish", "it is no JSON object"),
        ("{}", "it names no role"),
        ('{"demo-app": {}}', "demo-app: no ARN of a role"),
        (f'{{"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/x": {{}}}}', "no ARN of a role"),
        (f'{{"{ROLE_ARN}": {{}}, "arn:aws:iam::{ACCOUNT}:role/demo-app": {{}}}}', "is already there as"),
        (f'{{"{ROLE_ARN}": {{"kuma.io/type": 1}}}}', "write the tags as"),
        (f'{{"{ROLE_ARN}": [{{"key": "x"}}]}}', "write the tags as"),
        (f'{{"{ROLE_ARN}": "dataplane"}}', "write the tags as"),
        (f'{{"{ROLE_ARN}": 1}}', "write the tags as"),
    ],
)
def test_a_fault_of_the_role_tags_is_told(
    invoke: Invoke, log: Path, settings: Path, tmp_path: Path, text: str, words: str
) -> None:
    tags = tmp_path / "tags.json"
    tags.write_text(text)
    result = invoke("preview", "--log", str(log), "--settings", str(settings), "--role-tags", str(tags))
    assert result.exit_code == 2
    assert words in result.stderr


def test_long_work_tells_its_progress(
    invoke: Invoke, log: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PROGRESS_SECONDS", 0.0)
    log.write_bytes(b"other\n" * 10_000 + line())
    result = invoke("preview", "--log", str(log), "--settings", str(settings))
    assert result.stderr.startswith("10,000 lines in ")
