"""Render the metrics once for all scrapers that wait at the same time.

A rendering blocks the event loop for 4 ms. So the service renders each of the two formats at most once a second on average.
After a pause it may render a few times in quick succession. Each request waits for the next rendering, so a page is never
older than its request. These rules also limit the cost of a scraper that sends requests in a loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.telemetry.exposition import Exposition

PAUSE_SECONDS: Final = 1.0
# How many renderings may follow each other without a wait after a pause: two Prometheus servers and a person then do not
# wait for each other.
RENDERINGS_AT_ONCE: Final = 4
# Further scrapers get 503. A page is about 60 KB.
MAX_SCRAPES: Final = 64

Page = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeLimits:
    """How often the page is rendered, and how many scrapers may wait for it.

    Attributes:
        pause_seconds: the shortest average time between two renderings.
        max_scrapes: the number of scrapers that may wait at the same time.
    """

    pause_seconds: float = PAUSE_SECONDS
    max_scrapes: int = MAX_SCRAPES


DEFAULT_LIMITS: Final = ScrapeLimits()


class _Scraper(NamedTuple):
    page: asyncio.Future[Page]
    exposition: Exposition


class MetricsPage:
    """The page of ``/metrics``, for many scrapers at once."""

    def __init__(self, render: Callable[[Exposition], Page], limits: ScrapeLimits = DEFAULT_LIMITS) -> None:
        self._render = render
        self._limits = limits
        self._waiting: list[_Scraper] = []
        self._scrapes = 0
        self._due = 0.0  # the time of the next rendering if no burst is left (generic cell rate algorithm)

    async def read(self, exposition: Exposition = Exposition.TEXT) -> Page | None:
        """Return the next rendering in a format, within one second; None if too many scrapers already wait."""
        if self._scrapes >= self._limits.max_scrapes:
            return None
        loop = asyncio.get_running_loop()
        page: asyncio.Future[Page] = loop.create_future()
        if not self._waiting:
            loop.call_at(self._due - (RENDERINGS_AT_ONCE - 1) * self._limits.pause_seconds, self._begin)
        self._waiting.append(_Scraper(page, exposition))
        self._scrapes += 1
        try:
            return await page
        finally:
            self._scrapes -= 1

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        try:
            pages = {each: self._render(each) for each in {scraper.exposition for scraper in waiting}}
        except Exception as error:  # noqa: BLE001 - each of them gets it
            for scraper in waiting:
                if not scraper.page.done():
                    scraper.page.set_exception(error)
            return
        finally:
            self._due = max(self._due, loop.time()) + self._limits.pause_seconds
        self._hand_out(pages, waiting)

    def _hand_out(self, pages: Mapping[Exposition, Page], waiting: list[_Scraper]) -> None:
        """Answer one scraper in each turn of the event loop, so that other requests are answered in between."""
        if not waiting:
            return
        first = waiting.pop(0)
        if not first.page.done():
            first.page.set_result(pages[first.exposition])
        asyncio.get_running_loop().call_soon(self._hand_out, pages, waiting)
