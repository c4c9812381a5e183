"""When to renew, how long to wait after a failure, and when to give up. Pure: moments and chance come in.

``chance`` is a number from 0 up to 1, drawn anew for each call. It spreads what would else happen to all proxies of a
deployment in the same second.
"""

from datetime import datetime, timedelta
from typing import Final

from app.tokens.claims import MAX_VALIDITY_SECONDS

# A credential costs nothing to renew: early, so that ten of fifteen minutes are left when it cannot be.
CREDENTIAL_SHARE: Final = 1 / 3
# A token costs a decision: late, and a third of its life is left for an outage.
TOKEN_SHARE: Final = 2 / 3
# The part of that time by which a renewal comes earlier, at most.
JITTER_SHARE: Final = 0.2

# However short the life is: an AWS session at its end gives a credential that has ended as soon as it is there.
MIN_RENEWAL_SECONDS: Final = 5.0

FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 60.0
# A service can ask for patience, but nobody can ask for so much that the file ends over it.
MAX_RETRY_AFTER_SECONDS: Final = 300.0
# Less than this is left: the health check fails. kuma-dp needs about as long to start.
NEAR_END_SECONDS: Final = 60.0
# Of what lives shortly it is this part. The service gives a token again until half of its life is over, and of the rest the
# agent leaves a third: a sixth of the whole is left when a renewal is due, and half of that bridges a failure or two.
NEAR_END_SHARE: Final = 1 / 12


def believed_end(now: datetime, ends: datetime) -> datetime:
    """Return until when to rely on a token file: until the token's end, but for 86,400 s from now at most.

    The service issues no token that lives longer. Without this limit the agent would renew a token that ends in 2100 in
    2071.
    """
    return min(ends, now + timedelta(seconds=MAX_VALIDITY_SECONDS))


def renewal_at(obtained: datetime, ends: datetime, share: float, chance: float) -> datetime:
    """Return when to renew what holds from ``obtained`` to ``ends``: after a share of its life, or somewhat earlier.

    Never at once, though: that would be a loop without a pause.
    """
    wait = (ends - obtained) * share * (1 - JITTER_SHARE * chance)
    return obtained + max(wait, timedelta(seconds=MIN_RENEWAL_SECONDS))


def retry_pause(failures: int, retry_after: float | None, chance: float) -> timedelta:
    """Return how long to wait after so many failures in a row.

    The pause doubles, from 0.5 to 1 second up to a minute. The pause is at least what the service asked for
    (``Retry-After``), but at most 300 s.
    """
    longest = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 30))
    pause = longest * (1 + chance) / 2
    if retry_after is not None:
        asked = min(retry_after, MAX_RETRY_AFTER_SECONDS)
        # Without jitter all agents that were rejected at one moment would retry at one moment. The jitter keeps to the
        # maximum too.
        latest = min(asked * (1 + JITTER_SHARE), MAX_RETRY_AFTER_SECONDS)
        pause = max(pause, asked + (latest - asked) * chance)
    return timedelta(seconds=pause)


def is_hopeless(now: datetime, failing_since: datetime, valid_until: datetime | None, patience: timedelta) -> bool:
    """Tell whether to give up on a failure that nothing but somebody's change can end.

    Roles and tags take minutes until they are seen everywhere, so it must have lasted; and as long as the file that is
    there still holds, the proxy works, and to end would make things worse.
    """
    return now - failing_since >= patience and (valid_until is None or valid_until <= now)


def near_end(life: timedelta | None) -> timedelta:
    """Return how little may be left of what lives so long, before a proxy that opens a stream with it may come too late.

    Without a known life it is a minute, as for everything that lives 12 minutes or longer.
    """
    longest = timedelta(seconds=NEAR_END_SECONDS)
    return longest if life is None else min(longest, life * NEAR_END_SHARE)
