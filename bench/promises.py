"""What is promised about the rows of ``make bench``: ratios within one run, and megabytes."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Final

from bench.footprint import ReadAccounts
from bench.refusals import REMEMBERED
from bench.rows import Row

# Requests for the same processor time, beside the Go program.
LEAST_BESIDE_GO: Final = 0.8
MOST_HITS_OF_ROLE: Final = 10.0
# Of a credential that AWS has refused a moment ago, or whose role AWS has described.
MOST_HITS_OF_REFUSAL: Final = 1.5
MOST_WITH_FULL_CACHES: Final = 1.05
MOST_IDLE_MB: Final = 70.0
MOST_READ_ACCOUNTS_MIB: Final = 60.0

Verdict = tuple[bool, str]


def promises_of_rows(rows: Mapping[str, Row], *, caches_are_full: bool) -> Iterator[Verdict]:
    """Yield what is promised about processor time, and whether it held; a row that was not measured promises nothing."""
    hit, miss, role = (_cpu(rows, f"service {kind}") for kind in ("hit", "miss", "role"))
    go = _cpu(rows, "go miss")
    if miss and go:
        words = f"a miss does at least {LEAST_BESIDE_GO:g} of the requests of Go for the same time ({go / miss:.2f})"
        yield go / miss >= LEAST_BESIDE_GO, words
    if hit and role:
        words = f"a miss with role takes at most {MOST_HITS_OF_ROLE:g} hits ({role / hit:.1f})"
        yield role / hit <= MOST_HITS_OF_ROLE, words
    refusals = {reason: cpu / hit for reason in REMEMBERED if hit and (cpu := _cpu(rows, reason))}
    if refusals:
        dearest = max(refusals, key=refusals.__getitem__)
        words = f"a refusal that is remembered takes at most {MOST_HITS_OF_REFUSAL:g} hits"
        yield refusals[dearest] <= MOST_HITS_OF_REFUSAL, f"{words} ({dearest}: {refusals[dearest]:.1f})"
    if "full miss" in rows and caches_are_full:
        # Round by round, since the machine drifts between them.
        pairs = zip(rows["full miss"].cpu, rows["service miss"].cpu, strict=True)
        more, most = statistics.median(full / empty for full, empty in pairs) - 1, MOST_WITH_FULL_CACHES - 1
        yield more <= most, f"a miss with full caches takes at most {most:.0%} more than with empty ones ({more:+.1%})"


def promises_of_memory(idle: float, read: ReadAccounts) -> Iterator[Verdict]:
    """Yield what is promised about memory, and whether it held."""
    words = f"an idle service takes at most {MOST_IDLE_MB:g} MB with the packages of the image ({idle:.1f} MB)"
    yield idle <= MOST_IDLE_MB, words
    words = f"{read.accounts} read accounts add at most {MOST_READ_ACCOUNTS_MIB:g} MiB ({read.memory:.1f} MiB)"
    yield read.memory <= MOST_READ_ACCOUNTS_MIB, words


def _cpu(rows: Mapping[str, Row], name: str) -> float | None:
    return statistics.median(rows[name].cpu) if name in rows and rows[name].cpu else None
