"""Pauses after failures: exponential, with jitter, for each party that the controller calls and for each secret."""

import random
import time
from collections.abc import Callable
from typing import Final

from app.controller.reasons import Api, Call, CallError
from app.local.clock import Timer

FIRST_PAUSE_SECONDS: Final = 2.0
LAST_PAUSE_SECONDS: Final = 60.0

_APIS: Final = {
    Call.LIST_TASKS: Api.ECS,
    Call.DESCRIBE_TASKS: Api.ECS,
    Call.DESCRIBE_TASK_DEFINITION: Api.ECS,
    Call.GET_ROLE: Api.IAM,
    Call.GET_SECRET_VALUE: Api.SECRETS,
    Call.PUT_SECRET_VALUE: Api.SECRETS,
    Call.UPDATE_SECRET_VERSION_STAGE: Api.SECRETS,
    Call.ISSUE_TOKEN: Api.ISSUER,
}


def pause_seconds(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures in a row: at first 1 to 2 s, then twice as long, at most 30 to 60 s.

    Args:
        failures: the number of failures in a row, from 1.
        chance: a random number from 0 up to 1. Replicas that failed together then do not try again together.
    """
    longest = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30))
    return longest * (1 + chance) / 2


class Pauses:
    """The parties that are not called for a while, because they throttle, fail or do not answer."""

    def __init__(self, timer: Timer = time.monotonic, chance: Callable[[], float] = random.random) -> None:
        self._timer = timer
        self._chance = chance
        self._failures: dict[Api, int] = dict.fromkeys(Api, 0)
        self._until: dict[Api, float] = dict.fromkeys(Api, float("-inf"))

    def is_paused(self, api: Api) -> bool:
        """Whether a party is not to be called now."""
        return self._timer() < self._until[api]

    def ends_at(self, api: Api) -> float:
        """Return when the pause of a party ends, in seconds of the timer."""
        return self._until[api]

    def note(self, error: CallError) -> bool:
        """Begin a pause if the failure is not about one secret or one task only. Return whether it began."""
        api, now = _APIS[error.call], self._timer()
        # Several calls that were under way together fail together. They count as one failure.
        if not error.failure.is_general or now < self._until[api]:
            return False
        self._failures[api] += 1
        self._until[api] = now + pause_seconds(self._failures[api], self._chance())
        return True

    def succeeded(self, api: Api) -> None:
        """Forget the failures of a party, because a call to it succeeded."""
        self._failures[api] = 0
