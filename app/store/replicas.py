"""What replicas share about one kind of call: the answers of the others, their claims, and a common budget.

A replica claims a call when its turn comes, so that the others wait for its answer instead of making the call as well. A
claim promises nothing: whoever can write to the store can make one, and a replica can end before it asks. The same holds for
the common budget. So each call waits for both together no longer than its patience, without a place in any concurrency
limit. A request to the store counts with no more than the store may take: what is beyond is this process, which is late.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from app.store.port import ANSWER_SECONDS, Store
from app.store.sealing import Kind, Opened

# STS answers within 20 to 100 ms. A claim outlives a call and its second attempt.
CLAIM_SECONDS: Final = 10.0
STS_PATIENCE_SECONDS: Final = 0.5
# IAM has a sixtieth of STS's quota, so an answer of another replica is worth a longer wait.
IAM_PATIENCE_SECONDS: Final = 1.5
# A shared budget that uses up the patience of a call is not asked for this time.
DISBELIEVED_SECONDS: Final = 30.0
# The first pause between two looks; each one is twice as long as the one before, up to the last.
_FIRST_PAUSE_SECONDS: Final = 0.02  # no bound: how often a waiting replica looks at first
_LAST_PAUSE_SECONDS: Final = 0.25  # no bound: how often it looks later

_Answer = TypeVar("_Answer")
_Read = Callable[[Opened], _Answer | None]


class Found(NamedTuple, Generic[_Answer]):
    """Another replica has the answer."""

    answer: _Answer


class ComeAgain(NamedTuple):
    """Another replica has claimed the call; look again after so many seconds."""

    seconds: float


class ReplicaWait:
    """What one call has spent on waiting for replicas.

    Attributes:
        left: seconds that it may still wait.
        pause: seconds until the next look.
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
        """Share over a store.

        Args:
            store: where replicas leave their answers.
            kind: of the answers.
            patience: seconds that one call waits for replicas at most, the time that the store takes included.
        """
        self._store = store
        self._kind: Kind = kind
        self.patience = patience
        self._disbelieved_until: dict[str, float] = {}

    async def look(self, key: bytes, read: _Read[_Answer]) -> _Answer | None:
        """Return the answer that another replica left, if ``read`` accepts its record."""
        opened = await self._store.get(self._kind, key)
        return None if opened is None else read(opened)

    async def ask(self, key: bytes, read: _Read[_Answer], wait: ReplicaWait) -> Found[_Answer] | ComeAgain | None:
        """Claim a call, and look for an answer; return None if the call has to be made."""
        if wait.left <= 0:
            return None
        clock = asyncio.get_running_loop().time
        began = clock()
        wait.is_claimed = wait.is_claimed or await self._store.claim(self._kind, key, CLAIM_SECONDS)
        # Looked at after the claim: the replica that had it before leaves its answer first.
        answer = await self.look(key, read)
        took = min(clock() - began, 2 * ANSWER_SECONDS)
        wait.left -= took
        if answer is not None:
            return Found(answer)
        # The next look takes about as long as this one did, and has to end in time.
        if wait.is_claimed or wait.left <= took:
            return None
        again = ComeAgain(min(wait.pause, wait.left))
        wait.left -= again.seconds
        wait.pause = min(2 * wait.pause, _LAST_PAUSE_SECONDS)
        return again

    async def take_turn(self, budget: str, rate: float, burst: float, wait: ReplicaWait) -> float:
        """Take a turn in the budget that replicas share; return the seconds until it comes.

        The wait can only delay a call, and never beyond its patience. If the budget uses that up, somebody else has
        written to it, or far more is asked for than it has. Then only this replica's own rate counts, for 30 s.
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
        """Store an answer for the other replicas. The claim stays until it expires, since they find the answer first."""
        self._store.put(self._kind, key, payload, seconds)
        wait.is_claimed = False

    def give_up_claim(self, key: bytes, wait: ReplicaWait) -> None:
        """Release the claim of a call that stored no answer, so that other replicas can make the call."""
        if wait.is_claimed:
            self._store.release(self._kind, key)
            wait.is_claimed = False
