"""Concurrent scrapes share one page of metrics. It is rendered once per second on average, after the scrape began."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from app.api.application import build_diagnostics
from app.api.metrics_page import DEFAULT_LIMITS, RENDERINGS_AT_ONCE, MetricsPage, ScrapeLimits
from app.core.token_kind import TokenKind
from app.telemetry.exposition import Exposition
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE
from tests.support.service import listening
from tests.support.virtual_time import run_in_virtual_time

SECONDS = PATIENCE
SCRAPERS = 60
TOKENS = "kuma_aws_iam_tokens_issued_total"
# What Prometheus 2 and 3, a browser, curl and a faulty client send.
ACCEPTED = {
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": Exposition.OPENMETRICS,
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1": Exposition.OPENMETRICS,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": Exposition.TEXT,
    "*/*": Exposition.TEXT,
    "application/openmetrics-text;version=new": Exposition.TEXT,
}


class CountedMetrics(Metrics):
    """Real metrics that count how often they were rendered."""

    rendered = 0

    def expose(self, exposition: Exposition = Exposition.TEXT) -> bytes:
        self.rendered += 1
        return super().expose(exposition)


@pytest.fixture
def metrics() -> CountedMetrics:
    return CountedMetrics()


@pytest.fixture
def diagnostics(metrics: CountedMetrics) -> ASGIApp:
    return build_diagnostics(metrics, Readiness())


def diagnostics_with(metrics: Metrics, **limits: Any) -> ASGIApp:
    return build_diagnostics(metrics, Readiness(), ScrapeLimits(**limits))


@contextlib.asynccontextmanager
async def scraper_of(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server, with one connection for each scrape in progress."""
    async with (
        listening(app) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=SECONDS) as client,
    ):
        yield client


async def test_all_who_ask_at_the_same_time_have_one_page(diagnostics: ASGIApp, metrics: CountedMetrics) -> None:
    """Each rendering delays every decision by 4 ms."""
    async with scraper_of(diagnostics) as client:
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(SCRAPERS)))
    assert {answer.status_code for answer in answers} == {200}
    # One more for each second that the connection takes.
    assert metrics.rendered < SCRAPERS / 2


async def test_a_scraper_in_a_loop_has_a_page_a_second(metrics: CountedMetrics) -> None:
    """The clock limits the renderings, not the number of scrapes."""
    loop = asyncio.get_running_loop()
    async with scraper_of(diagnostics_with(metrics, pause_seconds=0.2)) as client:
        began = loop.time()
        for _ in range(RENDERINGS_AT_ONCE + 4):
            await client.get("/metrics")
        assert loop.time() - began >= 4 * 0.2
    assert DEFAULT_LIMITS.pause_seconds == 1.0


async def test_a_few_pages_are_rendered_at_once_after_a_pause(metrics: CountedMetrics) -> None:
    """A person who reloads the page, and two Prometheus servers, do not wait."""
    async with scraper_of(diagnostics_with(metrics, pause_seconds=1_000_000.0)) as client:
        for _ in range(RENDERINGS_AT_ONCE):
            assert (await client.get("/metrics")).status_code == 200
    assert metrics.rendered == RENDERINGS_AT_ONCE


async def test_a_page_is_never_older_than_the_question(metrics: CountedMetrics) -> None:
    """Whoever gets an answer and then reads the metrics finds the call counted."""
    async with scraper_of(diagnostics_with(metrics, pause_seconds=0.05)) as client:
        for number in range(1, 4):
            metrics.token_issued(TokenKind.DATAPLANE, "fresh")
            samples = read_samples((await client.get("/metrics")).text)
            assert value(samples, TOKENS, kind="dataplane", origin="fresh") == number


def test_a_scraper_too_many_is_turned_away_and_others_have_theirs(metrics: CountedMetrics) -> None:
    async def scene() -> None:
        app = diagnostics_with(metrics, pause_seconds=0.5, max_scrapes=2)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
            for _ in range(RENDERINGS_AT_ONCE):
                await client.get("/metrics")  # then the others wait for the next page
            answers = await asyncio.gather(*(client.get("/metrics") for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
        [refused, _] = [answer for answer in answers if answer.status_code == 503]
        assert refused.json()["reason"] == "overloaded"
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")

    run_in_virtual_time(scene())  # otherwise the page could be due before the last of them asks
    assert DEFAULT_LIMITS.max_scrapes == 64


async def test_pages_are_handed_out_one_by_one() -> None:
    """So a cache hit or a probe that arrives meanwhile waits for one page, and not for all."""
    page = MetricsPage(lambda _: b"page")
    done: list[bytes | None] = []

    async def scrape() -> None:
        done.append(await page.read())

    scrapes = [asyncio.create_task(scrape()) for _ in range(20)]
    in_a_turn = []
    async with asyncio.timeout(SECONDS):
        while len(done) < len(scrapes):
            before = len(done)
            await asyncio.sleep(0)
            in_a_turn.append(len(done) - before)
    assert max(in_a_turn) <= 2
    assert set(done) == {b"page"}


async def test_a_scraper_that_goes_away_takes_nobodys_page_and_leaves_its_place() -> None:
    page = MetricsPage(lambda _: b"page", ScrapeLimits(max_scrapes=2))
    async with asyncio.timeout(SECONDS):
        for _ in range(3):
            gone, there = asyncio.create_task(page.read()), asyncio.create_task(page.read())
            await asyncio.sleep(0)
            gone.cancel()
            assert await there == b"page"


async def test_a_rendering_that_fails_fails_for_all_who_wait_and_for_nobody_after() -> None:
    pages: list[bytes | Exception] = [ValueError("a bug"), b"page"]

    def render(_: Exposition) -> bytes:
        page = pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page

    page = MetricsPage(render)
    async with asyncio.timeout(SECONDS):
        failed = await asyncio.gather(page.read(), page.read(), return_exceptions=True)
        assert [repr(error) for error in failed] == ["ValueError('a bug')"] * 2
        assert await page.read() == b"page"


async def test_each_scraper_gets_the_format_that_it_asks_for(metrics: CountedMetrics) -> None:
    """Also if both scrapers wait for the same rendering."""
    async with scraper_of(diagnostics_with(metrics, pause_seconds=0.05)) as client:
        for _ in range(RENDERINGS_AT_ONCE):
            await client.get("/metrics")  # then the others wait for the next page
        answers = await asyncio.gather(*(client.get("/metrics", headers={"accept": each}) for each in ACCEPTED))
    for accepted, answer in zip(ACCEPTED, answers, strict=True):
        expected, is_openmetrics = ACCEPTED[accepted], answer.text.endswith("# EOF\n")
        assert is_openmetrics == (expected is Exposition.OPENMETRICS), accepted
        assert answer.headers["content-type"] == expected.value
        assert answer.headers["vary"] == "Accept"
