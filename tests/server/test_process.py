"""The process: its sockets, its signals and its exit."""

import contextlib
import json
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.emulator import FaultKind
from app.server.listener import MAX_OPEN_FILES
from tests.support.patience import PATIENCE
from tests.support.process import (
    ROOT,
    Served,
    clean_environment,
    connect,
    free_address,
    run,
    served,
    served_cold,
    socket_address,
)
from tests.support.world import Aws


@pytest.fixture
def address() -> Iterator[str]:
    with socket_address() as found:
        yield found


@pytest.fixture
def service(aws: Aws, address: str) -> Iterator[Served]:
    with served(address, **aws.service_environment(), KMESH_AWSIAM_DECISION_TIMEOUT="60") as running:
        running.wait_for("own account")
        aws.emulator.calls.clear()
        yield running


def path_of(address: str) -> Path:
    return Path(address.removeprefix("unix:"))


class Deciding(threading.Thread):
    """One call in progress."""

    def __init__(self, service: Served, credential: str) -> None:
        super().__init__()
        self._service = service
        self._credential = credential
        self.answer: httpx.Response | None = None

    def run(self) -> None:
        with connect(self._service.address) as client, contextlib.suppress(httpx.TransportError):
            self.answer = client.post("/v1/authenticate", json={"credential": self._credential})


# Sockets.


def test_a_unix_socket_is_for_owner_and_group_and_goes_with_the_process(service: Served, address: str) -> None:
    mode = path_of(address).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    assert service.stop() == 0
    assert not path_of(address).exists()


def test_a_unix_socket_that_a_killed_process_left_is_replaced(aws: Aws, address: str) -> None:
    variables = aws.service_environment()
    with served(address, **variables) as killed:
        killed.stop(signal.SIGKILL)
    assert path_of(address).is_socket()
    with served(address, **variables) as service:
        assert service.client.get("/healthy").status_code == 200


def test_a_unix_socket_of_a_living_process_is_left_alone(service: Served, address: str, aws: Aws) -> None:
    done = run("serve", **aws.service_environment(), KMESH_AWSIAM_LISTEN=address)
    assert done.status == 1
    assert f"KMESH_AWSIAM_LISTEN: {address} cannot be listened on" in done.err
    assert service.client.get("/healthy").status_code == 200


def test_a_file_in_a_unix_sockets_place_is_left_alone(aws: Aws, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    done = run("serve", **aws.service_environment(), KMESH_AWSIAM_LISTEN=f"unix:{path}")
    assert done.status == 1
    assert path.read_text() == "data"


@pytest.mark.parametrize("variable", ["KMESH_AWSIAM_LISTEN", "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"])
def test_an_address_that_is_taken_is_named_with_its_variable(aws: Aws, address: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", **{**aws.service_environment(), "KMESH_AWSIAM_LISTEN": address, variable: busy})
    assert done.status == 1
    assert f"{variable}: {busy} cannot be listened on" in done.err
    assert "Traceback" not in done.err + done.out


@pytest.mark.parametrize("diagnostics", ["192.0.2.1:9100", "no-such-host.invalid:9100", "a..b:9100"])
def test_an_address_that_is_not_ours_is_named_with_its_variable(aws: Aws, address: str, diagnostics: str) -> None:
    variables = {"KMESH_AWSIAM_LISTEN": address, "KMESH_AWSIAM_DIAGNOSTICS_LISTEN": diagnostics}
    done = run("serve", **aws.service_environment(), **variables)
    assert done.status == 1
    assert "KMESH_AWSIAM_DIAGNOSTICS_LISTEN" in done.err
    assert "Traceback" not in done.err + done.out


def test_two_listeners_share_nothing_but_the_process(aws: Aws, address: str) -> None:
    diagnostics = free_address()
    variables = {**aws.service_environment(), "KMESH_AWSIAM_DIAGNOSTICS_LISTEN": diagnostics}
    with served(address, **variables) as service, connect(diagnostics) as probe:
        assert probe.get("/healthy").status_code == 200
        assert probe.post("/v1/authenticate", json={"credential": "x"}).status_code == 404
        assert service.client.get("/healthy").status_code == 404
        assert service.client.post("/v1/authenticate", json={"credential": "x"}).status_code == 401
        assert 'reason="credential_malformed"' in probe.get("/metrics").text
        assert service.stop() == 0
        with pytest.raises(httpx.TransportError):
            probe.get("/healthy")


@pytest.mark.skipif(not socket.has_ipv6, reason="this host has no IPv6")
def test_it_listens_on_ipv6_loopback(aws: Aws) -> None:
    port = free_address().rpartition(":")[2]
    with served(f"[::1]:{port}", **aws.service_environment()) as service:
        assert service.client.get("/healthy").status_code == 200


# The costs of the process.

# Python imports it when it starts.
SITECUSTOMIZE = """
import gc, json, os, signal

def tell(*_):
    seen = {"event": "collector", "threshold": gc.get_threshold(), "frozen": gc.get_freeze_count()}
    os.write(1, json.dumps(seen).encode() + b"\\n")  # print would not do while a log line is being written

signal.signal(signal.SIGUSR1, tell)
"""


def test_the_collector_does_not_look_at_what_stays(aws: Aws, address: str, tmp_path: Path) -> None:
    """A full collection delays every caller by a tenth of a second."""
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    with served_cold(address, PYTHONPATH=str(tmp_path), **aws.service_environment()) as service:
        service.wait_for("own account")
        service.process.send_signal(signal.SIGUSR1)
        service.wait_for('"collector"')
    [collector] = [event for event in service.events() if event["event"] == "collector"]
    assert collector["threshold"] == [50_000, 20, 1000]
    assert collector["frozen"] > 50_000


def test_it_takes_the_open_files_that_it_may(aws: Aws, address: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What most hosts begin with. It is inherited, so for a moment it holds for this process too, which has hundreds open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with served_cold(address, **aws.service_environment()) as service:
            taken = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert taken == (MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES), hard)


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_is_obeyed_and_no_failure(service: Served, number: int) -> None:
    assert service.client.get("/healthy").status_code == 200  # a kept connection does not delay the exit
    assert service.stop(number) == 0
    assert [event["event"] for event in service.events()][-1] == "stopped"
    assert "Traceback" not in "".join(service.lines)


def test_a_decision_under_way_is_finished(service: Served, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    deciding = Deciding(service, aws.credential())
    deciding.start()
    aws.emulator.calls.wait_for(1)
    service.process.send_signal(signal.SIGTERM)
    aws.emulator.faults.clear()
    assert service.process.wait(PATIENCE) == 0
    deciding.join()
    assert deciding.answer is not None
    assert (deciding.answer.status_code, deciding.answer.json().get("reason")) == (200, None)


def test_it_says_that_it_stops_while_a_decision_is_finished(service: Served, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    deciding = Deciding(service, aws.credential())
    deciding.start()
    aws.emulator.calls.wait_for(1)
    service.process.send_signal(signal.SIGTERM)
    service.wait_for("draining")
    assert service.client.get("/ready").status_code == 503
    assert service.client.get("/healthy").status_code == 200
    aws.emulator.faults.clear()
    assert service.process.wait(PATIENCE) == 0
    deciding.join()
    assert deciding.answer is not None
    assert deciding.answer.status_code == 200


def test_a_call_whose_body_is_on_its_way_is_finished(service: Served, aws: Aws) -> None:
    body = json.dumps({"credential": aws.credential()}).encode()
    head = "POST /v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(path_of(service.address)))
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        service.process.send_signal(signal.SIGTERM)
        service.wait_for("draining")
        raw.sendall(body)
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert service.process.wait(PATIENCE) == 0


def test_a_decision_that_hangs_does_not_hold_up_the_end(address: str, aws: Aws) -> None:
    """The decision is undecided at its own deadline, and then the process exits."""
    with served(address, **aws.service_environment(), KMESH_AWSIAM_DECISION_TIMEOUT="6") as service:
        service.wait_for("own account")
        aws.emulator.calls.clear()
        aws.emulator.faults.sts.inject(FaultKind.HANG)
        deciding = Deciding(service, aws.credential())
        deciding.start()
        aws.emulator.calls.wait_for(1)
        assert service.stop() == 0
        deciding.join()
    assert deciding.answer is not None
    assert (deciding.answer.status_code, deciding.answer.json()["reason"]) == (503, "sts_unavailable")


def test_it_stops_while_it_waits_for_aws(address: str, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.UNKNOWN_CODE)
    with served(address, **aws.service_environment()) as service:
        service.wait_for("could not be found out")
        assert service.stop() == 0
    assert "Traceback" not in "".join(service.lines)


def test_it_starts_and_stops_where_the_sdk_refuses_the_place_of_credentials(address: str, aws: Aws) -> None:
    """A wrong variable of the task: the service is not ready, says so, and exits cleanly."""
    variables = {**aws.service_environment(), "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://credentials.example/"}
    with served(address, **variables) as service:
        assert service.client.get("/ready").status_code == 503
        assert service.stop() == 0
    assert "no AWS credentials yet" in "".join(service.lines)
    assert "Traceback" not in "".join(service.lines)


# What it prints.


def test_every_line_is_json(service: Served, aws: Aws) -> None:
    """Warnings of uvicorn too: a line that is not JSON breaks log collectors."""
    service.client.post("/v1/authenticate", json={"credential": aws.credential()})
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path_of(service.address)))
        raw.sendall(b"no http\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert service.stop() == 0
    events = [json.loads(line) for line in service.lines]
    names = [event["event"] for event in events]
    assert names[0] == "setting"
    assert {"listening", "own account", "decision", "Invalid HTTP request received.", "stopped"} <= set(names)
    assert all({"time", "level", "event"} <= event.keys() for event in events)


def test_a_log_that_nobody_reads_any_more_holds_up_neither_an_answer_nor_the_end(address: str, aws: Aws) -> None:
    """The reader of standard output has gone: answers keep their format, and SIGTERM ends the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=clean_environment(**aws.service_environment(), KMESH_AWSIAM_LISTEN=address),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process, connect(address) as client:
        assert process.stdout
        while "own account" not in process.stdout.readline():
            pass
        process.stdout.close()
        try:
            answer = client.post("/v1/authenticate", json={"credential": aws.credential()})
            assert answer.headers["content-type"] in ("application/json", "application/problem+json")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
