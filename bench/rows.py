"""Rows of rounds, and the statistics of a table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.load import Load


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of an ordered sequence lies; NaN of an empty one."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


@dataclass(slots=True)
class Row:
    """The rounds of one row.

    Attributes:
        name: what is measured.
        rival: the row of the Go equivalent, if there is one.
        cpu: processor microseconds a request, each round.
        rate: requests a second.
        p50: median latency, milliseconds.
        p99: likewise.
        memory: resident megabytes at the end.
    """

    name: str
    rival: "Row | None" = None
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    memory: float | None = None

    def add(self, requests: int, cpu: float, seconds: float, load: Load | None = None) -> None:
        """Add a round."""
        self.cpu.append(cpu / requests * 1e6)
        self.rate.append(requests / seconds)
        if load is not None:
            ordered = sorted(load.latencies)
            self.p50.append(percentile(ordered, 0.5) * 1000)
            self.p99.append(percentile(ordered, 0.99) * 1000)


HEAD = f"{'':34} {'CPU us':>8} {'x trivial':>9} {'x Go':>6} {'wall/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'RSS MB':>7}"


def line_of(row: Row, trivial: Row) -> str:
    """Return the row of the table; ratios are of requests for the same processor time."""
    cpu = statistics.median(row.cpu)
    beside = f"{statistics.median(row.rival.cpu) / cpu:6.2f}" if row.rival is not None else f"{'':6}"
    latency = f"{statistics.median(row.p50):8.2f} {statistics.median(row.p99):8.2f}" if row.p50 else f"{'':17}"
    memory = f"{row.memory:7.1f}" if row.memory is not None else ""
    ratio = statistics.median(trivial.cpu) / cpu
    return f"{row.name:34} {cpu:8.1f} {ratio:9.2f} {beside} {statistics.median(row.rate):8,.0f} {latency} {memory}".rstrip()
