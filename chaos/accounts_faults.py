"""The file of accounts changes, breaks, vanishes, hangs."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from chaos.aws import HOME, OTHERS, STRANGER
from chaos.calls import ALLOWED
from chaos.row import Promise, Row, Seen
from chaos.stage import Stage

FILE: Final = "accounts"
# The file is looked at every 2 s.
RELOAD: Final = 3.0
_SIGHUP_SECONDS: Final = 0.5
_SIGHUPS: Final = 3
REFUSED: Final = "403 account_not_authorized"


def rows() -> Iterator[Row]:
    """Yield the rows; they share one service, whose list is a file."""
    yield Row(
        fault="an account is taken out of KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE",
        promise=Promise(
            outcomes=(REFUSED,), within=1.0, recovery=RELOAD, words=f"within {RELOAD:g} s, known credentials too"
        ),
        play=_removed,
    )
    for words, spoil in _SPOILED.items():
        yield Row(
            fault=f"the file of accounts {words}",
            promise=Promise(
                outcomes=("200",), within=1.0, recovery=RELOAD, words="the last good list holds, no account more"
            ),
            play=_spoiled(spoil),
        )
    yield Row(
        fault="the file of accounts changes, and SIGHUP comes",
        promise=Promise(outcomes=(REFUSED, "200"), within=1.0, recovery=_SIGHUP_SECONDS),
        play=_sighup,
    )


def write(stage: Stage, *lines: str) -> None:
    """Put another file in the old one's place, as an orchestrator does."""
    new = stage.folder / f"{FILE}.new"
    new.write_text("\n".join(lines), encoding="utf-8")
    new.replace(stage.folder / FILE)


def _restore(stage: Stage) -> None:
    write(stage, HOME, *OTHERS)


def _removed(stage: Stage, promise: Promise) -> Seen:
    known, other = stage.known(), stage.known(OTHERS[0])
    write(stage, HOME)
    took = stage.recovery(lambda: other, RELOAD, outcome=REFUSED)
    seen = Seen([stage.caller.ask(other), stage.caller.ask(stage.tasks.credential(OTHERS[0]))])
    seen.expect(took is not None, "the account was not taken out")
    seen.expect(stage.caller.ask(known).allowed, "the account that stayed was refused")
    _restore(stage)
    seen.recovered = stage.recovery(lambda: other, 3 * (promise.recovery or 0))
    return seen


def _garbage(path: Path) -> None:
    path.write_text(f"{HOME}\n{STRANGER}\n*\n")


def _half(path: Path) -> None:
    path.write_text(f"{HOME}\n{STRANGER}\n44445555")


def _empty(path: Path) -> None:
    path.write_text("")


def _no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0" + STRANGER.encode("utf-16"))


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


_SPOILED: Final = {
    "holds garbage, and a stranger": _garbage,
    "is cut off in the middle": _half,
    "is empty": _empty,
    "is no text": _no_text,
    "is gone": _gone,
    "is a folder": _folder,
    "hangs when it is read (a pipe)": _pipe,
}


def _spoiled(spoil: Callable[[Path], None]) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        path = stage.folder / FILE
        known = stage.known()
        failures = _failures(stage)
        spoil(path)
        try:
            stage.service.signal(signal.SIGHUP)
            noticed = stage.service.poll(lambda: _failures(stage) > failures, RELOAD)
            seen = Seen([stage.caller.ask(known), stage.caller.ask(stage.tasks.credential(OTHERS[0]))])
            stranger = stage.caller.ask(stage.tasks.credential(STRANGER))
        finally:
            _let_go(path)
            write(stage, HOME, *OTHERS, STRANGER)
        seen.expect(stranger.outcome == REFUSED, f"a stranger was answered {stranger.outcome}")
        seen.expect(noticed is not None or spoil is _pipe, "the metric does not show it")
        seen.recovered = stage.recovery(lambda: stage.tasks.credential(STRANGER), 3 * (promise.recovery or 0))
        _restore(stage)
        stage.recovery(lambda: stage.tasks.credential(STRANGER), RELOAD, outcome=REFUSED)
        return seen

    return play


def _let_go(path: Path) -> None:
    """End whatever hangs on the file, and clear the way for another."""
    if path.is_dir():
        path.rmdir()
    elif path.is_fifo():
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return  # nobody reads it


def _failures(stage: Stage) -> float:
    name = 'kuma_aws_iam_reload_failures_total{what="accounts"}'
    lines = stage.caller.read("/metrics", RELOAD).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def _sighup(stage: Stage, _promise: Promise) -> Seen:
    other, seen, took = stage.known(OTHERS[0]), Seen(), []
    for _ in range(_SIGHUPS):
        for lines, outcome in (((HOME,), REFUSED), ((HOME, *OTHERS), ALLOWED)):
            write(stage, *lines)
            stage.service.signal(signal.SIGHUP)
            took.append(stage.recovery(lambda: other, RELOAD, outcome=outcome))
            seen.answers.append(stage.caller.ask(other))
    seen.recovered = None if None in took else max(seconds for seconds in took if seconds is not None)
    return seen
