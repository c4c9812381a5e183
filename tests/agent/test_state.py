"""What the agent reports about its renewals, as a scraper reads it over TCP."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.agent.errors import Failure
from app.agent.metrics_listener import SECONDS, serve_metrics
from app.agent.renewal import Renewals, TokenFile
from app.agent.sources import Fresh
from app.agent.state import RenewalState
from app.local.addresses import TcpAddress
from tests.agent.test_renewal import Notes
from tests.support.exposition import Samples, read_samples, value
from tests.support.patience import PATIENCE
from tests.support.token_service import make_token

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PREFIX = "kuma_aws_iam_agent"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def read(state: RenewalState, path: Path, now: datetime = NOW) -> Samples:
    return read_samples(state.render(path, lambda: now))


def token_until(moment: datetime) -> str:
    return make_token(iat=int((moment - timedelta(hours=1)).timestamp()), exp=int(moment.timestamp()))


def test_every_series_exists_before_the_first_renewal(path: Path) -> None:
    samples = read(RenewalState(), path)
    for result in ("renewed", *Failure):
        assert samples[f"{PREFIX}_renewals_total", frozenset({("result", str(result))})] == 0
    for name in ("healthy", "failures_in_a_row", "file_ends_timestamp_seconds", "last_renewal_timestamp_seconds"):
        assert samples[f"{PREFIX}_{name}", frozenset()] == 0


def test_renewals_and_failures_are_counted(path: Path) -> None:
    state = RenewalState()
    state.failed(Failure.DENIED, NOW)
    state.failed(Failure.UNDECIDED, NOW + timedelta(seconds=30))
    samples = read(state, path)
    assert value(samples, f"{PREFIX}_renewals_total", result="denied") == 1
    assert value(samples, f"{PREFIX}_failures_in_a_row") == 2
    assert value(samples, f"{PREFIX}_next_renewal_timestamp_seconds") == NOW.timestamp() + 30
    state.renewed(NOW, NOW + timedelta(minutes=5))
    samples = read(state, path)
    assert value(samples, f"{PREFIX}_renewals_total", result="renewed") == 1
    assert value(samples, f"{PREFIX}_failures_in_a_row") == 0
    assert value(samples, f"{PREFIX}_last_renewal_timestamp_seconds") == NOW.timestamp()
    state.failed(Failure.DENIED, None)
    assert value(read(state, path), f"{PREFIX}_next_renewal_timestamp_seconds") == 0


@pytest.mark.parametrize(("left", "healthy"), [(timedelta(minutes=10), 1), (timedelta(seconds=-1), 0)])
def test_the_file_is_judged_at_each_scrape(path: Path, left: timedelta, healthy: int) -> None:
    """As ``agent --health`` judges it: another program may have changed the file."""
    path.write_text(token_until(NOW + left))
    samples = read(RenewalState(), path)
    assert value(samples, f"{PREFIX}_healthy") == healthy
    assert value(samples, f"{PREFIX}_file_ends_timestamp_seconds") == (NOW + left).timestamp()


class _Source:
    """A source that fails once, and then gives one token."""

    def __init__(self, outcomes: list[Fresh | Exception]) -> None:
        self._outcomes = outcomes

    def fetch(self, _now: datetime) -> Fresh:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_each_attempt_of_the_renewals_is_reported(path: Path) -> None:
    fresh = Fresh(text=token_until(NOW + timedelta(hours=1)), ends_at=NOW + timedelta(hours=1), share=0.5)
    options: dict[str, Any] = {
        "source": _Source([ValueError("a bug"), fresh]),
        "file": TokenFile(path=path),
        "log": Notes(),
        "clock": lambda: NOW,
        "chance": lambda: 0.0,
        "patience": timedelta(minutes=10),
    }
    renewals = Renewals(**options)
    renewals.step()
    assert value(read(renewals.state, path), f"{PREFIX}_renewals_total", result="undecided") == 1
    renewals.step()
    samples = read(renewals.state, path)
    assert value(samples, f"{PREFIX}_renewals_total", result="renewed") == 1
    assert value(samples, f"{PREFIX}_next_renewal_timestamp_seconds") == NOW.timestamp() + 1800
    [_, (_, event, fields)] = options["log"].lines
    assert (event, fields["after_failures"]) == ("renewed", 1)


@pytest.fixture
def serve() -> Callable[[str], str]:
    def start(host: str) -> str:
        address = serve_metrics(TcpAddress(host, 0), lambda: "metric 1\n")
        return f"http://{address}"

    return start


def scrape(url: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        return client.get(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_scraper_reads_the_metrics(serve: Callable[[str], str], host: str) -> None:
    answer = scrape(f"{serve(host)}/metrics")
    assert (answer.status_code, answer.text) == (200, "metric 1\n")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "Python" not in answer.headers["server"]


def test_there_is_nothing_else(serve: Callable[[str], str]) -> None:
    assert scrape(f"{serve('127.0.0.1')}/").status_code == 404


def test_a_scraper_that_sends_nothing_or_garbage_holds_up_nobody_for_long(
    serve: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    url = serve("127.0.0.1")
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as garbage:
        garbage.sendall(b"\0" * 100)
        assert scrape(f"{url}/metrics").status_code == 200
    assert SECONDS <= 1
    assert capfd.readouterr() == ("", "")
