"""``controller`` as a command: its usage, its passes in a separate process, and its end."""

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from app.cli import main
from demos.controller.ecs_stand_in import CLUSTER, Ecs, ecs_stand_in
from demos.controller.kuma_api import API_TOKEN, KumaApi, kuma_api
from tests.support.keys import KeyFiles, rsa_key
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment, free_address, run

USAGE = 2
API = ("--api-server-url", "https://cp.mesh:5682")
WHERE = ("--region", "eu-west-1", "--cluster", "mesh")


def usage(*arguments: str, **variables: str) -> str:
    done = CliRunner().invoke(main, ["controller", *arguments], env=variables)
    assert done.exit_code == USAGE, done.output
    return done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (WHERE, "--api-server-url or --signing-keys"),
        ((*API, *WHERE), "set KUMA_API_TOKEN"),
        ((*API, "--api-token", "t", "--cluster", "mesh"), "AWS_REGION"),
        ((*API, "--api-token", "t", "--region", "eu-west-1"), "--cluster"),
        ((*API, "--api-token", "t", *WHERE, "--api-ca", "no certificate"), "KUMA_API_CA_BYTES"),
        (("--api-server-url", "http://cp.mesh:5681", "--api-token", "t", *WHERE), "in clear"),
        ((*API, "--api-token", "t", *WHERE, "--secret-name-prefix", "arn:aws:"), "beginning of the names"),
        ((*API, "--api-token", "t", *WHERE, "--secret-name-prefix", ""), "beginning of the names"),
        ((*API, "--api-token", "t", *WHERE, "--mesh", "Default"), "mesh"),
        ((*API, "--api-token", "t", *WHERE, "--valid-for", "30m"), "from 1h to 8784h"),
        ((*API, "--api-token", "t", *WHERE, "--valid-for", "720"), "such as 5s"),
        ((*API, "--api-token", "t", *WHERE, "--interval", "0s"), "from 1s to 1h"),
        ((*API, "--api-token", "t", *WHERE, "--diagnostics", "unix:/tmp/x"), "host:port"),
        ((*API, "--api-token", "t", *WHERE, "--identity", "role"), "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"),
    ],
)
def test_a_wrong_use_is_named_with_its_remedy(arguments: tuple[str, ...], words: str) -> None:
    assert words in " ".join(usage(*arguments).split())


def test_signing_keys_are_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one two three four\n")
    assert "KID MESH PATH" in usage("--signing-keys", str(path), *WHERE)


def test_an_empty_file_of_authorities_does_not_mean_the_public_ones(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.touch()
    output = usage(*API, "--api-token", "t", *WHERE, "--api-ca-file", str(path))
    assert "it holds no certificate" in " ".join(output.split())


def test_there_is_one_issuer(tmp_path: Path) -> None:
    files = KeyFiles.make(tmp_path)
    assert "not both" in usage(*API, "--api-token", "t", "--signing-keys", str(files.dataplane), *WHERE)


def test_the_command_of_kongs_image_is_known_and_not_listed() -> None:
    done = CliRunner().invoke(main, ["run", "--help"])
    assert done.exit_code == 0
    assert "--secret-name-prefix" in done.output
    assert "run" not in main.commands


@pytest.fixture(scope="module")
def ecs() -> Iterator[Ecs]:
    with ecs_stand_in() as state:
        yield state


@pytest.fixture(autouse=True)
def _empty(ecs: Ecs) -> None:
    ecs.tasks.clear()
    ecs.secrets.clear()
    ecs.put_order.clear()


def variables(ecs: Ecs, **more: str) -> dict[str, str]:
    return {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL_ECS": ecs.url,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": ecs.url,
        "KUMA_API_TOKEN": API_TOKEN,
        **more,
    }


@contextmanager
def metadata_endpoint(answer: dict[str, Any]) -> Iterator[str]:
    """The metadata endpoint of a task on ECS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode() if self.path == "/v4/id/task" else b"{}"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v4/id"
        server.shutdown()


def test_the_task_definition_of_kongs_controller_works_unchanged(ecs: Ecs) -> None:
    """Its command and its variables, as in Kong/kong-mesh-ecs deploy/controller.yaml; ``--once`` so that it ends."""
    ecs.add_task(service="demo-app", status="PENDING")
    ecs.add_secret("demo-app")
    with (
        kuma_api(rsa_key(2)) as api,
        metadata_endpoint({"Cluster": "arn:aws:ecs:eu-west-1:111122223333:cluster/m"}) as url,
    ):
        command = ("run", "--api-server-url", api.url, "--secret-name-prefix", "kong-mesh-ecs/")
        # On EC2, ECS sets no region. It is in the ARN of the cluster.
        given = {**variables(ecs, ECS_CONTAINER_METADATA_URI_V4=url), "AWS_REGION": ""}
        done = run(*command, "--once", **given)
    assert done.status == 0, done.out + done.err
    assert ecs.value("demo-app") == {"token": api.tokens[0]}
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["event"] for line in lines] == ["setting", "controller started", "token put", "controller stopped"]
    assert "ecs:TagResource" in lines[0]["detail"]
    assert lines[1]["clusters"] == ["arn:aws:ecs:eu-west-1:111122223333:cluster/m"]
    assert api.tokens[0] not in done.out + done.err
    assert API_TOKEN not in done.out + done.err


def test_a_dry_run_prints_what_would_be_put(ecs: Ecs, tmp_path: Path) -> None:
    files = KeyFiles.make(tmp_path)
    for service, text in (("web", "{}"), ("bad", "no json")):
        ecs.add_task(service=service)
        ecs.add_secret(service, text)
    ecs.add_task(service="none")
    done = run(
        "controller", "--signing-keys", str(files.dataplane), "--cluster", CLUSTER, "--dry-run", **variables(ecs)
    )
    assert done.status == 1  # one secret is malformed, and one is not there
    rows = [line.split() for line in done.out.splitlines() if line.startswith(("would put", "leave"))]
    assert [row[:3] for row in rows] == [
        ["leave", "kong-mesh-ecs/bad", "secret_malformed"],
        ["leave", "kong-mesh-ecs/none", "secret_missing"],
        ["would", "put", "kong-mesh-ecs/web"],
    ]
    assert ecs.put_order == []


@contextmanager
def running(ecs: Ecs, *arguments: str, address: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "app", "controller", *arguments, "--cluster", CLUSTER, "--diagnostics", address],
        cwd=ROOT,
        env=clean_environment(**variables(ecs)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], event: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if event in line:
            return
    pytest.fail(f"the controller ended without {event!r}")


def hold_next_token(api: KumaApi) -> tuple[threading.Event, threading.Event]:
    """Let the control plane answer only after the second event. The first one says that a token was asked for."""
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(PATIENCE)

    api.before = hold
    return asked, go_on


def test_sigterm_finishes_the_secret_in_hand(ecs: Ecs) -> None:
    ecs.add_task(service="web")
    ecs.add_secret("web")
    with kuma_api(rsa_key(2)) as api:
        asked, go_on = hold_next_token(api)
        with running(ecs, "--api-server-url", api.url, address=free_address()) as process:
            assert asked.wait(PATIENCE)
            process.send_signal(signal.SIGTERM)
            go_on.set()
            assert process.wait(PATIENCE) == 0
            output = process.stdout.read() if process.stdout else ""
    assert ecs.value("web") == {"token": api.tokens[0]}
    assert "controller stopped" in output


def test_sighup_ends_nothing(ecs: Ecs) -> None:
    ecs.add_task(service="web")
    ecs.add_secret("web")
    with kuma_api(rsa_key(2)) as api:
        asked, go_on = hold_next_token(api)
        with running(ecs, "--api-server-url", api.url, address=free_address()) as process:
            assert asked.wait(PATIENCE)
            process.send_signal(signal.SIGHUP)
            go_on.set()
            wait_for_line(process, "token put")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def test_sigterm_finishes_a_secret_that_an_earlier_pass_left_in_hand(ecs: Ecs) -> None:
    ecs.add_task(service="web")
    ecs.add_secret("web")
    go_on = threading.Event()
    with kuma_api(rsa_key(2)) as api:
        api.before = lambda: go_on.wait(PATIENCE)
        ecs.calls.clear()
        with running(ecs, "--api-server-url", api.url, "--interval", "1s", address=free_address()) as process:
            while ecs.calls.count("ListTasks") < 3:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            go_on.set()
            assert process.wait(PATIENCE) == 0
    assert ecs.value("web") == {"token": api.tokens[0]}
    assert len(api.tokens) == 1


def test_two_thousand_tasks_fit_into_80_megabytes(ecs: Ecs, tmp_path: Path) -> None:
    for service in range(50):
        ecs.add_secret(f"web-{service}")
    for number in range(2000):
        ecs.add_task(service=f"web-{number % 50}")
    files, address = KeyFiles.make(tmp_path), free_address()
    with running(ecs, "--signing-keys", str(files.dataplane), address=address) as process:
        for _ in range(50):
            wait_for_line(process, "token put")
        assert httpx.get(f"http://{address}/metrics", trust_env=False, timeout=PATIENCE).status_code == 200
        status = Path(f"/proc/{process.pid}/status").read_text()
        [peak] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
        assert peak < 80_000, f"{peak} kB"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_the_api_stub_is_kumas() -> None:
    """A stub that accepts every token would prove little."""
    with kuma_api(rsa_key(2)) as api:
        answer = httpx.post(
            f"{api.url}/tokens/dataplane", json={"mesh": "default"}, trust_env=False, headers={"authorization": "x"}
        )
        assert answer.status_code == 401
        assert isinstance(api, KumaApi)
