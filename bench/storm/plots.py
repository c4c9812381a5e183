"""The plots of storms: admitted sidecars and calls to AWS over time, for each group of storms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.storm.outcome import Outcome
from bench.storm.promises import own_bound
from bench.storm.stage import IAM_QUOTA, STS_QUOTA, Seen
from bench.svg import Point, Series, line_chart

_TIME: Final = "seconds since the storm began"


def write_plots(outcomes: Sequence[Outcome], folder: Path, settings: Mapping[str, str]) -> list[Path]:
    """Write the plots of the storms that were played: ``storm-*.svg`` of the restarts, ``storm-GROUP-*.svg`` of others."""
    groups: dict[str, list[tuple[Outcome, Seen]]] = {}
    for outcome in outcomes:
        if outcome.seen is not None:
            groups.setdefault(outcome.storm.group, []).append((outcome, outcome.seen))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for group, played in groups.items():
        prefix = "storm" if group == "restart" else f"storm-{group}"
        for name, text in _charts(played, settings).items():
            path = folder / f"{prefix}-{name}.svg"
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _charts(played: Sequence[tuple[Outcome, Seen]], settings: Mapping[str, str]) -> dict[str, str]:
    shape = played[0][0].storm.shape
    longest = max(seen.clients["seconds"] for _, seen in played)
    bound = own_bound(settings, shape)
    least = max(bound.sts, bound.iam)
    charts = {
        "admitted": line_chart(
            f"Admitted sidecars of {shape.sidecars:,}; {shape.roles:,} roles in {_accounts(shape.accounts)}",
            _TIME,
            "admitted sidecars",
            [
                *(Series(outcome.name, admitted_over_time(seen)) for outcome, seen in played),
                Series("least by the budgets", [(least, 0.0), (least, float(shape.sidecars))], dashed=True),
            ],
        )
    }
    for upstream, quota in (("sts", STS_QUOTA), ("iam", IAM_QUOTA)):
        total = quota * shape.accounts
        lines = [Series(outcome.name, calls_per_second(seen, upstream)) for outcome, seen in played]
        charts[upstream] = line_chart(
            f"Calls to {upstream.upper()}, {_accounts(shape.accounts)}",
            _TIME,
            "calls a second",
            [*lines, Series("AWS's quotas", [(0.0, total), (longest, total)], dashed=True)],
        )
    return charts


def _accounts(number: int) -> str:
    return "one account" if number == 1 else f"{number} accounts"


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
