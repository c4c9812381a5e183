"""What replicas share for one kind of call to AWS: answers, claims, and a budget.

Before a replica makes a call, it claims the call in the store. Then the other replicas wait for its answer instead of making
the same call. A claim guarantees nothing: anybody who can write to the store can make one, and a replica can end before its
call. The shared budget guarantees nothing either. So the time that one call waits for claims and for the budget is limited:
its patience. While it waits, the call takes no place in a concurrency limit. Each request to the store counts with at most
the store's time limit, because any further delay comes from this process.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from app.store.port import ANSWER_SECONDS, Store
from app.store.sealing import Kind, Opened

# A claim must outlast a call, which takes at most 8 s: two attempts of 4 s.
CLAIM_SECONDS: Final = 10.0
# STS answers within 20 to 100 ms.
STS_PATIENCE_SECONDS: Final = 0.5
# IAM allows about a sixtieth of the calls that STS allows. So it is worth waiting longer for another replica's answer.
IAM_PATIENCE_SECONDS: Final = 1.5
# For this time a shared budget is ignored, after a wait for it used up the patience of a call.
DISBELIEVED_SECONDS: Final = 30.0
# The first pause between two look-ups. Each pause is twice as long as the previous one, up to a maximum.
_FIRST_PAUSE_SECONDS: Final = 0.02  # no bound: how often a waiting replica looks at first
_LAST_PAUSE_SECONDS: Final = 0.25  # no bound: how often it looks later

_Answer = TypeVar("_Answer")
_Read = Callable[[Opened], _Answer | None]


class Found(NamedTuple, Generic[_Answer]):
    """Another replica has the answer."""

    answer: _Answer


class ComeAgain(NamedTuple):
    """Another replica has claimed the call: look again after ``seconds``."""

    seconds: float


class ReplicaWait:
    """How long one call may still wait for other replicas.

    Attributes:
        left: seconds that the call may still wait.
        pause: seconds until the next look-up.
        is_claimed: whether this replica has claimed the call.
    """

    __slots__ = ("is_claimed", "left", "pause")

    def __init__(self, patience: float) -> None:
        self.left = patience
        self.pause = _FIRST_PAUSE_SECONDS
        self.is_claimed = False


class Replicas(Generic[_Answer]):
    """The answers, claims and budgets of one upstream in the store."""

    def __init__(self, store: Store, kind: Kind, patience: float) -> None:
        """Share answers over a store.

        Args:
            store: the store with the replicas' answers.
            kind: the kind of the answers.
            patience: the most seconds that one call waits for replicas, including the time that the store takes.
        """
        self._store = store
        self._kind: Kind = kind
        self.patience = patience
        self._disbelieved_until: dict[str, float] = {}

    async def look(self, key: bytes, read: _Read[_Answer]) -> _Answer | None:
        """Return the answer that another replica stored, if ``read`` accepts its record."""
        opened = await self._store.get(self._kind, key)
        return None if opened is None else read(opened)

    async def ask(self, key: bytes, read: _Read[_Answer], wait: ReplicaWait) -> Found[_Answer] | ComeAgain | None:
        """Claim a call, and look for an answer. Return None if this replica has to make the call."""
        if wait.left <= 0:
            return None
        clock = asyncio.get_running_loop().time
        began = clock()
        wait.is_claimed = wait.is_claimed or await self._store.claim(self._kind, key, CLAIM_SECONDS)
        # The claim comes first and the look-up second, because a replica stores its answer before it releases its claim. So
        # if another replica had claimed the call and has released it, this look-up finds the answer.
        answer = await self.look(key, read)
        took = min(clock() - began, 2 * ANSWER_SECONDS)
        wait.left -= took
        if answer is not None:
            return Found(answer)
        # The next look-up takes about as long as this one, and must end before the patience is used up.
        if wait.is_claimed or wait.left <= took:
            return None
        again = ComeAgain(min(wait.pause, wait.left))
        wait.left -= again.seconds
        wait.pause = min(2 * wait.pause, _LAST_PAUSE_SECONDS)
        return again

    async def take_turn(self, budget: str, rate: float, burst: float, wait: ReplicaWait) -> float:
        """Take a turn in the budget that replicas share. Return the seconds until that turn.

        The wait can only delay a call, and never beyond its patience. If the budget uses up the patience, another party has
        written to it, or the demand is far above the budget. Then only this replica's own rate counts, for 30 s.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        if wait.left <= 0 or began < self._disbelieved_until.get(budget, 0.0):
            return 0.0
        self._disbelieved_until.pop(budget, None)
        seconds = await self._store.take(budget, rate, burst)
        wait.left -= min(clock() - began, ANSWER_SECONDS)
        if seconds < wait.left:
            wait.left -= seconds
            return seconds
        self._disbelieved_until[budget] = clock() + DISBELIEVED_SECONDS
        seconds, wait.left = max(0.0, wait.left), 0.0
        return seconds

    def share(self, key: bytes, payload: bytes, seconds: float, wait: ReplicaWait) -> None:
        """Store an answer for the other replicas.

        The claim stays until it expires. It delays no replica, because each finds the answer.
        """
        self._store.put(self._kind, key, payload, seconds)
        wait.is_claimed = False

    def give_up_claim(self, key: bytes, wait: ReplicaWait) -> None:
        """Release the claim of a call that stored no answer, so that other replicas can make the call."""
        if wait.is_claimed:
            self._store.release(self._kind, key)
            wait.is_claimed = False
