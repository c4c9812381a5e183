"""Metrics of several workers, by what a scraper sees of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import values

from app.core.proxy import ProxyIdentity, ProxyType
from app.core.signed_request import CredentialForm
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail
from app.workers.balance import Connections
from app.workers.folder import forget_worker
from app.workers.metrics import WorkerMetrics
from tests.support.exposition import Samples, read_samples, value

ALLOWED = {"outcome": "allowed", "reason": "none", "proxy_type": "dataplane", "form": "native"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As the environment of a worker names it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    Connections.make(str(tmp_path), 2)
    yield str(tmp_path)
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]


def read(metrics: Metrics) -> Samples:
    return read_samples(metrics.expose().decode())


def allow(metrics: Metrics) -> None:
    identity = ProxyIdentity(type=ProxyType.DATAPLANE, mesh=None, service=None, workload=None, zone=None)
    trail = Trail(request_id="request-1", deadline=0.0, form=CredentialForm.NATIVE, granted=identity, skew=-1.0)
    metrics.decision_ended(trail, None, 0.002)


def test_what_each_has_counted_is_added_whoever_is_asked(folder: str) -> None:
    first, second = WorkerMetrics(1, folder), WorkerMetrics(2, folder)
    allow(first)
    allow(second)
    allow(second)
    for metrics in (first, second):
        samples = read(metrics)
        assert value(samples, "kuma_aws_iam_decisions_total", **ALLOWED) == 3
        assert value(samples, "kuma_aws_iam_decision_seconds_count", outcome="allowed") == 3
        assert value(samples, "kuma_aws_iam_decision_seconds_bucket", outcome="allowed", le="0.0025") == 3
        assert value(samples, "kuma_aws_iam_client_clock_skew_seconds_count") == 3


def test_one_that_takes_the_seat_of_another_counts_on(folder: str) -> None:
    """So a counter never falls, and there are never more files than seats."""
    first, second = WorkerMetrics(1, folder), WorkerMetrics(2, folder)
    allow(first)
    allow(second)
    forget_worker(1, folder)
    again = WorkerMetrics(1, folder)
    allow(again)
    assert value(read(second), "kuma_aws_iam_decisions_total", **ALLOWED) == 3
    assert len(list(Path(folder).glob("counter_*.db"))) == 2


def test_what_is_at_this_moment_is_added_for_those_that_live(folder: str) -> None:
    first = WorkerMetrics(1, folder)
    first.watch_in_flight(lambda: 2)
    first.cache_size("role", 10)
    first.publish(ready=True)
    second = WorkerMetrics(2, folder)
    second.watch_in_flight(lambda: 3)
    second.cache_size("role", 20)
    samples = read(second)  # which is up to date with itself, unasked
    assert value(samples, "kuma_aws_iam_in_flight_decisions") == 5
    assert value(samples, "kuma_aws_iam_cache_entries", cache="role") == 30
    forget_worker(1, folder)
    samples = read(second)
    assert value(samples, "kuma_aws_iam_in_flight_decisions") == 3
    assert value(samples, "kuma_aws_iam_cache_entries", cache="role") == 20


def test_it_is_ready_when_all_are(folder: str) -> None:
    first, second = WorkerMetrics(1, folder), WorkerMetrics(2, folder)
    first.publish(ready=True)
    assert value(read(first), "kuma_aws_iam_ready") == 0
    second.publish(ready=True)
    assert value(read(first), "kuma_aws_iam_ready") == 1
    second.publish(ready=False)
    forget_worker(2, folder)
    assert value(read(first), "kuma_aws_iam_ready") == 1


def test_the_same_series_are_there_as_with_one_process(folder: str) -> None:
    """But for when counters were made, and for a sum that Prometheus does not want where values are below 0."""

    def series(metrics: Metrics) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        allow(metrics)
        metrics.decision_ended(Trail(request_id="request-2", deadline=0.0), Reason.STS_REJECTED, 0.001)
        metrics.upstream_call("sts", "ok", "eu-west-1", 0.02)
        metrics.cache_size("role", 1)
        metrics.cache_size("identity", 1)
        return set(read(metrics))

    alone = {each for each in series(Metrics()) if not each[0].endswith("_created")}
    worker = series(WorkerMetrics(1, folder))
    assert worker - alone == {("kuma_aws_iam_client_clock_skew_seconds_sum", frozenset())}
    assert not alone - worker
