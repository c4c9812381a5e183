"""Several processes on one host, as an operator runs them."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.emulator import FaultKind
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE
from tests.support.process import Served, connect, free_address, run, served, socket_address
from tests.support.redis_server import redis_on_socket, write_key_file
from tests.support.world import PROXY, Aws

DECISIONS = "kuma_aws_iam_decisions_total"
ALLOWED = {"outcome": "allowed", "reason": "none", "proxy_type": "dataplane", "form": "native"}


@contextlib.contextmanager
def several(aws: Aws, address: str | None = None, workers: int = 2, **variables: str) -> Iterator[Served]:
    """A service of several workers, all of which serve."""
    variables = {"KMESH_AWSIAM_DECISION_TIMEOUT": "60", **variables, "KMESH_AWSIAM_WORKERS": str(workers)}
    with served(address or free_address(), **{**aws.service_environment(), **variables}) as running:
        running.wait_for("own account", workers)
        aws.emulator.calls.clear()
        yield running


@pytest.fixture
def service(aws: Aws) -> Iterator[Served]:
    with several(aws) as running:
        yield running


def pids(service: Served) -> dict[int, int]:
    """The process of each worker, by its number."""
    return {event["worker"]: event["pid"] for event in service.events() if event["event"] == "worker started"}


@contextlib.contextmanager
def ending(pid: int) -> Iterator[None]:
    """At the end of the block wait for that of a process, whoever's child it is by then."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {pid} still runs"
    finally:
        os.close(descriptor)


def folder_of(pid: int) -> Path:
    """Where a worker and its siblings count."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [folder] = [each.partition(b"=")[2] for each in variables if each.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    return Path(folder.decode())


def ask(client: httpx.Client, credential: str) -> httpx.Response:
    return client.post("/v1/authenticate", json={"credential": credential, "proxy": PROXY})


def worker_of(service: Served, answer: httpx.Response) -> int:
    """The number of the worker that gave an answer."""
    request_id = answer.headers["x-request-id"]
    service.wait_for(request_id)
    [number] = [event["worker"] for event in service.events() if event.get("request_id") == request_id]
    assert isinstance(number, int)
    return number


@contextlib.contextmanager
def a_client_of_each(service: Served, aws: Aws, workers: int = 2) -> Iterator[dict[int, httpx.Client]]:
    """A client with a kept connection to each worker, by its number."""
    credential = aws.credential()
    found: dict[int, httpx.Client] = {}
    with contextlib.ExitStack() as connections:
        for _ in range(100):
            client = connections.enter_context(connect(service.address))
            answer = ask(client, credential)
            assert answer.status_code == 200
            found.setdefault(worker_of(service, answer), client)
            if len(found) == workers:
                break
        assert found.keys() == set(range(1, workers + 1))
        yield found


# Sharing an address.


def test_workers_answer_on_one_address(service: Served, aws: Aws) -> None:
    with a_client_of_each(service, aws):
        assert service.stop() == 0
    numbers = {event.get("worker") for event in service.events() if event["event"] == "decision"}
    assert numbers == {1, 2}
    assert len(set(pids(service).values()) | {service.process.pid}) == 3


def test_connections_that_stand_are_spread_over_the_workers(service: Served, aws: Aws) -> None:
    credential = aws.credential()
    with contextlib.ExitStack() as connections:
        clients = [connections.enter_context(connect(service.address)) for _ in range(40)]
        numbers = [worker_of(service, ask(client, credential)) for client in clients]
    assert min(numbers.count(1), numbers.count(2)) >= 10


def test_workers_share_a_unix_socket_which_goes_with_the_parent(aws: Aws) -> None:
    with socket_address() as address, several(aws, address) as service:
        with a_client_of_each(service, aws):
            path = Path(address.removeprefix("unix:"))
            assert service.stop() == 0
        assert not path.exists()


def test_workers_share_the_diagnostics(aws: Aws) -> None:
    diagnostics = free_address()
    with several(aws, KMESH_AWSIAM_DIAGNOSTICS_LISTEN=diagnostics) as service, connect(diagnostics) as probe:
        assert probe.get("/ready").status_code == 200
        assert service.client.get("/healthy").status_code == 404
        assert ask(service.client, aws.credential()).status_code == 200


def test_an_address_that_is_taken_is_named_as_with_one_process(aws: Aws) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        variables = {"KMESH_AWSIAM_WORKERS": "2", "KMESH_AWSIAM_LISTEN": busy}
        done = run("serve", **{**aws.service_environment(), **variables})
    assert done.status == 1
    assert f"KMESH_AWSIAM_LISTEN: {busy} cannot be listened on" in done.err
    assert "worker started" not in done.out


def test_one_worker_is_the_process_itself(aws: Aws) -> None:
    with served(free_address(), **aws.service_environment(), KMESH_AWSIAM_WORKERS="1") as service:
        service.wait_for("own account")
        pid = service.process.pid
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
        assert ask(service.client, aws.credential()).status_code == 200
        assert service.stop() == 0
    assert not any("worker" in event for event in service.events())


# A worker that ends.


def test_a_killed_worker_is_replaced_and_harms_no_call_that_was_not_on_it(service: Served, aws: Aws) -> None:
    before = pids(service)
    with a_client_of_each(service, aws) as clients, ThreadPoolExecutor(2) as threads:
        aws.emulator.calls.clear()
        aws.emulator.faults.sts.inject(FaultKind.HANG)
        lost, kept = (threads.submit(ask, clients[number], aws.credential()) for number in (1, 2))
        aws.emulator.calls.wait_for(2)
        os.kill(before[1], signal.SIGKILL)
        service.wait_for("worker ended")
        aws.emulator.faults.clear()
        assert isinstance(lost.exception(), httpx.TransportError)
        assert kept.result().status_code == 200
        credential = aws.credential()
        while pids(service)[1] == before[1]:  # the seat is empty; whoever comes finds the other worker
            with connect(service.address) as newcomer:
                assert ask(newcomer, credential).status_code == 200
    service.wait_for("own account", 3)
    with a_client_of_each(service, aws):
        assert pids(service)[2] == before[2]
    [ended] = [event for event in service.events() if event["event"] == "worker ended"]
    assert (ended["worker"], ended["end"]) == (1, "signal 9 (Killed)")


def test_a_worker_that_was_told_to_end_by_somebody_else_is_replaced(service: Served, aws: Aws) -> None:
    os.kill(pids(service)[2], signal.SIGTERM)
    service.wait_for("own account", 3)
    [ended] = [event for event in service.events() if event["event"] == "worker ended"]
    assert (ended["worker"], ended["end"]) == (2, "status 0")
    with a_client_of_each(service, aws):
        assert service.stop() == 0


# Python imports it at its start; a worker ends at once while the file is there.
SITECUSTOMIZE = """
import json, os, pathlib

seat = os.environ.get("_KUMA_AWS_IAM_SEAT")
sick = pathlib.Path(__file__).with_name("sick")
if seat and sick.exists() and str(json.loads(seat)["number"]) in sick.read_text():
    os._exit(3)
"""


def test_a_parent_whose_workers_do_not_stay_up_gives_up(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (tmp_path / "sick").write_text("1 2")
    variables = {"KMESH_AWSIAM_WORKERS": "2", "KMESH_AWSIAM_LISTEN": free_address(), "PYTHONPATH": str(tmp_path)}
    done = run("serve", **aws.service_environment(), **variables)
    assert done.status == 1
    assert "KMESH_AWSIAM_WORKERS: no worker stays up" in done.err
    assert "status 3" in done.err
    assert "Traceback" not in done.err + done.out


def test_a_seat_that_stays_empty_does_not_end_a_worker_that_serves(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    with several(aws, PYTHONPATH=str(tmp_path)) as service:
        (tmp_path / "sick").write_text("1")
        os.kill(pids(service)[1], signal.SIGKILL)
        service.wait_for("worker ended", 6)
        assert ask(service.client, aws.credential()).status_code == 200
        assert service.stop() == 0


# The end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_what_is_under_way_is_finished(service: Served, aws: Aws, number: int) -> None:
    folder = folder_of(pids(service)[1])
    assert folder.is_dir()
    with (
        a_client_of_each(service, aws) as clients,
        ThreadPoolExecutor(2) as threads,
        contextlib.ExitStack() as ends,
    ):
        for pid in pids(service).values():
            ends.enter_context(ending(pid))
        aws.emulator.calls.clear()
        aws.emulator.faults.sts.inject(FaultKind.HANG)
        under_way = [threads.submit(ask, client, aws.credential()) for client in clients.values()]
        aws.emulator.calls.wait_for(2)
        service.process.send_signal(number)
        service.wait_for('"worker":1,"event":"draining"')
        service.wait_for('"worker":2,"event":"draining"')
        aws.emulator.faults.clear()
        assert [each.result().status_code for each in under_way] == [200, 200]
        assert service.process.wait(PATIENCE) == 0
    assert not folder.exists()
    assert service.events()[-1]["event"] == "stopped"
    assert "worker" not in service.events()[-1]
    assert "Traceback" not in "".join(service.lines)


def test_it_can_be_told_to_stop_while_its_workers_start(aws: Aws) -> None:
    with served(free_address(), **aws.service_environment(), KMESH_AWSIAM_WORKERS="2") as service:
        service.wait_for("worker started", 2)
        with contextlib.ExitStack() as ends:
            for pid in pids(service).values():
                ends.enter_context(ending(pid))
            assert service.stop() == 0
    assert "Traceback" not in "".join(service.lines)


def test_a_terminals_signal_reaches_the_parent_alone(service: Served) -> None:
    """It goes to the parent's process group. A worker that heard it twice would cut off what is under way."""
    groups = {os.getpgid(pid) for pid in pids(service).values()}
    assert groups == set(pids(service).values())


def test_nobody_is_left_waiting_at_an_address_that_nobody_serves_any_more(aws: Aws) -> None:
    """While the last worker waits for a client that keeps its connection, nobody else may be let in and never answered."""
    address = free_address()
    with several(aws, address) as service:
        assert service.stop() == 0
        with pytest.raises(httpx.ConnectError), connect(address) as newcomer:
            newcomer.get("/healthy")


def test_a_worker_that_does_not_end_is_killed_and_told_of(aws: Aws) -> None:
    with several(aws, KMESH_AWSIAM_DECISION_TIMEOUT="0.5") as service, ending(pids(service)[1]):
        os.kill(pids(service)[1], signal.SIGSTOP)
        assert service.stop() == 1
    assert "KMESH_AWSIAM_WORKERS: a worker did not end" in "".join(service.lines)


def test_workers_end_when_their_parent_is_killed_and_finish_what_is_under_way(service: Served, aws: Aws) -> None:
    folder = folder_of(pids(service)[1])
    with (
        a_client_of_each(service, aws) as clients,
        ThreadPoolExecutor(1) as threads,
        contextlib.ExitStack() as ends,
    ):
        for pid in pids(service).values():
            ends.enter_context(ending(pid))
        aws.emulator.calls.clear()
        aws.emulator.faults.sts.inject(FaultKind.HANG)
        under_way = threads.submit(ask, clients[1], aws.credential())
        aws.emulator.calls.wait_for(1)
        service.stop(signal.SIGKILL)
        service.wait_for('"event":"draining"', 2)
        aws.emulator.faults.clear()
        assert under_way.result().status_code == 200
    assert not folder.exists()


# What reaches all of them.


def test_sighup_has_every_worker_read_its_files(aws: Aws, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = "token-of-a-caller-0123456789-abcdefghij"
    tokens.write_text(f"{token}\n")
    with several(aws, KMESH_AWSIAM_CALLER_TOKEN_FILE=str(tokens)) as service:
        reached: set[int] = set()
        for again in range(1, 100):  # the first look at a file is not told of, whoever asks for it
            service.process.send_signal(signal.SIGHUP)
            service.wait_for("reloaded", again)
            reached |= {event["worker"] for event in service.events() if event["event"] == "reloaded"}
            if reached == {1, 2}:
                break
        assert reached == {1, 2}
        assert service.process.poll() is None


def test_metrics_are_those_of_all_workers_whoever_is_asked(service: Served, aws: Aws) -> None:
    with a_client_of_each(service, aws) as clients:
        for client in clients.values():
            for _ in range(5):
                assert ask(client, aws.credential()).status_code == 200
        texts = [client.get("/metrics").text for client in clients.values()]
        seen = [read_samples(text) for text in texts]
    answered = value(seen[0], DECISIONS, **ALLOWED)
    service.wait_for('"event":"decision"', int(answered))  # what a worker has written may still be on its way to here
    assert sum(event["event"] == "decision" for event in service.events()) == answered
    assert value(seen[1], DECISIONS, **ALLOWED) == answered
    assert [value(samples, "kuma_aws_iam_decision_seconds_count", outcome="allowed") for samples in seen] == [
        answered,
        answered,
    ]
    # Each worker has asked for itself: ten credentials of its own, and the one that both have seen.
    assert value(seen[0], "kuma_aws_iam_cache_entries", cache="identity") == 12
    assert not any("pid" in dict(labels) for _, labels in seen[0])


def test_counters_outlive_their_worker_and_its_gauges_do_not(service: Served, aws: Aws) -> None:
    with a_client_of_each(service, aws) as clients:
        before = read_samples(clients[2].get("/metrics").text)
        os.kill(pids(service)[1], signal.SIGKILL)
        service.wait_for("worker ended")
        after = read_samples(clients[2].get("/metrics").text)
    assert value(after, DECISIONS, **ALLOWED) == value(before, DECISIONS, **ALLOWED)
    assert value(before, "kuma_aws_iam_cache_entries", cache="identity") == 2
    assert value(after, "kuma_aws_iam_cache_entries", cache="identity") == 1
    service.wait_for("own account", 3)
    with a_client_of_each(service, aws) as clients:
        last = read_samples(clients[1].get("/metrics").text)
    assert value(last, DECISIONS, **ALLOWED) > value(before, DECISIONS, **ALLOWED)


def test_each_worker_has_its_part_of_the_rates(aws: Aws) -> None:
    """Of 0.1 calls a second one of two has one in 20 seconds: whoever is refused is told so."""
    with (
        several(aws, KMESH_AWSIAM_IAM_RATE="0.1", KMESH_AWSIAM_DECISION_TIMEOUT="2") as service,
        a_client_of_each(service, aws) as clients,
    ):
        refused = None
        while refused is None:
            answer = ask(clients[1], aws.credential(aws.add_role().name))
            assert answer.status_code in (200, 503)
            refused = answer if answer.status_code == 503 else None
    assert refused.json()["reason"] == "overloaded"
    assert 10 < int(refused.headers["retry-after"]) <= 20


def test_with_a_store_a_credential_costs_one_call_for_all_of_them(aws: Aws, tmp_path: Path) -> None:
    keys = write_key_file(tmp_path, bytes(range(32)))
    with (
        redis_on_socket() as store,
        several(aws, KMESH_AWSIAM_STORE=store.url, KMESH_AWSIAM_STORE_KEY_FILE=str(keys)) as service,
        a_client_of_each(service, aws) as clients,
    ):
        service.wait_for("store answers", 2)
        made: list[int] = []
        while 1 not in made and len(made) < 20:  # the second one may come before the first one's record is there
            aws.emulator.calls.clear()
            credential = aws.credential()
            assert [ask(client, credential).status_code for client in clients.values()] == [200, 200]
            made.append(aws.emulator.calls.count("sts", "GetCallerIdentity"))
    assert 1 in made
