"""A policy in a file: the rules of the environment, each fault with its line, and nothing from the environment."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.proxy import ProxyType
from app.policy.verdict import AccessPolicy
from app.settings.accounts import FixedAccounts
from app.settings.candidate import CandidateFile
from app.settings.loading import SettingsError
from app.settings.options import decision_policy
from app.settings.policy import access_policy
from app.settings.policy_file import PolicyError, read_policy_file, read_policy_of_environment
from app.settings.warnings import find_warnings
from app.telemetry.metrics import Metrics
from tests.conftest import LoadSettings
from tests.support.exposition import read_samples, value
from tests.support.world import ACCOUNT, NEW_GENERATION, OTHER_ACCOUNT

SMALLEST = f"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=aws-iam\nKMESH_AWSIAM_AUTHORIZEDACCOUNTIDS={ACCOUNT}\n"
CANDIDATE = "KMESH_AWSIAM_CANDIDATE_POLICY_FILE"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "candidate.env"


def read(path: Path, text: str) -> AccessPolicy:
    path.write_text(text)
    return read_policy_file(str(path)).policy


def problems_of(path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as raised:
        read(path, text)
    assert str(raised.value) == "; ".join(raised.value.problems)
    return raised.value.problems


def test_every_variable_of_a_policy_is_read(path: Path) -> None:
    policy = read(
        path,
        "# what we want\n\n"
        "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=aws-iam\n"
        "  # not the zone proxies\n"
        f"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS={ACCOUNT},{OTHER_ACCOUNT}\n"
        f"KMESH_AWSIAM_ACCOUNT_MESHES={ACCOUNT}=*,{OTHER_ACCOUNT}=payments|checkout\n"
        "KMESH_AWSIAM_REQUIRE_SERVICE_TAG=true\n"
        "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG=true\n"
        "KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS=true\n"
        "KMESH_AWSIAM_ROLE_PATH_PREFIX=/mesh/\n"
        "KMESH_AWSIAM_ZONE=eu-west-1\n",
    )
    assert policy == AccessPolicy(
        accounts=frozenset({ACCOUNT, OTHER_ACCOUNT}),
        enabled_types=frozenset({ProxyType.DATAPLANE}),
        require_service=True,
        require_workload=True,
        allow_unbound_workloads=True,
        role_path_prefix="/mesh/",
        account_meshes={ACCOUNT: frozenset("*"), OTHER_ACCOUNT: frozenset({"payments", "checkout"})},
        zone="eu-west-1",
    )


def test_the_environment_adds_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file is the same policy on an operator's machine and in the service."""
    for name, text in {**NEW_GENERATION, "KMESH_AWSIAM_ZONE": "eu-west-1", "KMESH_AWSIAM_ACCOUNT_MESHES": "x"}.items():
        monkeypatch.setenv(name, text)
    assert read(path, SMALLEST) == AccessPolicy(
        accounts=frozenset({ACCOUNT}), enabled_types=frozenset({ProxyType.DATAPLANE})
    )


def test_an_empty_value_is_unset_as_in_the_environment(path: Path) -> None:
    assert read(path, f"{SMALLEST}KMESH_AWSIAM_ZONE=\n").zone is None


def test_the_accounts_of_a_file_are_read_and_watched(path: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text(f"{OTHER_ACCOUNT}\n")
    path.write_text(f"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=aws-iam\nKMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE={accounts}\n")
    file = read_policy_file(str(path))
    assert file.policy.accounts == {OTHER_ACCOUNT}
    assert file.paths == (path, accounts)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("KMESH_AWSIAM_ZONE=EU", "line 3: KMESH_AWSIAM_ZONE: it must be the name of a zone"),
        ("KMESH_AWSIAM_ZONE='eu'", "line 3: KMESH_AWSIAM_ZONE: remove the quotes"),
        ("export KMESH_AWSIAM_ZONE=eu", "line 3: write NAME=VALUE"),
        ("KMESH_AWSIAM_ZONE", "line 3: write NAME=VALUE"),
        ("KMESH_AWSIAM_ZONES=eu", "line 3: KMESH_AWSIAM_ZONES: no such setting; did you mean KMESH_AWSIAM_ZONE?"),
        (f"KMESH_AWSIAM_{'Q' * 60}=eu", "Q: no such setting; remove it"),
        (
            f"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS={ACCOUNT}",
            "line 3: KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS is already set in line 2; remove one of the two lines",
        ),
        ("KMESH_AWSIAM_REQUIRE_SERVICE_TAG=maybe", "line 3: KMESH_AWSIAM_REQUIRE_SERVICE_TAG: input should be"),
        (f"KMESH_AWSIAM_ACCOUNT_MESHES={OTHER_ACCOUNT}=*", "KMESH_AWSIAM_ACCOUNT_MESHES: every listed account must"),
        ("KUMA_DP_SERVER_AUTH_TYPE=dpToken", "KUMA_DP_SERVER_AUTH_TYPE and KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE: they"),
    ],
)
def test_a_fault_is_named_with_its_line_variable_and_remedy(path: Path, line: str, problem: str) -> None:
    [found] = problems_of(path, f"{SMALLEST}{line}\n")
    assert problem in found


def test_all_faults_are_told_together(path: Path) -> None:
    assert len(problems_of(path, "KMESH_AWSIAM_ZONE=EU\nrubbish\n")) == 4  # and neither accounts nor types


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read as UTF-8 text"):
        read_policy_file(str(tmp_path / "missing"))


def test_settings_that_belong_to_no_policy_are_named(path: Path) -> None:
    """So an operator can copy the service's environment file and change it."""
    path.write_text(f"{SMALLEST}KMESH_AWSIAM_AUDIENCE=prod\nAWS_REGION=eu-west-1\nHOME=/root\n")
    assert read_policy_file(str(path)).ignored == ("KMESH_AWSIAM_AUDIENCE", "AWS_REGION", "HOME")


def test_the_policy_of_the_environment_is_the_one_that_the_service_enforces(settings_of: LoadSettings) -> None:
    settings = settings_of(
        **NEW_GENERATION,
        KMESH_AWSIAM_ACCOUNT_MESHES=f"{ACCOUNT}=default",
        KMESH_AWSIAM_REQUIRE_SERVICE_TAG="true",
        KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true",
        KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS="true",
        KMESH_AWSIAM_ROLE_PATH_PREFIX="/mesh/",
        KMESH_AWSIAM_ZONE="eu-west-1",
    )
    policy = access_policy(settings)
    assert read_policy_of_environment() == policy
    enforced = decision_policy(settings, FixedAccounts(settings.authorized_accounts))
    for name in set(AccessPolicy.__dataclass_fields__) - {"accounts"}:
        assert getattr(policy, name) == getattr(enforced, name), name
        assert getattr(policy, name), f"{name} is not set here, so that a policy without it would pass"
    assert policy.accounts == enforced.accounts.current()


def test_an_environment_without_a_policy_is_a_fault() -> None:
    with pytest.raises(PolicyError, match="KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS: set it"):
        read_policy_of_environment()


# The service's own.


def test_the_service_does_not_start_with_a_bad_candidate(settings_of: LoadSettings, path: Path) -> None:
    path.write_text(f"{SMALLEST}KMESH_AWSIAM_ZONE=EU\n")
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **{CANDIDATE: str(path)})
    [problem] = raised.value.problems
    assert (problem.variable, problem.remedy[:26]) == (CANDIDATE, "line 3: KMESH_AWSIAM_ZONE:")


def test_the_service_warns_of_settings_that_are_not_evaluated(settings_of: LoadSettings, path: Path) -> None:
    path.write_text(f"{SMALLEST}KMESH_AWSIAM_AUDIENCE=prod\n")
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_AUDIENCE="mine", **{CANDIDATE: str(path)})
    [warning] = find_warnings(settings)
    assert "KMESH_AWSIAM_AUDIENCE" in warning
    assert settings.zone is None


def test_a_changed_candidate_is_taken_over_and_a_bad_one_is_not(path: Path) -> None:
    metrics = Metrics()
    path.write_text(SMALLEST)
    subject = CandidateFile(read_policy_file(str(path)), metrics)
    subject.watch.check()
    path.write_text(f"{SMALLEST}KMESH_AWSIAM_ZONE=eu-west-1\n")
    with capture_logs() as log:
        subject.watch.check()
    assert [event["event"] for event in log] == ["candidate policy changed", "reloaded"]
    assert subject.current().zone == "eu-west-1"
    path.write_text("rubbish\n")
    with capture_logs() as log:
        subject.watch.check()
    assert [(event["event"], event["what"]) for event in log] == [("not reloaded", "candidate_policy")]
    assert subject.current().zone == "eu-west-1"
    failures = read_samples(metrics.expose().decode())
    assert value(failures, "kuma_aws_iam_reload_failures_total", what="candidate_policy") == 1
