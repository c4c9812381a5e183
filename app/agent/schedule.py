"""When to renew, how long to wait after a failure, and when to give up.

The functions are pure: times and random numbers are parameters.

``chance`` is a new random number from 0 up to 1 for each call. It spreads the renewals of the agents that were started
together: otherwise all of them would renew in the same second.
"""

from datetime import datetime, timedelta
from typing import Final

from app.tokens.claims import MAX_VALIDITY_SECONDS

# A new credential needs no call to the service, so the agent renews it early, after a third of its lifetime. If a renewal
# fails, ten of its fifteen minutes are left.
CREDENTIAL_SHARE: Final = 1 / 3
# A new token needs a decision of the service, so the agent renews it late, after two thirds of its lifetime. During an
# outage a third of its lifetime is left.
TOKEN_SHARE: Final = 2 / 3
# Each renewal comes earlier by a random part of that time. This is the largest such part.
JITTER_SHARE: Final = 0.2

# The shortest wait between two renewals. When an AWS session is near its end, its credentials expire within seconds.
MIN_RENEWAL_SECONDS: Final = 5.0

FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 60.0
# The longest ``Retry-After`` that the agent obeys, so that the service cannot delay a renewal until the file expires.
MAX_RETRY_AFTER_SECONDS: Final = 300.0
# If the file expires in less time than this, the health check fails. kuma-dp needs about this time to start.
NEAR_END_SECONDS: Final = 60.0
# For short lifetimes the limit is this fraction of the lifetime. The service reuses a token for half of its lifetime, so a
# new file may have only the other half left, and the agent renews after two thirds of that. So at least a sixth of the
# lifetime is left when a renewal is due. Half of this sixth is enough for one or two failed attempts.
NEAR_END_SHARE: Final = 1 / 12


def believed_end(now: datetime, ends: datetime) -> datetime:
    """Return the expiry to use for a token file: its own expiry, but at most 86,400 s from now.

    The service issues no token with a longer lifetime. Without this limit, a token with an expiry in the year 2100 would
    only be renewed decades from now.
    """
    return min(ends, now + timedelta(seconds=MAX_VALIDITY_SECONDS))


def renewal_at(obtained: datetime, ends: datetime, share: float, chance: float) -> datetime:
    """Return when to renew a file that is valid from ``obtained`` to ``ends``: after the part ``share`` of its lifetime.

    Jitter makes the time slightly earlier. The result is at least 5 s after ``obtained``, so that the agent never renews in
    a loop without a pause.
    """
    wait = (ends - obtained) * share * (1 - JITTER_SHARE * chance)
    return obtained + max(wait, timedelta(seconds=MIN_RENEWAL_SECONDS))


def retry_pause(failures: int, retry_after: float | None, chance: float) -> timedelta:
    """Return how long to wait after this number of failures in a row.

    The first pause is 0.5 to 1 s. Each further pause is twice as long, up to 30 to 60 s. If the service sent
    ``Retry-After``, the pause is at least that long, but a ``Retry-After`` counts as at most 300 s.
    """
    longest = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 30))
    pause = longest * (1 + chance) / 2
    if retry_after is not None:
        asked = min(retry_after, MAX_RETRY_AFTER_SECONDS)
        # Without jitter, all agents that got this answer at the same time would retry at the same time. The pause with
        # jitter also stays within the maximum.
        latest = min(asked * (1 + JITTER_SHARE), MAX_RETRY_AFTER_SECONDS)
        pause = max(pause, asked + (latest - asked) * chance)
    return timedelta(seconds=pause)


def is_hopeless(now: datetime, failing_since: datetime, valid_until: datetime | None, patience: timedelta) -> bool:
    """Return whether the agent gives up after a failure that retries cannot end.

    The failure must have lasted for ``patience``, because changes of roles and tags take minutes to take effect in all of
    AWS. And no valid file may exist any more: with a valid file, the proxy still works.
    """
    return now - failing_since >= patience and (valid_until is None or valid_until <= now)


def near_end(life: timedelta | None) -> timedelta:
    """Return how much of a lifetime must be left, so that a proxy has enough time to open a stream.

    The result is a twelfth of the lifetime, and at most a minute. For an unknown lifetime the result is a minute.
    """
    longest = timedelta(seconds=NEAR_END_SECONDS)
    return longest if life is None else min(longest, life * NEAR_END_SHARE)
