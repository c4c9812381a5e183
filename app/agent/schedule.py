"""When to renew, how long to wait after a failure, and when to give up.

The functions are pure: times and random numbers are parameters.

``chance`` is a new random number from 0 up to 1 for each call. It spreads the renewals of a deployment, which would
otherwise all happen in the same second.
"""

from datetime import datetime, timedelta
from typing import Final

from app.tokens.claims import MAX_VALIDITY_SECONDS

# A credential costs no call, so it is renewed early: ten of its fifteen minutes are left if a renewal fails.
CREDENTIAL_SHARE: Final = 1 / 3
# A token costs a decision, so it is renewed late: a third of its life is left for an outage.
TOKEN_SHARE: Final = 2 / 3
# The largest random part of that time by which a renewal comes earlier.
JITTER_SHARE: Final = 0.2

# The shortest wait, however short the lifetime is: an AWS session near its end gives a credential that has nearly expired.
MIN_RENEWAL_SECONDS: Final = 5.0

FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 60.0
# The longest ``Retry-After`` that the agent obeys, so that the service cannot delay a renewal until the file expires.
MAX_RETRY_AFTER_SECONDS: Final = 300.0
# With less time left than this, the health check fails. kuma-dp needs about as long to start.
NEAR_END_SECONDS: Final = 60.0
# For short lifetimes the limit is this fraction. The service reuses a token until half of its life is over, and the agent
# renews at two thirds of the rest. So a sixth of the life is left when a renewal is due, and half of that covers one or two
# failures.
NEAR_END_SHARE: Final = 1 / 12


def believed_end(now: datetime, ends: datetime) -> datetime:
    """Return how long to rely on a token file: until its expiry, but at most for 86,400 s from now.

    The service issues no token that lives longer. Without this limit the agent would renew a token that ends in 2100 in
    2071.
    """
    return min(ends, now + timedelta(seconds=MAX_VALIDITY_SECONDS))


def renewal_at(obtained: datetime, ends: datetime, share: float, chance: float) -> datetime:
    """Return when to renew what is valid from ``obtained`` to ``ends``: after a part of its life, or slightly earlier.

    The result is never now: that would be a loop without a pause.
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
        # Without jitter all agents that were rejected at the same time would retry at the same time. The jitter also
        # respects the maximum.
        latest = min(asked * (1 + JITTER_SHARE), MAX_RETRY_AFTER_SECONDS)
        pause = max(pause, asked + (latest - asked) * chance)
    return timedelta(seconds=pause)


def is_hopeless(now: datetime, failing_since: datetime, valid_until: datetime | None, patience: timedelta) -> bool:
    """Return whether to give up on a failure that retries cannot end.

    Changes of roles and tags take minutes to reach every place, so the failure must have lasted. While the existing file is
    valid, the proxy works, and stopping would make things worse.
    """
    return now - failing_since >= patience and (valid_until is None or valid_until <= now)


def near_end(life: timedelta | None) -> timedelta:
    """Return the shortest time that may be left of a given lifetime, so that a proxy can still open a stream.

    For an unknown lifetime the result is a minute, as for every lifetime of 12 minutes or more.
    """
    longest = timedelta(seconds=NEAR_END_SECONDS)
    return longest if life is None else min(longest, life * NEAR_END_SHARE)
