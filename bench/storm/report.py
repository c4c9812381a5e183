"""The table of storms."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.storm.promises import Bound
from bench.storm.scenarios import Outcome
from bench.storm.stage import Seen

_UNKNOWN: Final = "-"


def table(outcomes: Sequence[Outcome], own: Bound, aws: Bound, sidecars: int) -> str:
    """Return the table: a storm a column."""
    rows: list[tuple[str, Callable[[Outcome, Seen], Any]]] = [
        ("sidecars admitted", lambda _, seen: f"{len(seen.clients['admitted']):,}"),
        ("all admitted after, s", lambda _, seen: _all_admitted(seen, sidecars)),
        ("  least by the service's budgets, s", lambda outcome, _: f"{own.of(outcome):.1f}"),
        ("  least by AWS's quotas, s", lambda outcome, _: f"{aws.of(outcome):.1f}"),
        ("STS calls", lambda outcome, _: f"{outcome.sts_calls:,}"),
        ("GetRole calls", lambda outcome, _: f"{outcome.get_role_calls:,}"),
        ("calls for pages of roles", lambda outcome, _: outcome.page_calls),
        ("throttling answers of AWS", lambda outcome, _: f"{outcome.throttled:,}"),
        ("valid sidecars denied", lambda _, seen: sum(seen.clients["denied"].values())),
        ("wrong identities", lambda _, seen: seen.clients["wrong"]),
        ("impostors admitted", lambda _, seen: seen.clients["impostors"].get("allowed", 0)),
        ("errors", lambda _, seen: sum(seen.clients["errors"].values())),
        ("503 answers", lambda _, seen: f"{sum(seen.clients['undecided'].values()):,}"),
        ("p50 of decisions, ms", lambda _, seen: f"{seen.clients['p50'] * 1000:,.0f}"),
        ("p99 of decisions, ms", lambda _, seen: f"{seen.clients['p99'] * 1000:,.0f}"),
        ("RSS at the peak, MB", lambda outcome, _: f"{outcome.memory:.0f}"),
        ("CPU of the service, s", lambda _, seen: f"{seen.cpu:.1f}"),
        ("  ready, but without the core, s", lambda _, seen: f"{seen.waited:.1f}"),
        ("core of the emulated AWS", lambda _, seen: f"{seen.emulator:.0%}"),
    ]
    lines = [f"{'':36}" + "".join(f"{outcome.name:>10}" for outcome in outcomes)]
    for name, value in rows:
        cells = [_UNKNOWN if outcome.seen is None else value(outcome, outcome.seen) for outcome in outcomes]
        lines.append(f"{name:36}" + "".join(f"{cell!s:>10}" for cell in cells))
    return "\n".join(lines)


def details(outcomes: Sequence[Outcome]) -> list[str]:
    """Say which reasons and errors there were."""
    lines = []
    for outcome in outcomes:
        for kind in ("undecided", "denied", "errors"):
            counts = {} if outcome.seen is None else outcome.seen.clients[kind]
            if counts:
                words = {"undecided": "503", "denied": "valid sidecars denied", "errors": "errors"}[kind]
                lines.append(f"{outcome.name}: {words}: {', '.join(f'{name} {n:,}' for name, n in counts.items())}")
    return lines


def _all_admitted(seen: Seen, sidecars: int) -> str:
    admitted = seen.clients["admitted"]
    return f"{max(admitted):.1f}" if len(admitted) == sidecars else "never"
