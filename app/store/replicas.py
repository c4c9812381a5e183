"""What replicas share about the calls to AWS: answers, claims, and budgets.

Before a replica makes a call, it claims the call in the store. Then the other replicas wait for its answer instead of making
the same call. A claim guarantees nothing: anybody who can write to the store can make one, and a replica can end before its
call. The shared budget guarantees nothing either. So the time that one call waits for claims and for the budget is limited:
its patience. While it waits, the call takes no place in a concurrency limit. Each request to the store counts with at most
the store's time limit, because any further delay comes from this process.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

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


class Replicas:
    """The answers, claims and budgets of one upstream in the store."""

    def __init__(self, store: Store, kind: Kind, *, patience: float, rate: float, burst: float) -> None:
        """Share answers over a store.

        Args:
            store: the store with the replicas' answers.
            kind: the kind of the answers.
            patience: the most seconds that one call waits for replicas, including the time that the store takes.
            rate: calls per second of one budget.
            burst: calls of one budget that may go out together.
        """
        self.store = store
        self.kind: Kind = kind
        self.patience = patience
        self._rate = rate
        self._burst = burst
        self._disbelieved_until: dict[str, float] = {}

    async def take_turn(self, budget: str, patience: float) -> tuple[float, float]:
        """Take a turn in a budget that replicas share. Return the seconds until that turn, and the patience that is left.

        The wait can only delay a call, and never beyond its patience. If the budget uses up the patience, another party has
        written to it, or the demand is far above the budget. Then only this replica's own rate counts, for 30 s.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        if patience <= 0 or began < self._disbelieved_until.get(budget, 0.0):
            return 0.0, patience
        self._disbelieved_until.pop(budget, None)
        seconds = await self.store.take(budget, self._rate, self._burst)
        patience -= min(clock() - began, ANSWER_SECONDS)
        if seconds < patience:
            return seconds, patience - seconds
        self._disbelieved_until[budget] = clock() + DISBELIEVED_SECONDS
        return max(0.0, patience), 0.0


class SharedCall(Generic[_Answer]):
    """One call to AWS, as replicas share it: its claim, its answer, and how long it may still wait for replicas."""

    __slots__ = ("_budget", "_key", "_left", "_pause", "_read", "_replicas", "is_claimed")

    def __init__(
        self, replicas: Replicas, key: bytes | None, budget: str, read: Callable[[Opened], _Answer | None]
    ) -> None:
        """Begin with the whole patience, and without a claim.

        Args:
            replicas: the answers and budgets of the upstream.
            key: identifies the answer in the store; None if replicas share only the budget of this call.
            budget: the name of the budget.
            read: returns the answer in a record and caches it, or returns None if it does not accept the record.
        """
        self._replicas = replicas
        self._key = key
        self._budget = budget
        self._read = read
        self._left = replicas.patience
        self._pause = _FIRST_PAUSE_SECONDS
        self.is_claimed = False

    async def look(self) -> _Answer | None:
        """Return the answer that another replica stored, or None."""
        if self._key is None:
            return None
        opened = await self._replicas.store.get(self._replicas.kind, self._key)
        return None if opened is None else self._read(opened)

    async def wait_for_answer(self) -> _Answer | None:
        """Claim the call. If another replica has claimed it, wait for that replica's answer.

        Return None if this replica has to make the call.
        """
        clock = asyncio.get_running_loop().time
        store, kind = self._replicas.store, self._replicas.kind
        while self._key is not None and self._left > 0:
            began = clock()
            self.is_claimed = self.is_claimed or await store.claim(kind, self._key, CLAIM_SECONDS)
            # The claim comes first and the look-up second, because a replica stores its answer before it releases its claim.
            # So if another replica had claimed the call and has released it, this look-up finds the answer.
            answer = await self.look()
            took = min(clock() - began, 2 * ANSWER_SECONDS)
            self._left -= took
            if answer is not None:
                return answer
            # The next look-up takes about as long as this one, and must end before the patience is used up.
            if self.is_claimed or self._left <= took:
                return None
            pause = min(self._pause, self._left)
            self._left -= pause
            self._pause = min(2 * self._pause, _LAST_PAUSE_SECONDS)
            await asyncio.sleep(pause)
        return None

    async def take_turn(self) -> float:
        """Take a turn in the budget that replicas share. Return the seconds until that turn."""
        seconds, self._left = await self._replicas.take_turn(self._budget, self._left)
        return seconds

    def share(self, payload: bytes, seconds: float) -> None:
        """Store the answer for the other replicas.

        The claim stays until it expires. It delays no replica, because each finds the answer.
        """
        if self._key is not None:
            self._replicas.store.put(self._replicas.kind, self._key, payload, seconds)
            self.is_claimed = False

    async def delete(self) -> None:
        """Delete the stored answer, because AWS has withdrawn it."""
        if self._key is not None:
            await self._replicas.store.delete(self._replicas.kind, self._key)

    def give_up_claim(self) -> None:
        """Release the claim of a call that stored no answer, so that other replicas can make the call."""
        if self._key is not None and self.is_claimed:
            self._replicas.store.release(self._replicas.kind, self._key)
            self.is_claimed = False
