"""The report-only policy is evaluated on every decision, and changes none."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.errors import AuthorizationError
from app.core.reasons import Reason
from app.decision.record import CANDIDATE_OUTCOMES, CandidateNote, DecisionRecord
from app.emulator.fault_kinds import FaultKind
from app.policy.report_only import ReportOnly
from app.policy.verdict import AccessPolicy
from app.telemetry.metrics import OUTCOMES, Metrics
from tests.conftest import StartService
from tests.support.exposition import read_samples, value
from tests.support.policy_scenes import POLICY, PROXY, SCENES, make_proxy, make_role
from tests.support.principals import PRINCIPAL
from tests.support.world import ACCOUNT, DATAPLANE, NEW_GENERATION, OTHER_ACCOUNT, STRANGERS_ACCOUNT, Aws
from tests.support.world import PROXY as CLAIM

COUNTER = "kuma_aws_iam_candidate_decisions_total"
CANDIDATE = "KMESH_AWSIAM_CANDIDATE_POLICY_FILE"


def approved() -> DecisionRecord:
    return DecisionRecord("request-1", principal=PRINCIPAL, role=make_role(SCENES[0][0]), asserted=make_proxy(PROXY))


def counts(metrics: Metrics) -> dict[tuple[str, str], float]:
    samples = read_samples(metrics.expose().decode())
    return {
        (outcome, candidate): value(samples, COUNTER, outcome=outcome, candidate=candidate)
        for outcome in OUTCOMES
        for candidate in CANDIDATE_OUTCOMES
    }


def test_the_series_exist_from_the_start() -> None:
    """An alert on the first difference needs a sample with zero before it."""
    assert {name for name, _ in read_samples(Metrics().expose().decode()) if name == COUNTER} == {COUNTER}
    assert set(counts(Metrics()).values()) == {0}


def test_a_difference_is_noted_and_counted() -> None:
    metrics, record = Metrics(), approved()
    ReportOnly(lambda: AccessPolicy(**POLICY, require_workload=True), metrics).evaluate(record, None)
    assert record.candidate == CandidateNote("denied", Reason.ROLE_WORKLOAD_MISSING)
    assert {labels for labels, number in counts(metrics).items() if number} == {("allowed", "denied")}


def test_the_policy_of_the_moment_counts() -> None:
    policies = iter([AccessPolicy(**POLICY), AccessPolicy(**POLICY, require_workload=True)])
    subject = ReportOnly(lambda: next(policies), Metrics())
    outcomes = []
    for _ in range(2):
        record = approved()
        subject.evaluate(record, None)
        assert record.candidate is not None
        outcomes.append(record.candidate.outcome)
    assert outcomes == ["allowed", "denied"]


def test_a_bug_is_noted_counted_and_logged_once_in_a_while() -> None:
    def policy() -> AccessPolicy:
        raise RuntimeError("canary")

    metrics = Metrics()
    subject = ReportOnly(policy, metrics, timer=lambda: 0.0)
    with capture_logs() as log:
        for _ in range(3):
            record = approved()
            subject.evaluate(record, AuthorizationError(Reason.ROLE_MESH_MISSING, ""))
            assert record.candidate == CandidateNote("failed")
    assert counts(metrics)["denied", "failed"] == 3
    assert [event["event"] for event in log] == ["candidate policy failed"]
    assert "canary" not in str(log)


# In a whole service.


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return tmp_path / "candidate.env"


def write(path: Path, aws: Aws, **changes: str) -> str:
    """Write the policy of `Aws.service_environment` with some changes."""
    accounts = {"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": aws.service_environment()["KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"]}
    path.write_text("".join(f"{name}={text}\n" for name, text in {**NEW_GENERATION, **accounts, **changes}.items()))
    return str(path)


def spoil(path: Path) -> None:
    path.write_text("rubbish\n")


async def test_no_answer_call_or_cache_is_different(start_service: StartService, aws: Aws, candidate: Path) -> None:
    """For each candidate policy: here one denies everybody, and one allows every proxy that it can."""
    role = aws.add_role({**DATAPLANE, "kuma.io/mesh": "payments"})
    seen: list[Any] = []
    for changes in (None, {"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "999999999999"}, {}):
        path = None if changes is None else write(candidate, aws, **changes)
        enforced = {"KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"}
        async with start_service(**{CANDIDATE: path}, **enforced) as service:
            answers = []
            for name, account in ((role.name, ACCOUNT), ("backend", OTHER_ACCOUNT), ("demo-app", STRANGERS_ACCOUNT)):
                text = aws.credential(name, account)
                answers += [await service.present(text, CLAIM), await service.present(text)]
            answers.append(await service.present("rubbish"))
            seen.append(
                (
                    [(answer.status_code, answer.json().get("reason")) for answer in answers],
                    [(call.service, call.action) for call in aws.emulator.calls],
                    [(line["sts"]["cache"], line["iam"]["cache"]) for line in service.decisions()],
                    {
                        name: number
                        for name, number in (await service.metrics()).items()
                        if name[0].startswith(("kuma_aws_iam_cache", "kuma_aws_iam_upstream_calls"))
                        and not name[0].endswith("_created")
                    },
                )
            )
            lines = [line["candidate"] for line in service.decisions()]
            assert all((line is None) == (changes is None) for line in lines)
    assert seen[0] == seen[1] == seen[2]


async def test_the_audit_line_says_what_the_candidate_decides(
    start_service: StartService, aws: Aws, candidate: Path
) -> None:
    path = write(candidate, aws, KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS="111122223333,999988887777")
    async with start_service(**{CANDIDATE: path}) as service:
        await service.present(aws.credential(), CLAIM)
        await service.present(aws.credential("backend", OTHER_ACCOUNT))
        await service.present(aws.credential(account="999988887777"), CLAIM)
        await service.present("rubbish")
        aws.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED)
        await service.present(aws.credential(aws.add_role().name), CLAIM)
        lines = [line["candidate"] for line in service.decisions()]
    assert lines == [
        {"outcome": "allowed", "reason": None, "missing": None},
        {"outcome": "denied", "reason": "account_not_authorized", "missing": None},
        {"outcome": "unknown", "reason": None, "missing": "role"},
        {"outcome": "denied", "reason": "credential_malformed", "missing": None},
        {"outcome": "unknown", "reason": None, "missing": "answer"},
    ]


async def test_a_changed_file_is_evaluated_after_a_signal(
    start_service: StartService, aws: Aws, candidate: Path
) -> None:
    path = write(candidate, aws)
    async with start_service(**{CANDIDATE: path}) as service:
        [watch] = service.service.watches
        await service.present(aws.credential(), CLAIM)
        write(candidate, aws, KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true")
        watch.check(forced=True)
        await service.present(aws.credential(), CLAIM)
        spoil(candidate)
        watch.check(forced=True)
        await service.present(aws.credential(), CLAIM)
        reasons = [line["candidate"]["reason"] for line in service.decisions()]
    assert reasons == [None, "role_workload_missing", "role_workload_missing"]
