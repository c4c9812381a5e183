"""The plots of storms: admitted sidecars and calls to AWS over time."""

from collections.abc import Sequence
from pathlib import Path

from bench.storm.scenarios import Outcome
from bench.storm.stage import IAM_QUOTA, STS_QUOTA, Seen
from bench.storm.world import ACCOUNTS
from bench.svg import Point, Series, line_chart


def write_plots(outcomes: Sequence[Outcome], folder: Path, sidecars: int) -> list[Path]:
    """Write the plots of the storms that were played."""
    played = [(outcome.name, outcome.seen) for outcome in outcomes if outcome.seen is not None]
    longest = max((seen.clients["seconds"] for _, seen in played), default=1.0)
    total = {"sts": STS_QUOTA * len(ACCOUNTS), "iam": IAM_QUOTA * len(ACCOUNTS)}
    charts = {
        "storm-admitted.svg": line_chart(
            f"Admitted sidecars of {sidecars:,}, each of which presents its credential three times",
            "seconds since the storm began",
            "admitted sidecars",
            [Series(name, admitted_over_time(seen)) for name, seen in played],
        )
    }
    for upstream, words in (("sts", "Calls to STS, all three accounts"), ("iam", "Calls to IAM, all three accounts")):
        quota = Series("AWS's quotas", [(0.0, total[upstream]), (longest, total[upstream])], dashed=True)
        lines = [Series(name, calls_per_second(seen, upstream)) for name, seen in played]
        charts[f"storm-{upstream}.svg"] = line_chart(
            words, "seconds since the storm began", "calls a second", [*lines, quota]
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in charts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in charts]


def admitted_over_time(seen: Seen, points: int = 150) -> list[Point]:
    """Thin the moments of admission out to some points."""
    moments = sorted(seen.clients["admitted"])
    step = max(1, len(moments) // points)
    thinned = [(moments[at], float(at + 1)) for at in range(0, len(moments), step)]
    return [(0.0, 0.0), *thinned, *([(moments[-1], float(len(moments)))] if moments else [])]


def calls_per_second(seen: Seen, upstream: str) -> list[Point]:
    """Return the rate over windows of about half a second."""
    window = 5
    began = seen.clients["began"]
    points = []
    for before, after in zip(seen.samples[:-window:window], seen.samples[window::window], strict=False):
        rate = (getattr(after, upstream) - getattr(before, upstream)) / (after.at - before.at)
        points.append((max(0.0, (before.at + after.at) / 2 - began), rate))
    return points
