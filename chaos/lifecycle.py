"""The service starts before AWS, is told to stop, is killed."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.emulator import Emulator, FaultKind
from chaos.aws import free_port
from chaos.calls import CALL_SECONDS
from chaos.row import DEADLINE, Promise, Row, Seen
from chaos.stage import START_SECONDS, Service, Stage

_OK: Final = 200
_UNAVAILABLE: Final = 503
_OVERLOADED: Final = "503 overloaded"
_LATENCY: Final = 1.0
_NOTICE: Final = 0.2
_ABSENT_SECONDS: Final = 4.0
# The service looks for its credentials after 1, 2, 4, 8 s and so on, and the SDK takes some seconds for each look.
_READY_SECONDS: Final = 15.0
DECISION_TIMEOUT: Final = 2
# The decision timeout, one second more, and half a second of notice; and what the interpreter needs to end.
_GRACE: Final = DECISION_TIMEOUT + 1 + 0.5 + 1.0


def rows() -> Iterator[Row]:
    """Yield the rows; each starts services of its own, with a decision timeout of 2 s."""
    yield Row(
        fault="no AWS at all when it starts, AWS comes later",
        promise=Promise(
            outcomes=("503 sts_unavailable",),
            within=DECISION_TIMEOUT + 0.5,
            recovery=_READY_SECONDS,
            words="alive, not ready; ready by itself",
        ),
        play=_aws_comes_later,
    )
    yield Row(
        fault="no credentials of its own when it starts, the agent's endpoint comes later",
        promise=Promise(
            outcomes=("503 own_credentials_unavailable",),
            within=DECISION_TIMEOUT + 0.5,
            recovery=_READY_SECONDS,
            words="alive, not ready; ready by itself",
        ),
        play=_credentials_come_later,
    )
    for kind in (FaultKind.ACCOUNT_MISMATCH, FaultKind.DUPLICATE_ACCOUNT, FaultKind.FORGED_ACTION):
        yield Row(
            fault=f"STS lies about the service itself when it starts: {kind.value}",
            promise=Promise(
                outcomes=("503 sts_unavailable", "503 iam_unavailable", "503 iam_access_denied"), recovery=8.0
            ),
            play=_lied_to(kind),
        )
    yield Row(
        fault="SIGTERM, a decision under way (STS takes 1 s)",
        promise=Promise(
            outcomes=("200", _OVERLOADED),
            within=2 * _LATENCY,
            recovery=None,
            words="the one under way 200, /ready 503, new ones overloaded, exit 0",
        ),
        play=_sigterm,
    )
    yield Row(
        fault="SIGTERM while STS hangs",
        promise=Promise(outcomes=("503 sts_unavailable",), recovery=None, words=f"exit 0 in {_GRACE:g} s"),
        play=_sigterm_in(FaultKind.HANG, "sts"),
    )
    yield Row(
        fault="SIGTERM while IAM hangs",
        promise=Promise(outcomes=("503 iam_unavailable",), recovery=None, words=f"exit 0 in {_GRACE:g} s"),
        play=_sigterm_in(FaultKind.HANG, "iam"),
    )
    yield Row(
        fault="SIGTERM while IAM drips",
        promise=Promise(outcomes=("503 iam_unavailable",), recovery=None, words=f"exit 0 in {_GRACE:g} s"),
        play=_sigterm_in(FaultKind.SLOW_DRIP, "iam"),
    )
    yield Row(
        fault="SIGKILL, and a start on the same port",
        promise=Promise(outcomes=("200",), within=2.0, recovery=START_SECONDS, words="nothing is lost but caches"),
        play=_sigkill,
    )


def _aws_comes_later(stage: Stage, promise: Promise) -> Seen:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    credentials = stage.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].replace(stage.emulator.url, url)
    stage.start(AWS_CONTAINER_CREDENTIALS_FULL_URI=credentials, AWS_ENDPOINT_URL_STS=url, AWS_ENDPOINT_URL_IAM=url)
    return _comes_later(stage, promise, port)


def _credentials_come_later(stage: Stage, promise: Promise) -> Seen:
    port = free_port()
    uri = stage.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    stage.start(AWS_CONTAINER_CREDENTIALS_FULL_URI=uri.replace(stage.emulator.url, f"http://127.0.0.1:{port}"))
    return _comes_later(stage, promise, port)


def _comes_later(stage: Stage, promise: Promise, port: int) -> Seen:
    service = stage.service
    service.poll(lambda: service.caller.get("/healthy") == _OK, START_SECONDS)
    time.sleep(_ABSENT_SECONDS)
    seen = Seen(stage.caller.ask_all(stage.tasks.credential() for _ in range(3)))
    seen.expect(service.caller.get("/healthy") == _OK, "it is not alive")
    seen.expect(service.caller.get("/ready") == _UNAVAILABLE, "it says that it is ready")
    with Emulator(stage.tasks.world, port=port):
        began = time.monotonic()
        ready = service.poll(lambda: service.caller.get("/ready") == _OK, 3 * (promise.recovery or 0))
        allowed = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
        seen.recovered = None if ready is None or allowed is None else time.monotonic() - began
    service.end()
    return seen


def _lied_to(kind: FaultKind) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        stage.emulator.calls.clear()
        stage.emulator.faults.sts.inject(kind, action="GetCallerIdentity")
        service = stage.start()
        service.until_ready()
        service.poll(lambda: stage.emulator.calls.count("sts", outcome=kind.value) > 0, START_SECONDS)
        seen = Seen([stage.caller.ask(stage.tasks.credential())])
        stage.emulator.faults.clear()
        seen.recovered = stage.recovery(stage.tasks.credential, 1.5 * (promise.recovery or 0))
        service.end()
        return seen

    return play


def _sigterm(stage: Stage, _promise: Promise) -> Seen:
    service = _started(stage, KMESH_AWSIAM_DECISION_TIMEOUT="10")
    stage.emulator.faults.sts.latency = _LATENCY
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(service.caller.ask, stage.tasks.credential())
        stage.emulator.calls.wait_for(1)
        service.signal(signal.SIGTERM)
        time.sleep(_NOTICE)
        ready = service.caller.get("/ready")
        refused = service.caller.ask(stage.tasks.credential())
        seen = Seen([under_way.result(), refused])
    seen.expect(under_way.result().allowed, "the decision under way was not finished")
    seen.expect(refused.outcome == _OVERLOADED, f"a new call was answered {refused.outcome}")
    seen.expect(ready == _UNAVAILABLE, f"/ready answered {ready}")
    _expect_end(stage, seen)
    return seen


def _sigterm_in(kind: FaultKind, upstream: str) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, _promise: Promise) -> Seen:
        service = _started(stage)
        faults = stage.emulator.faults.sts if upstream == "sts" else stage.emulator.faults.iam
        faults.drip_interval = 1.0
        faults.inject(kind)
        with ThreadPoolExecutor(1) as threads:
            role = stage.tasks.new_role()
            under_way = threads.submit(service.caller.ask, stage.tasks.credential(role=role))
            stage.emulator.calls.wait_for(1 if upstream == "sts" else 2)
            service.signal(signal.SIGTERM)
            seen = Seen()
            _expect_end(stage, seen)
            seen.answers.append(under_way.result())
        return seen

    return play


def _started(stage: Stage, **variables: str) -> Service:
    service = stage.start(**variables)
    service.until_ready()
    service.until_own_account()
    stage.known()
    stage.emulator.calls.clear()
    return service


def _expect_end(stage: Stage, seen: Seen) -> None:
    began = time.monotonic()
    status = stage.service.wait(max(DEADLINE, CALL_SECONDS))
    took = time.monotonic() - began
    seen.expect(status is not None, f"it still runs after {took:.0f} s")
    seen.expect(status in (0, None), f"exit status {status}")
    seen.expect(took < _GRACE, f"it ended after {took:.1f} s only")
    stage.emulator.faults.clear()
    stage.service.end()


def _sigkill(stage: Stage, _promise: Promise) -> Seen:
    service = _started(stage)
    known = stage.known()
    service.signal(signal.SIGKILL)
    service.wait(5.0)
    began = time.monotonic()
    again = stage.start(KMESH_AWSIAM_LISTEN=f"127.0.0.1:{service.caller.port}")
    again.until_ready()
    stage.emulator.calls.clear()
    seen = Seen([again.caller.ask(known), again.caller.ask(known)], recovered=time.monotonic() - began)
    asked = stage.emulator.calls.count("sts", "GetCallerIdentity", outcome="ok")
    seen.expect(asked >= 1, "the caches were not empty")
    again.end()
    return seen
