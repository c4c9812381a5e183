"""``doctor`` on the emulated AWS: a run without failures, and then one failure in each test."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from app.diagnosis.endpoint_probe import Probe
from app.emulator import Emulator, FaultKind
from app.emulator.identities import utc_now
from tests.cli.conftest import Invoke
from tests.support.process import free_address, run_cold
from tests.support.redis_server import redis_on_socket, write_key_file
from tests.support.tls import make_certificate
from tests.support.wire import closed_port
from tests.support.world import ACCOUNT, EXTERNAL_ID, OTHER_ACCOUNT, READER_ROLE, SERVICE_ROLE, Aws, make_world

Row = dict[str, Any]
SEVERITY: Final = ("ok", "skipped", "warning", "failed")


def examine(invoke: Invoke, aws: Aws, *arguments: str, **variables: str | None) -> tuple[int, dict[str, Row]]:
    """Return the exit status and the worst row of each check, without the warnings about the emulator's plain HTTP."""
    result = invoke("doctor", "--json", *arguments, **{**environment(aws), **variables})
    assert result.stderr == ""
    rows: dict[str, Row] = {}
    for row in json.loads(result.stdout)["checks"]:
        if "in plain http:" not in row["found"]:
            worse = [rows.get(row["check"], row), row]
            rows[row["check"]] = max(worse, key=lambda each: SEVERITY.index(each["state"]))
    return result.exit_code, rows


def environment(aws: Aws) -> dict[str, str]:
    return {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod", "KMESH_AWSIAM_LISTEN": free_address()}


def troubled(rows: dict[str, Row]) -> dict[str, str]:
    return {check: row["state"] for check, row in rows.items() if row["state"] != "ok"}


def test_all_is_well(invoke: Invoke, aws: Aws) -> None:
    status, rows = examine(invoke, aws, "--role", f"{ACCOUNT}/demo-app", "--role", f"{OTHER_ACCOUNT}/backend")
    assert (status, troubled(rows)) == (0, {})
    assert list(rows) == [
        "settings",
        "proxy types",
        "accounts",
        "signing keys",
        "listener",
        "proxy",
        "trusted certificates",
        "clock",
        "STS",
        "IAM",
        "own credentials",
        "own identity",
        f"roles of {ACCOUNT}",
        f"roles of {OTHER_ACCOUNT}",
        f"role {ACCOUNT}/demo-app",
        f"role {OTHER_ACCOUNT}/backend",
        "store",
    ]
    assert f"assumed-role/{SERVICE_ROLE}/" in rows["own identity"]["found"]
    unsigned = [call for call in aws.emulator.calls if call.outcome == "MissingAuthenticationToken"]
    assert len(unsigned) == 2, "the endpoints are asked without a signature"


def test_a_name_that_does_not_resolve(invoke: Invoke, aws: Aws) -> None:
    status, rows = examine(invoke, aws, AWS_ENDPOINT_URL_STS="https://sts.nowhere.invalid")
    assert status == 1
    assert rows["STS"]["state"] == rows["own identity"]["state"] == "failed"
    assert "sts.nowhere.invalid does not resolve" in rows["STS"]["found"]
    assert rows["clock"]["state"] == "skipped"
    assert rows["IAM"]["state"] == "ok"


def test_a_certificate_that_is_not_trusted(invoke: Invoke, aws: Aws, tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    with Emulator(make_world(), ssl_certfile=str(files.cert), ssl_keyfile=str(files.key)) as tls:
        status, rows = examine(invoke, aws, AWS_ENDPOINT_URL_STS=tls.url)
        assert status == 1
        assert "is not trusted" in rows["STS"]["found"]
        assert "AWS_CA_BUNDLE" in rows["STS"]["remedy"]
        _, rows = examine(invoke, aws, AWS_ENDPOINT_URL_STS=tls.url, AWS_CA_BUNDLE=str(files.cert))
        assert rows["STS"]["found"].endswith(": resolves, is trusted, answers")
        assert rows["trusted certificates"]["found"] == f"only {files.cert} (AWS_CA_BUNDLE)"


def test_a_proxy_that_refuses(invoke: Invoke, aws: Aws) -> None:
    with closed_port() as port:
        url = f"http://user:canary@127.0.0.1:{port}"
        status, rows = examine(invoke, aws, KMESH_AWSIAM_HTTPS_PROXY=url)
    assert status == 1
    assert rows["proxy"]["found"] == f"http://127.0.0.1:{port} (KMESH_AWSIAM_HTTPS_PROXY)"
    assert "KMESH_AWSIAM_HTTPS_PROXY" in rows["STS"]["remedy"]
    assert "canary" not in str(rows)


def test_something_that_is_not_aws(invoke: Invoke, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.REDIRECT)
    status, rows = examine(invoke, aws)
    assert status == 1
    assert "is not AWS: HTTP 302" in rows["STS"]["found"]


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (60, "warning"), (-400, "failed")])
def test_a_wrong_clock(invoke: Invoke, aws: Aws, seconds: int, state: str) -> None:
    with Emulator(make_world(), clock=lambda: utc_now() + timedelta(seconds=seconds)) as shifted:
        variables = shifted.environment(ACCOUNT, SERVICE_ROLE)
        _, rows = examine(invoke, aws, **variables)
    assert rows["clock"]["state"] == state


def test_no_credentials(invoke: Invoke, aws: Aws) -> None:
    status, rows = examine(invoke, aws, AWS_CONTAINER_CREDENTIALS_FULL_URI=None)
    assert status == 1
    assert troubled(rows) == {"own credentials": "failed", "own identity": "skipped", "reading roles": "skipped"}
    assert rows["own credentials"]["found"] == "the AWS SDK finds no credentials"
    assert "task role" in rows["own credentials"]["remedy"]


def test_credentials_of_a_role_that_was_deleted(invoke: Invoke, aws: Aws) -> None:
    role = aws.add_named_role(ACCOUNT, "short-lived")
    keys = aws.session_of(role)
    aws.emulator.world.delete_role(ACCOUNT, role.name)
    variables: dict[str, str | None] = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token,
    }
    status, rows = examine(invoke, aws, **variables)
    assert (status, rows["own identity"]["state"]) == (1, "skipped")
    assert "InvalidClientTokenId" in rows["own credentials"]["found"]
    assert "was deleted" in rows["own credentials"]["remedy"]
    assert keys.secret_access_key not in str(rows)


def test_no_reader_role(invoke: Invoke, aws: Aws) -> None:
    none = {"KMESH_AWSIAM_READER_ROLE_NAME": None, "KMESH_AWSIAM_READER_EXTERNAL_ID": None}
    status, rows = examine(invoke, aws, **none)
    assert (status, troubled(rows)) == (1, {f"roles of {OTHER_ACCOUNT}": "failed"})
    assert "KMESH_AWSIAM_READER_ROLE_NAME" in rows[f"roles of {OTHER_ACCOUNT}"]["remedy"]


def test_a_reader_role_that_does_not_trust_the_service(invoke: Invoke, aws: Aws) -> None:
    status, rows = examine(invoke, aws, KMESH_AWSIAM_READER_EXTERNAL_ID="canary")
    [(check, state)] = troubled(rows).items()
    assert (status, check, state) == (1, f"roles of {OTHER_ACCOUNT}", "failed")
    assert f'"Resource":"arn:aws:iam::{OTHER_ACCOUNT}:role/{READER_ROLE}"' in rows[check]["remedy"]
    assert "canary" not in str(rows)
    assert EXTERNAL_ID not in str(rows)


def test_a_policy_that_is_limited_to_a_path(invoke: Invoke, aws: Aws) -> None:
    aws.add_named_role(ACCOUNT, "narrow", may_get_roles=(f"arn:aws:iam::{ACCOUNT}:role/mesh/*",))
    aws.add_named_role(ACCOUNT, "checkout", path="/mesh/")
    variables = aws.emulator.environment(ACCOUNT, "narrow")
    one = ("--role", f"{ACCOUNT}/checkout", "--role", f"{ACCOUNT}/not-there")
    status, rows = examine(invoke, aws, *one, **variables)
    assert status == 1
    assert troubled(rows) == {f"roles of {ACCOUNT}": "warning", f"role {ACCOUNT}/not-there": "failed"}
    assert "--role" in rows[f"roles of {ACCOUNT}"]["remedy"]
    remedy = rows[f"role {ACCOUNT}/not-there"]["remedy"]
    assert '"Action":"iam:GetRole"' in remedy
    assert "may be under another path or deleted" in remedy


def test_a_role_of_an_account_that_is_not_listed(invoke: Invoke, aws: Aws) -> None:
    status, rows = examine(invoke, aws, "--role", "999988887777/demo-app")
    assert (status, troubled(rows)) == (1, {"role 999988887777/demo-app": "failed"})


def test_iam_is_throttled(invoke: Invoke, aws: Aws) -> None:
    aws.emulator.faults.iam.inject(FaultKind.THROTTLE, action="GetRole", account=ACCOUNT)
    status, rows = examine(invoke, aws)
    assert (status, troubled(rows)) == (1, {f"roles of {ACCOUNT}": "failed"})


def test_a_store_that_is_down(invoke: Invoke, aws: Aws, tmp_path: Path) -> None:
    keys = write_key_file(tmp_path, bytes(range(32)))
    keys.chmod(0o600)
    with closed_port() as port:
        url = f"redis://:canary@127.0.0.1:{port}"
        status, rows = examine(invoke, aws, KMESH_AWSIAM_STORE=url, KMESH_AWSIAM_STORE_KEY_FILE=str(keys))
    assert (status, troubled(rows)) == (1, {"store": "failed"})
    assert "canary" not in str(rows)


def test_a_store_that_answers_and_one_that_refuses_a_command(invoke: Invoke, aws: Aws, tmp_path: Path) -> None:
    keys = str(write_key_file(tmp_path, bytes(range(32))))
    with redis_on_socket("--user", "narrow", "on", ">pw", "~*", "+@all", "-eval") as redis:
        _, rows = examine(invoke, aws, KMESH_AWSIAM_STORE=redis.url, KMESH_AWSIAM_STORE_KEY_FILE=keys)
        assert (rows["store"]["state"], redis.url.removeprefix("unix://") in rows["store"]["found"]) == ("ok", True)
        narrow = redis.url.replace("unix://", "unix://narrow:pw@")
        _, rows = examine(invoke, aws, KMESH_AWSIAM_STORE=narrow, KMESH_AWSIAM_STORE_KEY_FILE=keys)
    assert rows["store"]["found"].endswith("refuses EVAL")


def test_settings_that_are_invalid_are_all_told_and_the_rest_is_checked(
    invoke: Invoke, aws: Aws, tmp_path: Path
) -> None:
    bad = tmp_path / "keys"
    bad.write_text("one two\n")
    status, rows = examine(
        invoke, aws, KMESH_AWSIAM_DATAPLANE_KEYS_FILE=str(bad), KMESH_AWSIAM_TYPO="x", KMESH_AWSIAM_REGIONS="moon-1"
    )
    assert status == 2
    assert {check: row["state"] for check, row in rows.items() if row["state"] != "ok"} == {
        "settings": "failed",
        "signing keys": "skipped",
        "STS and IAM": "skipped",
    }
    assert rows["own identity"]["state"] == "ok"
    result = invoke("doctor", **{**environment(aws), "KMESH_AWSIAM_TYPO": "x", "KUMA_DP_SERVER_AUTH_TYPE": "x"})
    assert result.exit_code == 2
    for variable in ("KMESH_AWSIAM_TYPO", "KUMA_DP_SERVER_AUTH_TYPE"):
        assert f"{variable} is invalid" in result.stdout


def test_a_check_that_crashes_is_a_row(invoke: Invoke, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object, **__: object) -> Probe:
        raise RuntimeError("canary")

    monkeypatch.setattr("app.diagnosis.endpoints.probe_endpoint", crash)
    status, rows = examine(invoke, aws)
    assert (status, troubled(rows)) == (1, {"STS and IAM": "failed"})
    assert "canary" not in str(rows)


@pytest.mark.parametrize(
    ("variables", "has_colours"), [({"FORCE_COLOR": "1"}, True), ({"NO_COLOR": "1"}, False), ({}, False)]
)
def test_the_table_fits_into_80_columns(
    invoke: Invoke,
    aws: Aws,
    variables: dict[str, str],
    has_colours: bool,  # noqa: FBT001 - a column of a table
) -> None:
    result = invoke("doctor", **environment(aws), **variables)
    assert ("\x1b[" in result.stdout) is has_colours
    if not has_colours:
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert result.stdout.splitlines()[-1].endswith("2 warning")


def test_wrong_usage(invoke: Invoke) -> None:
    result = invoke("doctor", "--role", "demo-app")
    assert result.exit_code == 2
    assert "write ACCOUNT/NAME" in result.stderr


def test_it_ends_although_the_search_for_credentials_hangs(aws: Aws, tmp_path: Path) -> None:
    """The SDK waits 60 s for each answer of STS, and asks again. A normal exit would wait for its thread.

    As in the image, no shell and no other program can be found.
    """
    aws.emulator.faults.sts.inject(FaultKind.HANG, action="AssumeRoleWithWebIdentity")
    token = tmp_path / "token"
    token.write_text("a token")
    pod = {"AWS_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/pod", "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    started = time.monotonic()
    done = run_cold("doctor", **{**environment(aws), "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "PATH": "", **pod})
    assert time.monotonic() - started < 55
    assert (done.status, done.err) == (1, "")
    assert "failed   own credentials" in done.out
    assert done.out.rstrip().endswith("2 skipped")
