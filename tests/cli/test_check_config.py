"""``check-config``: the problems that would stop ``serve``, without serving."""

from pathlib import Path

from app.settings.environment import Settings
from tests.cli.conftest import Invoke
from tests.support.world import ACCOUNT, NEW_GENERATION, OLD_GENERATION, OTHER_ACCOUNT


def test_a_good_environment_is_printed_with_its_defaults(invoke: Invoke) -> None:
    result = invoke("check-config", **NEW_GENERATION, KMESH_AWSIAM_AUDIENCE="prod", KMESH_AWSIAM_REGIONS="eu-west-1")
    assert result.exit_code == 0
    lines = {
        line.split()[0]: line for line in result.stdout.splitlines() if line.startswith(("KMESH_", "KUMA_", "AWS_"))
    }
    assert lines.keys() == {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert lines["KMESH_AWSIAM_AUDIENCE"].endswith("  prod")
    assert lines["KMESH_AWSIAM_LISTEN"].endswith("127.0.0.1:5690  (default)")
    assert lines["AWS_REGION"].endswith("(unset)  (default)")
    assert "proxy types that use aws-iam: dataplane, egress, ingress" in result.stdout
    assert f"accounts: {ACCOUNT}" in result.stdout
    assert "STS hosts accepted: 4" in result.stdout
    assert result.stderr == ""


def test_the_accounts_of_a_file_are_printed(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text(f"{OTHER_ACCOUNT}\n{ACCOUNT}\n")
    variables = {**OLD_GENERATION, "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ""}
    result = invoke("check-config", **variables, KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE=str(path))
    assert result.exit_code == 0
    assert f"accounts: {ACCOUNT}, {OTHER_ACCOUNT}" in result.stdout


def test_every_problem_is_told_and_the_status_is_2(invoke: Invoke) -> None:
    variables = {
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "*",
        "KMESH_AWSIAM_LISTEN": "0.0.0.0:80",
        "KMESH_AWSIAM_TYPO": "x",
    }
    result = invoke("check-config", **variables)
    assert result.exit_code == 2
    assert result.stdout == ""
    head, *problems = result.stderr.splitlines()
    assert head == "kuma-aws-iam: 4 problems in the environment"
    named = {problem.strip().split(":")[0].split()[0] for problem in problems}
    assert named == {"KUMA_DP_SERVER_AUTH_TYPE", *variables}


def test_one_problem_is_not_problems(invoke: Invoke) -> None:
    result = invoke("check-config", **{**OLD_GENERATION, "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH": "false"})
    assert result.stderr.startswith("kuma-aws-iam: 1 problem in the environment\n")


def test_warnings_go_to_stderr_and_change_nothing(invoke: Invoke) -> None:
    result = invoke("check-config", **OLD_GENERATION, HTTPS_PROXY="http://user:canary@proxy:3128")
    assert result.exit_code == 0
    warnings = result.stderr.splitlines()
    assert [warning.split()[1] for warning in warnings] == ["KMESH_AWSIAM_AUDIENCE", "HTTPS_PROXY"]
    assert "canary" not in result.output


def test_an_aws_in_plain_http_is_warned_about_and_served(invoke: Invoke) -> None:
    result = invoke("check-config", **NEW_GENERATION, AWS_ENDPOINT_URL_IAM="http://[::1]:4566")
    assert result.exit_code == 0
    assert "warning: AWS_ENDPOINT_URL_IAM sends requests to IAM in plain http" in result.stderr


def test_no_secret_is_printed(invoke: Invoke) -> None:
    variables = {
        "KMESH_AWSIAM_READER_ROLE_NAME": "reader",
        "KMESH_AWSIAM_READER_EXTERNAL_ID": "canary-id",
        "KMESH_AWSIAM_HTTPS_PROXY": "http://user:canary-password@proxy:3128",
        "AWS_SECRET_ACCESS_KEY": "canary-key",
    }
    result = invoke("check-config", **OLD_GENERATION, **variables)
    assert result.exit_code == 0
    assert "http://proxy:3128" in result.stdout
    assert "canary" not in result.output


def test_no_secret_is_printed_beside_a_problem(invoke: Invoke) -> None:
    variables = {
        "KMESH_AWSIAM_READER_EXTERNAL_ID": "canary id",
        "KMESH_AWSIAM_HTTPS_PROXY": "ftp://user:canary@proxy",
        "AWS_ENDPOINT_URL": "https://user:canary@proxy",
    }
    result = invoke("check-config", **OLD_GENERATION, **variables)
    assert result.exit_code == 2
    assert "canary" not in result.output
