"""Play every row, print the table, and exit with 1 when a row is not as promised. ``python -m chaos [WORD ...]``.

Lanes run beside each other, since most of a fault is waiting. With words, only rows with one of them in their name are
played.
"""

import os
import platform
import queue
import resource
import sys
import textwrap
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from chaos.row import Row, Seen, judge
from chaos.stage import Stage
from chaos.table import Lane, lanes

LANES_AT_ONCE: Final = 4
MOST_SECONDS: Final = 230.0
_OPEN_FILES: Final = 8192
_WIDTHS: Final = (46, 48, 40)


@dataclass(slots=True)
class Result:
    """What came of one row."""

    row: Row
    seen: Seen = field(default_factory=Seen)
    problems: list[str] = field(default_factory=lambda: ["it was not played to its end"])


def main() -> int:
    """Play, print and return the exit status."""
    _raise_open_files()
    words = [word.lower() for word in sys.argv[1:]]
    chosen = [(lane, [Result(row) for row in lane.rows if _is_named(row, words)]) for lane in lanes()]
    started = time.monotonic()
    in_time = _play_all([pair for pair in chosen if pair[1]])
    results = [result for _, rows in chosen for result in rows]
    _print_table(results)
    wrong = sum(bool(result.problems) for result in results)
    cores = len(os.sched_getaffinity(0))
    print(
        f"\n{len(results)} faults in {time.monotonic() - started:.0f} s ({platform.machine()}, {cores} cores, Python "
        f"{platform.python_version()}); {wrong} not as promised"
    )
    if not in_time:
        print(f"ended after {MOST_SECONDS:.0f} s")
    return 1 if wrong or not results else 0


def _is_named(row: Row, words: Iterable[str]) -> bool:
    words = list(words)
    return not words or any(word in row.fault.lower() for word in words)


def _play_all(chosen: list[tuple[Lane, list[Result]]]) -> bool:
    """Play all lanes, some at once; return whether all of them ended in time."""
    pending: queue.SimpleQueue[tuple[Lane, list[Result]]] = queue.SimpleQueue()
    # Those with most to do first, so that none is left alone at the end.
    for pair in sorted(chosen, key=lambda pair: -pair[0].seconds):
        pending.put(pair)
    deadline = time.monotonic() + MOST_SECONDS
    # Daemons: one that hangs must not keep the table from being printed.
    players = [threading.Thread(target=_play_pending, args=(pending,), daemon=True) for _ in range(LANES_AT_ONCE)]
    for player in players:
        player.start()
    for player in players:
        player.join(max(0.0, deadline - time.monotonic()))
    return not any(player.is_alive() for player in players)


def _play_pending(pending: "queue.SimpleQueue[tuple[Lane, list[Result]]]") -> None:
    while True:
        try:
            lane, results = pending.get_nowait()
        except queue.Empty:
            return
        _play_lane(lane, results)


def _play_lane(lane: Lane, results: list[Result]) -> None:
    unplayed = iter(results)
    try:
        with lane.open() as stage:
            for result in unplayed:
                _play_row(stage, result)
    except Exception as error:  # noqa: BLE001 - a stage that cannot be built must not hide the other lanes' rows
        for result in unplayed:
            result.problems = [f"no stage: {type(error).__name__}: {error}"]


def _play_row(stage: Stage, result: Result) -> None:
    started = time.monotonic()
    try:
        result.seen = result.row.play(stage, result.row.promise)
        result.problems = judge(result.row.promise, result.seen)
    except Exception as error:  # noqa: BLE001 - a row that breaks is a row that is not as promised
        result.problems = [f"{type(error).__name__}: {error}"]
    finally:
        stage.recover()
    verdict = "NOT AS PROMISED" if result.problems else "as promised"
    print(f"{time.monotonic() - started:6.1f} s  {verdict:15}  {result.row.fault}", file=sys.stderr, flush=True)


def _print_table(results: Iterable[Result]) -> None:
    print()
    _print_cells(("fault", "promised", "observed"), "slowest", "recovered", "verdict")
    for result in results:
        seen, promise = result.seen, result.row.promise
        recovered = (
            "-" if promise.recovery is None else "never" if seen.recovered is None else f"{seen.recovered:.1f} s"
        )
        verdict = "NOT AS PROMISED" if result.problems else "as promised"
        _print_cells((result.row.fault, str(promise), seen.summary()), f"{seen.slowest:.2f} s", recovered, verdict)
        for problem in result.problems:
            print(textwrap.indent(textwrap.fill(problem, 150), "    >> "))


def _print_cells(wrapped: tuple[str, str, str], *rest: str) -> None:
    columns = [textwrap.wrap(text, width) or [""] for text, width in zip(wrapped, _WIDTHS, strict=True)]
    for number in range(max(map(len, columns))):
        cells = [
            f"{lines[number] if number < len(lines) else '':{width}}"
            for lines, width in zip(columns, _WIDTHS, strict=True)
        ]
        tail = f"{rest[0]:>8} {rest[1]:>9}  {rest[2]}" if number == 0 else ""
        print("  ".join((*cells, tail)).rstrip())


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
