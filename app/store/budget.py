"""A budget that replicas share: the generic cell rate algorithm (GCRA), as one script that runs inside the store.

The store keeps one number: the time, by the store's clock, at which no turn will count against the budget any more. Anybody
who can write to the store can set that number. So the script reads at most 32 bytes of it, and ignores a time that is later
than the script itself would set. This module limits the wait once more.
"""

import hashlib
import math
from typing import Final

MAX_WAIT_SECONDS: Final = 2.0
_MICROSECONDS: Final = 1_000_000

# ARGV: the microseconds of one turn, the microseconds of the whole burst, the longest wait in microseconds. If the wait
# would be longer, the script stores nothing. So the stored number stays within the range that the next call checks.
SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.pcall('GETRANGE', KEYS[1], 0, 31)
local whole = type(stored) == 'string' and tonumber(stored) or now
if not (whole >= now and whole <= now + burst + most) then whole = now end
local wait = whole + interval - burst - now
if wait > most then return most end
whole = whole + interval
redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000) + 1)
return math.ceil(math.max(0, wait))
"""
# The store finds the script by this digest (EVALSHA). The digest is not secret, and proves nothing.
SCRIPT_ID: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def script_arguments(rate: float, burst: float) -> tuple[int, int, int]:
    """Return the script's arguments.

    Args:
        rate: turns a second.
        burst: how many turns may come at the same time.

    Raises:
        ValueError: the rate or the burst is out of range.
    """
    if not (math.isfinite(rate) and math.isfinite(burst) and rate > 0 and burst >= 1):
        raise ValueError("a budget has a rate over zero, and at least one turn at once")
    interval = max(1, round(_MICROSECONDS / rate))
    return interval, round(interval * burst), round(MAX_WAIT_SECONDS * _MICROSECONDS)


def read_wait(reply: object) -> float | None:
    """Return the seconds to wait, between zero and `MAX_WAIT_SECONDS`; None for a reply that the script cannot send."""
    if not isinstance(reply, int):
        return None
    return min(max(reply / _MICROSECONDS, 0.0), MAX_WAIT_SECONDS)
