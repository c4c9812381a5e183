"""``agent`` as a process of its own, beside a proxy and as the parent of one."""

import contextlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.agent.held import parse_held
from app.agent.runner import FORWARDED
from app.agent.schedule import NEAR_END_SECONDS
from app.core.base64_text import decode_base64url
from app.core.credential import decode_credential
from app.core.strict_json import parse_object
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.cli.conftest import Invoke
from tests.support.exposition import read_samples, value
from tests.support.keys import KeyFiles, public_pem, rsa_key
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment, run, run_program, served, socket_address
from tests.support.tls import Authority
from tests.support.token_service import Answer, Made, issued, lasting, make_token, refusal, token_service
from tests.support.warm import LoggedProcess
from tests.support.world import ACCOUNT, Aws

TOKEN_CALLER: Final = "0123456789abcdef0123456789abcdef"


@dataclass
class Running:
    """A running agent, and its output so far."""

    process: subprocess.Popen[str] | LoggedProcess
    lines: list[str] = field(default_factory=list)
    _grown: threading.Condition = field(default_factory=threading.Condition)

    def follow(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(line.rstrip("\n"))
                self._grown.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        with self._grown:
            found = self._grown.wait_for(lambda: len(self._having(text)) >= times, PATIENCE)
        assert found, f"never said {text!r} so often:\n" + "\n".join(self.lines)
        return self._having(text)[times - 1]

    def _having(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        return self.process.wait(PATIENCE)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


Start = Callable[..., contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def running(
    start: contextlib.AbstractContextManager[LoggedProcess] | contextlib.AbstractContextManager[subprocess.Popen[str]],
) -> Iterator[Running]:
    with start as process:
        agent = Running(process)
        reader = threading.Thread(target=agent.follow, daemon=True)
        reader.start()
        try:
            yield agent
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            reader.join(PATIENCE)


def cold(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start an agent in a new interpreter."""
    return subprocess.Popen(  # noqa: S603 - a command that the test names
        command,
        cwd=ROOT,
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def task(aws: Aws) -> dict[str, str]:
    return {**aws.emulator.environment(ACCOUNT, "demo-app"), "KMESH_AWSIAM_AUDIENCE": "prod"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


@pytest.fixture
def start(task: dict[str, str], path: Path) -> Start:
    """Start an agent in a process with the imports done, or with a command ``before`` it in a new interpreter.

    What stands behind ``--exec`` is Python of the test's own.
    """

    def started(*options: str, proxy: str | None = None, before: Sequence[str] | None = None) -> Any:
        arguments = ("agent", "--token-file", str(path), *options)
        if proxy is not None:
            arguments += ("--exec", "--", sys.executable, "-c", proxy, str(path))
        if before is not None:
            return running(cold([*before, sys.executable, "-m", "app", *arguments], task))
        return running(contextlib.closing(LoggedProcess(arguments, ROOT, clean_environment(**task))))

    return started


BESIDE = ("--mode", "credential")


# Beside a proxy.


def test_it_writes_a_file_that_is_good_and_ends_with_a_signal(start: Start, path: Path, invoke: Invoke) -> None:
    with start(*BESIDE, before=()) as agent:
        agent.wait_for('"renewed"')
        assert decode_credential(path.read_text()).url.authority == "sts.us-east-1.amazonaws.com"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert invoke("agent", "--health", "--token-file", str(path)).exit_code == 0
        agent.send(signal.SIGTERM)
        assert agent.end() == 0
    assert [line["event"] for line in agent.events()] == ["agent started", "renewed", "stopped"]
    assert all({"event", "level", "time"} <= line.keys() for line in agent.events())
    assert agent.events()[0]["audience"] == "prod"
    assert path.read_text() not in "".join(agent.lines)


def test_what_it_writes_is_accepted_by_the_service(start: Start, path: Path, aws: Aws) -> None:
    environment = {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod"}
    with start(*BESIDE) as agent, socket_address() as address, served(address, **environment) as service:
        agent.wait_for('"renewed"')
        service.wait_for("own account")
        answer = service.client.post("/v1/authenticate", json={"credential": path.read_text()})
        assert answer.status_code == 200
        assert answer.json()["identity"]["service"] == "demo-app"


def test_sighup_renews_at_once(start: Start, path: Path) -> None:
    with start(*BESIDE) as agent:
        agent.wait_for('"renewed"')
        before = path.stat().st_ino
        agent.send(signal.SIGHUP)
        agent.wait_for('"renewed"', times=2)
        assert path.stat().st_ino != before


def test_a_token_ends_and_is_renewed_before(start: Start, path: Path) -> None:
    token = make_token()
    with token_service(lasting(9), issued(token)) as service:
        with start("--mode", "token", "--service-url", service.address) as agent:
            agent.wait_for('"renewed"', times=2)
            assert path.read_text() == token
        first, second = (line for line in agent.events() if line["event"] == "renewed")
        assert moment(first["next_at"]) < moment(first["ends_at"])
        assert moment(second["time"]) >= moment(first["next_at"])


def test_over_a_unix_socket(start: Start, path: Path) -> None:
    with socket_address() as address, token_service(unix=address.removeprefix("unix:")) as service:
        assert service.address == address
        with start("--mode", "token", "--service-url", address, "--once") as agent:
            assert agent.end() == 0
    assert parse_held(path.read_text()).kind == "token"


ZONE_PROXY = ("--proxy-type", "dataplane", "--mesh", "default", "--name", "egress-1")


@pytest.mark.parametrize("kind", ["ZoneIngress", "ZoneEgress"])
def test_a_zone_proxy_in_a_dataplane_names_its_listeners(start: Start, kind: str) -> None:
    options = (*ZONE_PROXY, "--label", "kuma.io/workload=zone-proxy", "--listener", kind, "--listener", kind)
    with token_service() as service:
        with start("--mode", "token", "--service-url", service.address, "--once", *options) as agent:
            assert agent.end() == 0
        [(_, _, call)] = service.calls
    assert call["proxy"] == {
        "type": "dataplane",
        "mesh": "default",
        "name": "egress-1",
        "zone": None,
        "labels": {"kuma.io/workload": "zone-proxy"},
        "listeners": [kind],
    }


def test_a_proxy_without_zone_listeners_speaks_of_none(start: Start) -> None:
    """An older service does not know the member, and refuses a call that has it."""
    with token_service() as service:
        with start("--mode", "token", "--service-url", service.address, "--once", *ZONE_PROXY) as agent:
            assert agent.end() == 0
        [(_, _, call)] = service.calls
    assert "listeners" not in call["proxy"]


DATAPLANE = """
type: Dataplane
mesh: default
name: {{ name }}
labels: {kuma.io/workload: zone-proxy}
networking:
  address: {{ address }}
  listeners: [{type: ZoneEgress, port: 10002}]
"""
SIDECAR = """
type: Dataplane
mesh: default
name: demo-app-1
networking:
  address: 10.0.0.1
  inbound:
  - port: 5000
    tags: {kuma.io/service: SERVICE}
"""


@pytest.fixture
def dataplane(tmp_path: Path) -> Path:
    path = tmp_path / "dataplane.yaml"
    path.write_text(DATAPLANE)
    return path


@pytest.mark.parametrize("said_again", [(), ZONE_PROXY, ("--listener", "ZoneEgress", "--name", "egress-1")])
def test_the_identity_is_that_of_the_resource(start: Start, dataplane: Path, said_again: tuple[str, ...]) -> None:
    resource = ("--dataplane-file", str(dataplane), "--dataplane-var", "name=egress-1,address=10.0.0.1")
    with token_service() as service:
        with start("--mode", "token", "--service-url", service.address, "--once", *resource, *said_again) as agent:
            assert agent.end() == 0
        [(_, _, call)] = service.calls
    assert call["proxy"] == {
        "type": "dataplane",
        "mesh": "default",
        "name": "egress-1",
        "zone": None,
        "labels": {"kuma.io/workload": "zone-proxy"},
        "listeners": ["ZoneEgress"],
    }


def test_a_zone_proxy_whose_resource_names_no_zone_takes_that_of_the_option(start: Start, dataplane: Path) -> None:
    dataplane.write_text("type: ZoneIngress\nname: ingress-1\nnetworking: {address: 10.0.0.1, port: 10001}\n")
    with token_service() as service:
        options = ("--dataplane-file", str(dataplane), "--zone", "east")
        with start("--mode", "token", "--service-url", service.address, "--once", *options) as agent:
            assert agent.end() == 0
        [(_, _, call)] = service.calls
    assert call["proxy"] == {"type": "ingress", "mesh": None, "name": "ingress-1", "zone": "east"}


@dataclass(frozen=True)
class Tls:
    """Certificates of a service that authenticates its callers."""

    context: ssl.SSLContext
    ca: Path
    client: tuple[Path, Path]


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    client = authority.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.cert)
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return Tls(context, authority.cert, (client.cert, client.key))


def test_over_tls_with_a_certificate_and_a_caller_token(start: Start, path: Path, tls: Tls, tmp_path: Path) -> None:
    token_file = tmp_path / "caller"
    token_file.write_text(f"# the agent's\n{TOKEN_CALLER}\n")
    with token_service(tls=tls.context) as service:
        options = ("--mode", "token", "--service-url", service.address, "--once", "--ca-file", str(tls.ca))
        cert, key = map(str, tls.client)
        known = ("--client-cert-file", cert, "--client-key-file", key, "--caller-token-file", str(token_file))
        with start(*options, *known) as agent:
            assert agent.end() == 0
        [(_, headers, _)] = service.calls
        assert headers["authorization"] == f"Bearer {TOKEN_CALLER}"
        assert headers["x-kuma-aws-iam-audience-hint"] == "prod"
    assert parse_held(path.read_text()).kind == "token"
    assert TOKEN_CALLER not in "".join(agent.lines)


@pytest.mark.parametrize("shows", ["no certificate", "nothing it trusts"])
def test_a_handshake_that_fails_sends_nothing(start: Start, path: Path, tls: Tls, tmp_path: Path, shows: str) -> None:
    other = Authority(tmp_path / "other")
    ca = tls.ca if shows == "no certificate" else other.cert
    with token_service(tls=tls.context) as service:
        options = ("--mode", "token", "--service-url", service.address, "--once", "--give-up-after", "0")
        with start(*options, "--ca-file", str(ca)) as agent:
            assert agent.end() == 5
        assert service.calls == []
    reason = next(line["reason"] for line in agent.events() if line["event"] == "gave up")
    assert reason == ("service_unreachable" if shows == "no certificate" else "certificate_not_trusted")
    assert not path.exists()


def test_a_certificate_that_is_out_of_date_leads_to_the_clock(start: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH, hours=(-2, -1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    with token_service(tls=context) as service:
        options = ("--mode", "token", "--service-url", service.address, "--once", "--give-up-after", "0")
        with start(*options, "--ca-file", str(authority.cert)) as agent:
            assert agent.end() == 5
    [line] = [line for line in agent.events() if line["event"] == "gave up"]
    assert line["reason"] == "certificate_not_trusted"
    assert "set it by NTP" in line["detail"]


# The service itself.


def test_the_service_gives_a_token_that_a_stock_control_plane_takes(start: Start, path: Path, aws: Aws) -> None:
    keys = KeyFiles.make(path.parent)
    environment = {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod", **keys.settings()}
    with socket_address() as address, served(address, **environment) as service:
        service.wait_for("own account")
        claim = ("--proxy-type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app")
        with start("--mode", "token", "--service-url", address, *claim, "--once") as agent:
            assert agent.end() == 0
        key = {"kid": "dp-1", "key": public_pem(rsa_key(0))}
        tokens = {"dpToken": {"validator": {"publicKeys": [key]}}}
        control_plane = KumaValidator({"dpServer": {"authn": {"dpProxy": tokens}}})
        now = datetime.now(UTC).timestamp()
        own, other = ({"kuma.io/service": {name}} for name in ("demo-app", "backend"))
        control_plane.check_dataplane(path.read_text(), DataplaneResource(mesh="default", name="a", tags=own), now)
        with pytest.raises(RefusedError):
            control_plane.check_dataplane(
                path.read_text(), DataplaneResource(mesh="default", name="a", tags=other), now
            )
        renewed = next(line for line in agent.events() if line["event"] == "renewed")
        assert renewed["kid"] == "dp-1"
        # The agent's log line leads to the service's audit line.
        service.wait_for(renewed["request_id"])
        assert renewed["request_id"] in {line["request_id"] for line in service.events() if line["event"] == "decision"}


def test_a_service_without_keys_is_told_with_the_setting(start: Start, aws: Aws) -> None:
    environment = {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod"}
    with socket_address() as address, served(address, **environment) as service:
        service.wait_for("own account")
        with start("--mode", "token", "--service-url", address, "--once", "--give-up-after", "0") as agent:
            assert agent.end() == 1
    [line] = [line for line in agent.events() if line["event"] == "gave up"]
    assert line["reason"] == "not_found"
    assert "KMESH_AWSIAM_DATAPLANE_KEYS_FILE" in line["detail"]


@pytest.mark.parametrize(
    ("kind", "workload", "reason"),
    [
        ("ZoneEgress", "zone-proxy", None),
        ("ZoneIngress", "zone-proxy", "proxy_type_mismatch"),
        ("ZoneEgress", "payments", "proxy_workload_mismatch"),
    ],
)
def test_the_service_judges_a_zone_proxy_in_a_dataplane_by_its_listeners(
    aws: Aws, path: Path, kind: str, workload: str, reason: str | None
) -> None:
    role = aws.add_role({"kuma.io/type": "egress", "kuma.io/mesh": "default", "kuma.io/workload": "zone-proxy"})
    settings = {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod", **KeyFiles.make(path.parent).settings()}
    task = {**aws.emulator.environment(ACCOUNT, role.name), "KMESH_AWSIAM_AUDIENCE": "prod"}
    claim = (*ZONE_PROXY, "--label", f"kuma.io/workload={workload}", "--listener", kind)
    with socket_address() as address, served(address, **settings) as service:
        service.wait_for("own account")
        options = ("--mode", "token", "--service-url", address, "--once", "--give-up-after", "0")
        done = run("agent", "--token-file", str(path), *options, *claim, **task)
    if reason is not None:
        assert done.status == 1
        assert reason in done.out
        return
    assert done.status == 0
    claims = parse_object(decode_base64url(path.read_text().split(".")[1]))
    assert (claims["Mesh"], claims["Name"], claims["Workload"]) == ("default", "egress-1", "zone-proxy")


@pytest.mark.parametrize(("name", "reason"), [("demo-app", None), ("backend", "proxy_service_mismatch")])
def test_the_service_judges_the_resource_at_the_first_call(
    start: Start, aws: Aws, path: Path, dataplane: Path, name: str, reason: str | None
) -> None:
    """Otherwise only the proxy's log would show that the control plane refuses the token of another resource."""
    dataplane.write_text(SIDECAR.replace("SERVICE", name))
    keys = KeyFiles.make(path.parent)
    settings = {**aws.service_environment(), "KMESH_AWSIAM_AUDIENCE": "prod", "KMESH_AWSIAM_TOKEN_NAMES": "true"}
    with socket_address() as address, served(address, **settings, **keys.settings()) as service:
        service.wait_for("own account")
        options = ("--mode", "token", "--service-url", address, "--dataplane-file", str(dataplane))
        with start(*options, proxy="print('the proxy runs')") as agent:
            if reason is not None:
                agent.wait_for('"not renewed"')
                agent.send(signal.SIGTERM)
            agent.end()
    events = agent.events()
    if reason is not None:
        assert (events[1]["failure"], events[1]["reason"]) == ("denied", reason)
        assert "the proxy runs" not in agent.lines
        return
    assert "the proxy runs" in agent.lines
    claims = parse_object(decode_base64url(path.read_text().split(".")[1]))
    assert (claims["Mesh"], claims["Name"]) == ("default", "demo-app-1")
    assert claims["Tags"] == {"kuma.io/service": ["demo-app"]}


# Once, and usage.


@pytest.mark.parametrize(
    ("answer", "status"),
    [(lasting(3600), 0), (refusal(403, "role_type_missing"), 1), (refusal(503, "sts_unavailable"), 5)],
    ids=["issued", "denied", "undecided"],
)
def test_once_tells_how_it_ended(start: Start, path: Path, answer: Answer | Made, status: int) -> None:
    with token_service(answer) as service:
        with start("--mode", "token", "--service-url", service.address, "--once", "--give-up-after", "0") as agent:
            assert agent.end() == status
        assert len(service.calls) == 1
    assert path.exists() == (status == 0)


def test_no_task_role_is_a_status_of_its_own(path: Path) -> None:
    done = run("agent", *BESIDE, "--token-file", str(path), "--once", "--give-up-after", "0", AWS_REGION="eu-west-1")
    assert done.status == 3
    assert "give the task a task role" in done.out


def test_a_region_that_is_newer_than_botocore_is_signed_for_where_it_is_named(
    invoke: Invoke, task: dict[str, str], path: Path
) -> None:
    variables = {"AWS_REGION": "eu-north-7", "KMESH_AWSIAM_EXTRA_REGIONS": "eu-north-7"}
    result = invoke("agent", *BESIDE, "--token-file", str(path), "--once", **task | variables)
    assert result.exit_code == 0
    assert decode_credential(path.read_text()).url.authority == "sts.eu-north-7.amazonaws.com"


TOKEN_MODE = ("--mode", "token", "--service-url")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--mode"),
        (("--mode", "token"), "--service-url"),
        (("--mode", "credential", "--service-url", "unix:/x"), "--service-url"),
        ((*TOKEN_MODE, "http://10.0.0.1:5690"), "in clear"),
        ((*TOKEN_MODE, "http://user@127.0.0.1"), "https://HOST:PORT"),
        ((*TOKEN_MODE, "https://host/path"), "nothing behind it"),
        ((*TOKEN_MODE, "https://host:99999"), "https://HOST:PORT"),
        ((*TOKEN_MODE, "ftp://host"), "https://HOST:PORT"),
        ((*TOKEN_MODE, "unix:api.sock"), "absolute path"),
        ((*TOKEN_MODE, "unix:/x", "--proxy-type", "dataplane"), "--mesh"),
        ((*TOKEN_MODE, "unix:/x", "--listener", "ZoneEgress"), "--proxy-type dataplane"),
        ((*TOKEN_MODE, "unix:/x", "--proxy-type", "egress", "--listener", "ZoneEgress"), "--proxy-type dataplane"),
        ((*TOKEN_MODE, "unix:/x", *ZONE_PROXY, "--listener", "ZoneEgress", "--listener", "ZoneIngress"), "not both"),
        ((*TOKEN_MODE, "unix:/x", *ZONE_PROXY, "--listener", "zoneegress"), "ZoneEgress"),
        ((*TOKEN_MODE, "unix:/x", *ZONE_PROXY[:-2], "--listener", "ZoneEgress"), "--listener needs --name"),
        ((*TOKEN_MODE, "unix:/x", "--dataplane-var", "name=a"), "--dataplane-file"),
        ((*TOKEN_MODE, "unix:/x", "--dataplane-file", "/nowhere"), "/nowhere"),
        ((*BESIDE, "--exec"), "--exec --"),
        ((*BESIDE, "true"), "--exec --"),
        ((*BESIDE, "--once", "--exec", "--", "true"), "--once"),
        ((*BESIDE, "--file-mode", "0644"), "others"),
        ((*BESIDE, "--file-mode", "0200"), "others"),
        ((*BESIDE, "--file-mode", "600x"), "octal"),
        ((*BESIDE, "--group", "nobody-knows-it"), "no such group"),
        ((*BESIDE, "--region", ""), "no region"),
        ((*BESIDE, "--region", "mars-1"), "mars-1"),
        ((*BESIDE, "--give-up-after", "-1"), "--give-up-after"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], path: Path, options: tuple[str, ...], words: str
) -> None:
    result = invoke("agent", "--token-file", str(path), *options, **task)
    assert result.exit_code == 2
    assert words in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mesh", "payments"), ("--mesh says payments", "says default")),
        (("--name", "b"), ("--name says b", "says egress-1")),
        (("--zone", "east"), ("--zone says east", "says nothing")),
        (("--proxy-type", "egress"), ("--proxy-type says egress", "says dataplane")),
        (("--kuma-service", "b", "--kuma-service", "a"), ("--kuma-service says a, b", "says nothing")),
        (("--label", "kuma.io/workload=b"), ("--label says kuma.io/workload=b", "says kuma.io/workload=zone-proxy")),
        (("--label", "kuma.io/service=b"), ("--label says kuma.io/service=b", "says nothing")),
        (("--listener", "ZoneIngress"), ("--listener says ZoneIngress", "says ZoneEgress")),
    ],
)
def test_an_option_that_says_something_else_than_the_resource_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], path: Path, dataplane: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    resource = ("--dataplane-file", str(dataplane), "--dataplane-var", "name=egress-1")
    result = invoke("agent", "--token-file", str(path), *TOKEN_MODE, "unix:/x", *resource, *options, **task)
    assert result.exit_code == 2
    output = " ".join(result.output.split())
    assert all(word in output for word in words), output
    assert str(dataplane) in output


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("type: Mesh", (), "its type must be Dataplane"),
        (DATAPLANE, (), "--dataplane-var"),
        (DATAPLANE, ("--dataplane-var", "name"), "KEY=VALUE"),
        (DATAPLANE, ("--dataplane-var", "a.b=1", "--dataplane-var", "a.c=1"), "begin with the same word"),
        (DATAPLANE, ("--dataplane-var", "name=a\nb,address=c"), "are one line"),
        (SIDECAR + "---\n" + SIDECAR, (), "found another document"),
    ],
)
def test_a_resource_that_cannot_be_used_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], path: Path, dataplane: Path, text: str, options: tuple[str, ...], words: str
) -> None:
    dataplane.write_text(text)
    resource = ("--dataplane-file", str(dataplane), *options)
    result = invoke("agent", "--token-file", str(path), *TOKEN_MODE, "unix:/x", *resource, **task)
    assert result.exit_code == 2
    assert words in result.output.replace("\n", " ")


def test_a_resource_with_both_kinds_of_listener_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], path: Path, dataplane: Path
) -> None:
    dataplane.write_text(DATAPLANE.replace("port: 10002}", "port: 10002}, {type: ZoneIngress, port: 10001}"))
    resource = ("--dataplane-file", str(dataplane), "--dataplane-var", "name=egress-1")
    result = invoke("agent", "--token-file", str(path), *TOKEN_MODE, "unix:/x", *resource, **task)
    assert result.exit_code == 2
    assert "not both" in result.output


def test_files_that_cannot_be_used_are_a_usage_error(invoke: Invoke, task: dict[str, str], path: Path) -> None:
    bad = path.parent / "bad"
    bad.write_text("no token, no certificate")
    for option in ("--caller-token-file", "--ca-file", "--client-cert-file"):
        options = (*TOKEN_MODE, "https://127.0.0.1:1", option, str(bad))
        assert invoke("agent", "--token-file", str(path), *options, **task).exit_code == 2


def test_a_folder_that_is_not_there_or_not_its_own_is_a_usage_error(task: dict[str, str], tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", Path("/proc/sys/kernel/keys")):
        done = run("agent", *BESIDE, "--token-file", str(folder / "token"), **task)
        assert done.status in {2, 4} if folder.exists() else done.status == 2
        assert str(folder) in done.err + done.out


def test_a_folder_in_the_place_of_the_file_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], tmp_path: Path
) -> None:
    result = invoke("agent", *BESIDE, "--token-file", str(tmp_path), **task)
    assert result.exit_code == 2
    assert str(tmp_path) in result.output


def test_the_file_may_be_named_by_kuma_dps_own_variable(invoke: Invoke, path: Path) -> None:
    path.write_text(make_token())
    assert invoke("agent", "--health", KUMA_DATAPLANE_RUNTIME_TOKEN_PATH=str(path)).exit_code == 0


# Health.


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, "it is not there"),
        (lambda: "", "neither a credential nor a token"),
        (lambda: make_token(timedelta(hours=-1)), "ended"),
        (lambda: make_token(timedelta(seconds=NEAR_END_SECONDS - 5)), "should have been renewed"),
    ],
    ids=["absent", "empty", "ended", "near-its-end"],
)
def test_a_file_that_is_not_good_is_unhealthy(
    invoke: Invoke, path: Path, write: Callable[[], str] | None, words: str
) -> None:
    if write is not None:
        path.write_text(write())
    result = invoke("agent", "--health", "--token-file", str(path))
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(path) in result.stderr


def test_a_folder_is_unhealthy_and_no_usage_error(invoke: Invoke, tmp_path: Path) -> None:
    """Docker reserves the exit status 2 of a health check."""
    result = invoke("agent", "--health", "--token-file", str(tmp_path))
    assert result.exit_code == 1
    assert f"{tmp_path}: it is a folder" in result.stderr


def test_the_health_check_loads_neither_an_sdk_nor_an_http_client(path: Path) -> None:
    path.write_text(make_token())
    assert _loaded_by(f"['agent', '--health', '--token-file', {str(path)!r}]") == set()


def test_the_agent_loads_what_it_needs_and_no_more(path: Path, task: dict[str, str]) -> None:
    arguments = f"['agent', '--mode', 'credential', '--once', '--token-file', {str(path)!r}]"
    assert _loaded_by(arguments, **task) == {"botocore", "urllib3"}


LARGE = {
    "asyncio",
    "boto3",
    "botocore",
    "cryptography",
    "fastapi",
    "httpx",
    "orjson",
    "pydantic",
    "structlog",
    "urllib3",
    "yaml",
}


def _loaded_by(arguments: str, **variables: str) -> set[str]:
    script = (
        "import sys, contextlib; from app.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments})\n"
        f"print(*sorted({LARGE!r} & set(sys.modules)))"
    )
    return set(run_program(sys.executable, "-c", script, **variables).out.splitlines()[-1].split())


# Around a proxy.


def test_the_proxy_starts_once_the_file_is_there(start: Start, path: Path) -> None:
    token = make_token()
    with token_service(refusal(503, "overloaded"), issued(token)) as service:
        options = ("--mode", "token", "--service-url", service.address)
        with start(*options, proxy="import sys; print('read', open(sys.argv[1]).read())") as agent:
            assert agent.end() == 0
    said = [json.loads(line)["event"] if line.startswith("{") else line for line in agent.lines]
    started = said.index("proxy started")
    assert said[:started] == ["agent started", "not renewed", "renewed"]
    assert f"read {token}" in said
    assert said[-2:] == ["proxy ended", "stopped"]
    assert path.read_text() == token


# Prints each signal, and ends with status 7 on SIGTERM.
LISTENER = """
import os, signal, sys
from app.agent.runner import FORWARDED
def on(number, frame):
    os.write(1, f'got {signal.Signals(number).name}\\n'.encode())
    if number == signal.SIGTERM: sys.exit(7)
for number in FORWARDED: signal.signal(number, on)
os.write(1, b'ready\\n')
while True: signal.pause()
"""


def test_the_proxy_gets_every_signal_and_its_status_is_the_agents(start: Start) -> None:
    with start(*BESIDE, proxy=LISTENER) as agent:
        agent.wait_for("ready")
        for number in sorted(FORWARDED, key=lambda number: number == signal.SIGTERM):
            agent.send(number)
            agent.wait_for(f"got {number.name}")
        assert agent.end() == 7
    assert agent.events()[-1]["exit_status"] == 7


@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_proxys_status_is_passed_on(start: Start, status: int) -> None:
    with start(*BESIDE, proxy=f"raise SystemExit({status})") as agent:
        assert agent.end() == status


def test_a_proxy_that_was_killed_is_told_as_a_shell_tells_it(start: Start) -> None:
    with start(*BESIDE, proxy="import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as agent:
        assert agent.end() == 128 + signal.SIGKILL


def test_a_signal_before_the_first_file_starts_no_proxy(start: Start) -> None:
    with token_service(refusal(503, "overloaded")) as service:
        options = ("--mode", "token", "--service-url", service.address)
        with start(*options, proxy="print('started')") as agent:
            agent.wait_for("not renewed")
            agent.send(signal.SIGTERM)
            assert agent.end() == 128 + signal.SIGTERM
    assert "started" not in agent.lines


def test_a_signal_is_passed_on_while_a_renewal_hangs(start: Start, path: Path) -> None:
    """The service takes the call and does not answer. The proxy ends at once, and so does the agent."""
    hangs = threading.Event()
    with token_service(lasting(3)) as service:
        answer = service.answer

        def stall(*arguments: Any) -> Answer:
            if service.calls:
                service.asked.release()
                hangs.wait(PATIENCE)
            return answer(*arguments)

        service.answer = stall  # type: ignore[assignment,method-assign]
        try:
            with start("--mode", "token", "--service-url", service.address, proxy=LISTENER) as agent:
                agent.wait_for("ready")
                assert service.asked.acquire(timeout=PATIENCE)
                assert service.asked.acquire(timeout=PATIENCE)
                agent.send(signal.SIGTERM)
                assert agent.end() == 7
        finally:
            hangs.set()
    assert path.exists()


def test_a_program_that_is_not_there_is_told_before_anybody_is_asked(task: dict[str, str], path: Path) -> None:
    done = run("agent", *BESIDE, "--token-file", str(path), "--exec", "--", "no-such-program", **task)
    assert done.status == 127
    assert "no-such-program" in done.out
    assert not path.exists()


def test_a_program_that_cannot_be_started_is_told(task: dict[str, str], path: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and then nothing")
    program.chmod(0o755)
    assert run("agent", *BESIDE, "--token-file", str(path), "--exec", "--", str(program), **task).status == 126


def once(happened: threading.Event, answer: Answer) -> Made:
    """Return an answer that is held back until something has happened."""

    def wait() -> Answer:
        assert happened.wait(PATIENCE)
        return answer

    return wait


def test_a_program_that_may_not_be_executed_is_told_before_anybody_is_asked(
    task: dict[str, str], path: Path, tmp_path: Path
) -> None:
    """Status 126, as from a shell, for a path and for a name on PATH. A folder is no program either."""
    program = tmp_path / "kuma-dp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    variables = {**task, "PATH": f"{os.environ['PATH']}:{tmp_path}"}
    for name in (str(program), program.name, str(tmp_path)):
        done = run("agent", *BESIDE, "--token-file", str(path), "--exec", "--", name, **variables)
        assert done.status == 126
        assert "execute permission" in done.out
    assert not path.exists()


@pytest.mark.parametrize(("gone", "status"), [("the program", 127), ("its interpreter", 126)])
def test_a_program_that_went_away_is_not_there_any_more(start: Start, tmp_path: Path, gone: str, status: int) -> None:
    interpreter, program = tmp_path / "interpreter", tmp_path / "program"
    interpreter.symlink_to("/bin/sh")
    program.write_text(f"#!{interpreter}\n")
    program.chmod(0o755)

    def issue() -> Answer:
        (program if gone == "the program" else interpreter).unlink()
        return issued()

    with token_service(issue) as service:
        options = ("--mode", "token", "--service-url", service.address, "--exec", "--", str(program))
        with start(*options) as agent:
            assert agent.end() == status
    [line] = [line for line in agent.events() if line["event"] == "proxy not started"]
    assert line["exit_status"] == status


def test_a_denial_that_lasts_beyond_the_files_end_ends_the_proxy(start: Start) -> None:
    is_ready = threading.Event()
    with token_service(lasting(3), once(is_ready, refusal(403, "role_type_missing"))) as service:
        options = ("--mode", "token", "--service-url", service.address, "--give-up-after", "0")
        with start(*options, proxy=LISTENER) as agent:
            agent.wait_for("ready")
            is_ready.set()
            assert agent.end() == 1
    assert "got SIGTERM" in agent.lines
    gave_up = next(line for line in agent.events() if line["event"] == "gave up")
    assert gave_up["reason"] == "role_type_missing"
    # Not before the file had expired, whatever the service answered.
    assert moment(gave_up["time"]) > moment(agent.events()[1]["ends_at"])


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"


def test_a_proxy_that_does_not_want_to_end_is_killed(task: dict[str, str], path: Path) -> None:
    is_ready = threading.Event()
    with token_service(lasting(3), once(is_ready, refusal(403, "role_type_missing"))) as service:
        arguments = ["agent", "--token-file", str(path), "--mode", "token", "--service-url", service.address]
        arguments += ["--give-up-after", "0", "--exec", "--", sys.executable, "-c", STUBBORN]
        script = (
            f"from app.agent import runner; runner.END_SECONDS = 0.1; from app.cli import main; main({arguments!r})"
        )
        with running(cold([sys.executable, "-c", script], task)) as agent:
            agent.wait_for("ready")
            is_ready.set()
            assert agent.end() == 1


def state_of(pid: int) -> str:
    """Return the kernel's state letter of a process; empty if the process does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_what_the_proxy_started_does_not_outlive_it(start: Start) -> None:
    """An Envoy without its kuma-dp would continue with its last configuration."""
    leaves = "import subprocess; print('left', subprocess.Popen(['sleep', '1000']).pid, flush=True)"
    with start(*BESIDE, proxy=leaves) as agent:
        assert agent.end() == 0
        assert state_of(int(agent.wait_for("left").split()[1])) in {"", "Z"}


# The first process of a container adopts orphans.
SUBREAPER = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
# Starts a process that outlives it, and waits until nothing is left of it, not even a zombie.
ORPHANS = """
import os, signal
read, write = os.pipe()
for _ in range(3):
    if (child := os.fork()) == 0:
        if (orphan := os.fork()) == 0:
            signal.pause()
        os.write(write, orphan.to_bytes(4, 'little'))
        os._exit(0)
    os.waitpid(child, 0)
    orphan = int.from_bytes(os.read(read, 4), 'little')
    os.kill(orphan, signal.SIGKILL)
    while os.path.exists(f'/proc/{orphan}'):
        os.sched_yield()
    print('gone', flush=True)
"""


def test_no_zombie_is_left_where_the_agent_is_the_first_process(start: Start) -> None:
    with start(*BESIDE, proxy=ORPHANS, before=[sys.executable, "-c", SUBREAPER]) as agent:
        assert agent.end() == 0
    assert agent.lines.count("gone") == 3


def test_a_terminals_signal_reaches_the_proxy_once(start: Start) -> None:
    """Ctrl-C signals the whole foreground process group, and kuma-dp exits immediately on the second signal."""
    with start(*BESIDE, proxy=LISTENER) as agent:
        agent.wait_for("ready")
        os.killpg(agent.process.pid, signal.SIGINT)
        agent.wait_for("got SIGINT")
        agent.send(signal.SIGTERM)
        assert agent.end() == 7
    assert agent.lines.count("got SIGINT") == 1


# The state that the agent reports.


def test_it_serves_its_metrics_where_it_is_told(start: Start) -> None:
    with start(*BESIDE, "--metrics-listen", "127.0.0.1:0") as agent:
        agent.wait_for('"renewed"')
        [started] = [line for line in agent.events() if line["event"] == "agent started"]
        samples = read_samples(
            httpx.get(f"http://{started['metrics']}/metrics", trust_env=False, timeout=PATIENCE).text
        )
    assert value(samples, "kuma_aws_iam_agent_renewals_total", result="renewed") == 1
    assert value(samples, "kuma_aws_iam_agent_healthy") == 1


@pytest.mark.parametrize("address", ["unix:/run/agent.sock", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0"])
def test_an_address_that_it_cannot_serve_on_is_a_usage_error(
    invoke: Invoke, task: dict[str, str], path: Path, address: str
) -> None:
    """No host has the address 192.0.2.1 (RFC 5737)."""
    result = invoke("agent", *BESIDE, "--token-file", str(path), "--metrics-listen", address, **task)
    assert (result.exit_code, "--metrics-listen" in result.stderr) == (2, True)


def test_health_as_json_says_what_the_file_holds(invoke: Invoke, path: Path) -> None:
    def ask() -> tuple[int, dict[str, Any]]:
        result = invoke("agent", "--health", "--json", "--token-file", str(path))
        return result.exit_code, json.loads(result.stdout)

    missing = {"healthy": False, "problem": "it is not there", "file": str(path), "kind": None}
    assert ask() == (1, {**missing, "begins_at": None, "ends_at": None, "seconds_left": None})
    path.write_text(make_token(timedelta(hours=1)))
    status, found = ask()
    assert (status, found["healthy"], found["problem"], found["kind"]) == (0, True, None, "token")
    assert 3590 < found["seconds_left"] <= 3601
    assert moment(found["ends_at"]) > moment(found["begins_at"])
    path.write_text(make_token(timedelta(seconds=-5)))
    status, found = ask()
    assert (status, found["healthy"], found["seconds_left"] < 0) == (1, False, True)
    assert "ended" in found["problem"]


def test_json_without_health_is_a_usage_error(invoke: Invoke, path: Path) -> None:
    assert invoke("agent", *BESIDE, "--json", "--token-file", str(path)).exit_code == 2
