"""What the page remembers: the latest decisions, how often each reason occurs, and the tasks that present credentials.

All of it has a fixed maximum size. A decision is kept as the JSON of its audit line, which takes a quarter of the memory of
its objects. So it contains what an audit line contains, and no credential, token or signature (I22).
"""

from collections import deque
from typing import Any, Final, NamedTuple

import orjson

from app.core.errors import AuthError
from app.core.reasons import Reason
from app.decision.record import NONE, DecisionRecord
from app.local.clock import Clock, Timer
from app.page.agents_seen import AgentsSeen
from app.page.rates import Rates
from app.telemetry.audit import decision_fields

MAX_DECISIONS: Final = 1000
# An audit line has some 1,200 bytes. A longer one is shortened, so that 1,000 decisions with the longest names that a client
# can send take less than 2 MB together with the rest of the page's memory.
MAX_LINE_BYTES: Final = 1600
# How a line that is still too long without its nulls is shortened: the characters of each text and the entries of each list
# that are kept. Each pair applies if the one before it is not enough.
_CUTS: Final = ((64, 4), (16, 2))
_KEPT_WHOLE: Final = frozenset({"request_id", "outcome", "reason", "form"})
# ``detail`` is the service's own sentence with the cause and the remedy: no text of a client may take its place. The longest
# one, about a reader role, has some 320 characters.
_DETAIL_CHARS: Final = 400
_LINE_OPTIONS: Final = orjson.OPT_UTC_Z

Fields = dict[str, Any]


class Line(NamedTuple):
    """One decision.

    Attributes:
        number: the number of the decision since the start of the service; the first one has 1.
        json: the fields of its audit line, and ``time``, as a JSON object.
    """

    number: int
    json: bytes


class RecentDecisions:
    """The latest decisions, oldest first.

    Attributes:
        reasons: counts the decisions by reason; an approval counts as ``allowed``.
        caches: counts the look-ups by cache and result.
        agents: the tasks that presented credentials.
        unrecorded: the number of decisions that could not be recorded because of a bug.
    """

    def __init__(self, clock: Clock, timer: Timer, most: int = MAX_DECISIONS) -> None:
        self._clock = clock
        self._lines: deque[bytes] = deque(maxlen=most)
        self._count = 0
        self.reasons = Rates(timer)
        self.caches = Rates(timer)
        self.agents = AgentsSeen()
        self.unrecorded = 0

    def note(self, trail: DecisionRecord, error: AuthError | None, seconds: float) -> None:
        """Record a decision. This never raises: the page must not change a decision."""
        try:
            self._note(trail, error, seconds)
        except Exception:  # noqa: BLE001 - likewise; the page shows the number of decisions that are missing
            self.unrecorded += 1

    def lines(self) -> list[Line]:
        """Return the recorded decisions, newest first. This copies references only."""
        lines = list(self._lines)
        return [Line(self._count - index, line) for index, line in enumerate(reversed(lines))]

    @property
    def count(self) -> int:
        """The number of decisions recorded since the start of the service."""
        return self._count

    def _note(self, trail: DecisionRecord, error: AuthError | None, seconds: float) -> None:
        now = self._clock()
        line = encode_line({"time": now, **decision_fields(trail, error, seconds)})
        # orjson leaves its whole buffer allocated behind the text, up to 16 KB. The copy has the size of the text.
        self._lines.append(bytes(memoryview(line)))
        self._count += 1
        reason = None if error is None else error.reason
        self.reasons.count("allowed" if reason is None else reason.value)
        for cache, call in (("identity", trail.sts), ("role", trail.iam)):
            if call.cache != NONE:
                self.caches.count(f"{cache} {call.cache}")
        # Everybody has roles in some account, so only tasks of listed accounts are remembered.
        if trail.principal is not None and reason is not Reason.ACCOUNT_NOT_AUTHORIZED:
            self.agents.note(trail, reason, now)


def encode_line(fields: Fields) -> bytes:
    """Return the JSON of a decision, shortened to `MAX_LINE_BYTES`."""
    line = _encode(fields)
    if len(line) <= MAX_LINE_BYTES:
        return line
    present = _without_nulls(fields)
    line = _encode(present)
    for most_chars, most_entries in _CUTS:
        if len(line) <= MAX_LINE_BYTES:
            return line
        line = _encode(
            {
                name: value
                if name in _KEPT_WHOLE
                else _shorten(value, _DETAIL_CHARS if name == "detail" else most_chars, most_entries)
                for name, value in present.items()
            }
        )
    if len(line) <= MAX_LINE_BYTES:
        return line
    # Control characters take six bytes each in JSON. What a client cannot choose is kept.
    return _encode({name: _shorten(fields.get(name), _DETAIL_CHARS, 0) for name in _ALWAYS})


_ALWAYS: Final = (
    "time",
    "outcome",
    "reason",
    "detail",
    "request_id",
    "client",
    "form",
    "principal",
    "sts",
    "iam",
    "duration_ms",
)


def _encode(fields: Fields) -> bytes:
    return orjson.dumps(fields, default=repr, option=_LINE_OPTIONS)


def _without_nulls(fields: Fields) -> Fields:
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


def _shorten(value: Any, most_chars: int, most_entries: int) -> Any:
    match value:
        case str():
            return value if len(value) <= most_chars else f"{value[:most_chars]}..."
        case dict():
            return {name: _shorten(each, most_chars, most_entries) for name, each in value.items()}
        case list():
            return [_shorten(each, most_chars, most_entries) for each in value[:most_entries]]
        case _:
            return value
