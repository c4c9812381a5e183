"""``credential``: make what a proxy presents, in the proxy's own environment."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.credential import decode_credential
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from tests.cli.conftest import Invoke
from tests.support.process import run_cold
from tests.support.service import RunningService
from tests.support.signing import judge, make_policy
from tests.support.world import ACCOUNT, Aws


@pytest.fixture
def task(aws: Aws) -> dict[str, str]:
    """The environment of an ECS task. AWS_ENDPOINT_URL sends all other calls to the emulator."""
    return aws.emulator.environment(ACCOUNT, "demo-app")


def test_it_prints_the_native_form_signed_with_the_tasks_role(invoke: Invoke, task: dict[str, str]) -> None:
    result = invoke("credential", **task)
    assert result.exit_code == 0
    assert result.stdout == result.stdout.strip()  # gRPC refuses a newline in metadata
    request = judge(result.stdout)
    assert request.form is CredentialForm.NATIVE
    assert require_fresh(request, datetime.now(UTC)).request.lifetime == timedelta(minutes=15)


async def test_what_it_prints_is_accepted(invoke: Invoke, aws: Aws, service: RunningService) -> None:
    for form in ("native", "jwt"):
        text = invoke("credential", "--format", form, **aws.emulator.environment(ACCOUNT, "demo-app")).stdout
        assert (await service.present(text)).status_code == 200


def test_it_signs_the_aws_host_whatever_the_endpoint_is(invoke: Invoke, task: dict[str, str]) -> None:
    for region, host in (("eu-west-1", "sts.eu-west-1.amazonaws.com"), ("aws-global", "sts.amazonaws.com")):
        text = invoke("credential", "--region", region, **task).stdout
        assert decode_credential(text).url.authority == host


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "sts.eu-west-1.amazonaws.com"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "sts.eu-west-2.amazonaws.com"),
    ],
)
def test_the_region_is_the_sdks(invoke: Invoke, task: dict[str, str], variables: dict[str, str], host: str) -> None:
    assert decode_credential(invoke("credential", **task | variables).stdout).url.authority == host


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_region_that_is_newer_than_botocore_is_named_on_both_sides(
    invoke: Invoke, task: dict[str, str], by: str
) -> None:
    """ECS sets AWS_REGION. The service accepts a region that botocore does not know if this variable names it."""
    option = ("--extra-regions", "ap-south-9,eu-north-7") if by == "option" else ()
    variables = {"KMESH_AWSIAM_EXTRA_REGIONS": "eu-north-7"} if by == "variable" else {}
    result = invoke("credential", *option, **task | {"AWS_REGION": "eu-north-7"} | variables)
    assert result.exit_code == 0
    request = decode_credential(result.stdout)
    assert (request.url.authority, request.signature.scope.region) == ("sts.eu-north-7.amazonaws.com", "eu-north-7")


@pytest.mark.parametrize("regions", ["eu-evil_x-1", "mars-north-1", "eu-north-7.evil.example", ","])
def test_a_newer_region_must_have_the_name_of_one(invoke: Invoke, task: dict[str, str], regions: str) -> None:
    result = invoke("credential", "--extra-regions", regions, **task | {"AWS_REGION": regions})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--extra-regions" in result.stderr


def test_the_jwt_format_is_what_a_stock_kuma_dp_takes_for_a_token(invoke: Invoke, task: dict[str, str]) -> None:
    text = invoke("credential", "--format", "jwt", **task).stdout
    assert text.count(".") == 2
    assert text.endswith(".")
    assert judge(text).form is CredentialForm.JWT


@pytest.mark.parametrize("source", ["option", "variable"])
def test_it_is_bound_to_the_audience(invoke: Invoke, aws: Aws, task: dict[str, str], source: str) -> None:
    """The URL does not contain the audience. Only STS's verification shows whether the signature covers it."""
    option = ["--audience", "prod"] if source == "option" else []
    variables = {"KMESH_AWSIAM_AUDIENCE": "prod"} if source == "variable" else {}
    text = invoke("credential", *option, **task | variables).stdout
    assert decode_credential(text).signature.signed_headers == ("host", "x-kuma-audience")
    assert "prod" not in decode_credential(text).parameters.values()
    assert dict(judge(text, make_policy(audience="prod")).headers)["x-kuma-audience"] == "prod"
    assert len(aws.emulator.calls) == 0  # signing makes no call


def test_it_may_live_shorter(invoke: Invoke, task: dict[str, str]) -> None:
    assert judge(invoke("credential", "--expires", "60", **task).stdout).lifetime == timedelta(seconds=60)


@pytest.mark.parametrize("seconds", ["0", "901", "-1", "1h"])
def test_it_cannot_live_longer_than_aws_allows(invoke: Invoke, task: dict[str, str], seconds: str) -> None:
    assert invoke("credential", "--expires", seconds, **task).exit_code == 2


def test_a_file_holds_exactly_the_credential_for_its_owner_alone(
    invoke: Invoke, task: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "token"
    result = invoke("credential", "--out", str(path), **task)
    assert (result.exit_code, result.output) == (0, "")
    assert judge(path.read_bytes().decode("ascii")).form is CredentialForm.NATIVE
    assert not path.read_bytes().endswith(b"\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_as_a_whole(invoke: Invoke, task: dict[str, str], tmp_path: Path) -> None:
    """Envoy can read the file at any time.

    A reader that has it open keeps the old content, and nobody sees half a file.
    """
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    with path.open() as reader:
        assert invoke("credential", "--out", str(path), **task).exit_code == 0
        assert reader.read() == "old"
    assert judge(path.read_text()).form is CredentialForm.NATIVE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_never_readable_by_others_whatever_the_umask(task: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "token"
    done = run_cold("credential", "--out", str(path), **task)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named(invoke: Invoke, task: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "missing" / "token"
    result = invoke("credential", "--out", str(path), **task)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("variables", "status", "words"),
    [
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, 2, "give --region"),
        ({"AWS_REGION": "eu-west-9"}, 1, "no region of AWS"),
        ({"AWS_REGION": "eu-west-9"}, 1, "KMESH_AWSIAM_EXTRA_REGIONS"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}, 1, "give the task a task role"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": ""}, 1, "could not be fetched"),
        ({"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE01", "AWS_SECRET_ACCESS_KEY": "x" * 40}, 1, "assume a role first"),
        ({"AWS_PROFILE": "nobody"}, 1, "nobody"),
    ],
    ids=[
        "no-region",
        "unknown-region",
        "newer-region",
        "no-credentials",
        "an-empty-endpoint",
        "a-users-keys",
        "no-such-profile",
    ],
)
def test_what_cannot_be_signed_ends_with_a_sentence(
    invoke: Invoke, task: dict[str, str], variables: dict[str, str | None], status: int, words: str
) -> None:
    result = invoke("credential", **{**task, **variables})
    assert (result.exit_code, result.stdout) == (status, "")
    assert words in result.stderr
