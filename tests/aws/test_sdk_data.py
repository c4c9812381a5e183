"""The SDK's files change credentials only, and neither the hosts that are signed for nor those that are called (I1, I25)."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from app.core.credential import decode_credential
from app.core.errors import UpstreamError
from app.sts.endpoints import load_sts_endpoints
from tests.iam.conftest import OpenIam, new_trail, soon
from tests.support.principals import admitted
from tests.support.process import run_cold, run_program
from tests.support.sdk_files import EVIL, hostile_home
from tests.support.wire import answering, recording_server
from tests.support.world import ACCOUNT, OTHER_ACCOUNT, Aws

IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/service/task</Arn><UserId>AROAEXAMPLEEXAMPLE001:task</UserId>"
    f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def test_the_hostile_files_would_be_heeded(tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing: botocore by itself uses these files."""
    script = (
        "import botocore.session; session = botocore.session.Session();"
        "print(session.create_client('iam', region_name='us-east-1').meta.endpoint_url)"
    )
    variables = hostile_home(tmp_path)
    assert run_program(sys.executable, "-c", script, **variables).out == f"https://{EVIL}\n"
    models_alone = variables | {"AWS_CONFIG_FILE": "/dev/null"}
    assert run_program(sys.executable, "-c", script, **models_alone).out == f"https://iam.{EVIL}\n"
    by_home_alone = {"HOME": str(tmp_path)}
    assert run_program(sys.executable, "-c", script, **by_home_alone).out == f"https://iam.{EVIL}\n"


@pytest.mark.parametrize("names", [["HOME"], ["HOME", "AWS_DATA_PATH", "AWS_CONFIG_FILE"]], ids=["home", "all"])
def test_the_table_of_sts_hosts_is_that_of_the_installed_botocore(tmp_path: Path, names: list[str]) -> None:
    script = (
        "import json; from app.sts.endpoints import implicit_region, load_sts_endpoints;"
        "print(json.dumps([implicit_region('aws'), *(endpoint.host for endpoint in load_sts_endpoints())]))"
    )
    home = hostile_home(tmp_path)
    done = run_program(sys.executable, "-c", script, **{name: home[name] for name in names})
    assert json.loads(done.out) == ["us-east-1", *(endpoint.host for endpoint in load_sts_endpoints())]


def test_the_command_line_signs_the_aws_host(aws: Aws, tmp_path: Path) -> None:
    task = aws.emulator.environment(ACCOUNT, "demo-app")
    done = run_cold("credential", "--region", "eu-west-1", **task | hostile_home(tmp_path))
    assert decode_credential(done.out).url.authority == "sts.eu-west-1.amazonaws.com"


def test_the_agent_signs_the_aws_host(aws: Aws, tmp_path: Path) -> None:
    task = aws.emulator.environment(ACCOUNT, "demo-app")
    file = tmp_path / "token"
    agent = ("agent", "--mode", "credential", "--once", "--region", "eu-west-1", "--token-file", str(file))
    done = run_cold(*agent, **task | hostile_home(tmp_path))
    assert done.status == 0, done.out + done.err
    assert decode_credential(file.read_text()).url.authority == "sts.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("sts_url", "hosts"),
    [
        pytest.param("http://127.0.0.1:9", ["/", "127.0.0.1:9", "iam.amazonaws.com:443"], id="iam"),
        pytest.param(None, ["sts.us-east-1.amazonaws.com:443"], id="sts"),
    ],
)
async def test_the_services_own_calls_go_to_aws(
    open_iam: OpenIam,
    aws: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sts_url: str | None,
    hosts: list[str],
) -> None:
    """The test's proxy answers as STS in a plain tunnel to STS, and refuses every other tunnel. It records all hosts."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in hostile_home(tmp_path, "http://127.0.0.1:10").items():
        monkeypatch.setenv(name, value)
    identify = answering("200 OK", {"Content-Type": "text/xml"}, IDENTITY.encode())

    async def respond(writer: asyncio.StreamWriter) -> None:
        line = proxy.requests[-1].line
        if line.startswith("CONNECT 127.0.0.1:9 "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        elif line.startswith("CONNECT"):
            writer.close()
        else:
            await identify(writer)

    async with recording_server(respond) as proxy:
        iam = await open_iam(proxy_url=proxy.url, sts_url=sts_url, iam_url=None)
        with pytest.raises(UpstreamError):
            await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
        assert sorted({request.line.split()[1] for request in proxy.requests}) == hosts


async def test_an_endpoint_of_a_setting_is_where_everything_goes(
    open_iam: OpenIam, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session of the reader role too, for which the service calls STS."""
    for name, value in hostile_home(tmp_path, "http://127.0.0.1:10").items():
        monkeypatch.setenv(name, value)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        role = aws.add_role(account=account)
        iam = await open_iam()
        assert (await iam.fetch_role(admitted(role), new_trail().iam, soon())).arn == role.arn
