"""The tables of storms."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bench.storm.outcome import Outcome
from bench.storm.promises import own_bound, quota_bound
from bench.storm.stage import Seen

COLUMNS: Final = 6
_UNKNOWN: Final = "-"
_NAME_WIDTH: Final = 38
_WIDTH: Final = 15


def tables(outcomes: Sequence[Outcome], settings: Mapping[str, str]) -> str:
    """Return the tables: a storm a column, six columns in each."""
    parts = [outcomes[first : first + COLUMNS] for first in range(0, len(outcomes), COLUMNS)]
    return "\n\n".join(table(part, settings) for part in parts)


def table(outcomes: Sequence[Outcome], settings: Mapping[str, str]) -> str:
    """Return one table."""
    rows: list[tuple[str, Callable[[Outcome, Seen], Any]]] = [
        ("sidecars admitted", lambda _, seen: f"{len(seen.clients['admitted']):,}"),
        ("all admitted after, s", _all_admitted),
        ("  least by the service's budgets, s", lambda outcome, _: f"{_own(outcome, settings):.1f}"),
        ("  least by AWS's quotas, s", lambda outcome, _: f"{quota_bound(outcome.storm.shape).of(outcome.storm):.1f}"),
        ("  times the least by the budgets", lambda outcome, seen: _ratio(outcome, seen, _own(outcome, settings))),
        ("STS calls", lambda outcome, _: f"{outcome.sts_calls:,}"),
        ("GetRole calls", lambda outcome, _: f"{outcome.get_role_calls:,}"),
        ("calls for pages of roles", lambda outcome, _: outcome.page_calls),
        ("throttling answers of AWS", lambda outcome, _: f"{outcome.throttled:,}"),
        ("connections opened to AWS", lambda outcome, _: f"{outcome.connections:,}"),
        ("valid sidecars denied", lambda _, seen: sum(seen.clients["denied"].values())),
        ("wrong identities", lambda _, seen: seen.clients["wrong"]),
        ("impostors admitted", lambda _, seen: seen.clients["impostors"].get("allowed", 0)),
        ("errors", lambda _, seen: sum(seen.clients["errors"].values())),
        ("callers that gave up", lambda _, seen: f"{seen.clients['gave_up']:,}"),
        ("503 answers", lambda _, seen: f"{sum(seen.clients['undecided'].values()):,}"),
        ("  p99 of them, ms", lambda _, seen: _milliseconds(seen.clients["refused_p99"])),
        ("  slowest of them, ms", lambda _, seen: _milliseconds(seen.clients["refused_slowest"])),
        ("p50 of decisions, ms", lambda _, seen: _milliseconds(seen.clients["p50"])),
        ("p99 of decisions, ms", lambda _, seen: _milliseconds(seen.clients["p99"])),
        ("RSS at the peak, MB", lambda outcome, _: f"{outcome.memory:.0f}"),
        ("CPU of the service, s", lambda _, seen: f"{seen.cpu:.1f}"),
        ("  ready, but without the core, s", lambda _, seen: f"{seen.waited:.1f}"),
        ("core of the emulated AWS", lambda _, seen: f"{seen.emulator:.0%}"),
        ("load generator late by, ms", lambda _, seen: _milliseconds(seen.clients["late"])),
    ]
    lines = [f"{'':{_NAME_WIDTH}}" + "".join(f"{outcome.name:>{_WIDTH}}" for outcome in outcomes)]
    for name, value in rows:
        cells = [_UNKNOWN if outcome.seen is None else value(outcome, outcome.seen) for outcome in outcomes]
        lines.append(f"{name:{_NAME_WIDTH}}" + "".join(f"{cell!s:>{_WIDTH}}" for cell in cells))
    return "\n".join(lines)


def details(outcomes: Sequence[Outcome]) -> list[str]:
    """Say which reasons and errors there were, and what TLS cost."""
    lines = []
    for outcome in outcomes:
        if outcome.seen is None:
            continue
        for kind, words in {"undecided": "503", "denied": "valid sidecars denied", "errors": "errors"}.items():
            counts = outcome.seen.clients[kind]
            if counts:
                lines.append(f"{outcome.name}: {words}: {', '.join(f'{name} {n:,}' for name, n in counts.items())}")
        if outcome.handshake is not None:
            lines.append(_about_tls(outcome, outcome.seen))
    return lines


def _about_tls(outcome: Outcome, seen: Seen) -> str:
    assert outcome.handshake is not None
    tls, tcp = outcome.handshake.tls, outcome.handshake.tcp
    share = outcome.connections * tls / seen.cpu if seen.cpu else 0.0
    each = f"{outcome.calls / outcome.connections:.0f} calls each; " if outcome.connections else ""
    return (
        f"{outcome.name}: {outcome.connections:,} TLS handshakes for {outcome.calls:,} calls to AWS, {each}a connection "
        f"takes {tls * 1e6:,.0f} us of the client's processor time with TLS and {tcp * 1e6:,.0f} us without: "
        f"{share:.1%} of the service's processor time in the storm"
    )


def _own(outcome: Outcome, settings: Mapping[str, str]) -> float:
    return own_bound(settings, outcome.storm.shape).of(outcome.storm)


def _all_admitted(outcome: Outcome, seen: Seen) -> str:
    admitted = seen.clients["admitted"]
    return f"{max(admitted):.1f}" if len(admitted) == outcome.storm.shape.sidecars else "never"


def _ratio(outcome: Outcome, seen: Seen, bound: float) -> str:
    admitted = seen.clients["admitted"]
    is_whole = len(admitted) == outcome.storm.shape.sidecars
    return f"{max(admitted) / bound:.2f}" if bound and is_whole else _UNKNOWN


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"
