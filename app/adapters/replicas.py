"""One question that several replicas may be about to ask AWS at the same moment, and that one of them should.

Before a call waits in a queue, the replica claims the question for a moment. While the call waits, and again just before it
goes out, the replica looks at the store: another one may have been answered meanwhile. A claim promises nothing: whoever can
write to the store can make one, and a replica can end before it asks. So the other replicas wait for a moment, without a
place in any bulkhead, and then ask AWS themselves.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from app.adapters.store import Store
from app.sealing import Kind, Opened
from app.trail import SharedWait

# STS answers in some 20 to 100 ms; a claim outlives a call with its second attempt, else the next one's would be taken back.
CLAIM_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 0.5
# IAM has a sixtieth of STS's quota, so a question to it is worth waiting for.
ROLE_PATIENCE_SECONDS: Final = 2.0
# The first pause between two looks; each one is twice as long as the one before, up to the last.
_LOOK_AGAIN_SECONDS: Final = 0.02
_LAST_PAUSE_SECONDS: Final = 0.25

_Answer = TypeVar("_Answer")


class AnsweredElsewhereError(Exception):
    """A replica was answered; nothing needs to be asked any more."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer


class Question(Generic[_Answer]):
    """A question on its way to AWS. In this process it is asked for once: whoever asks the same waits (I19)."""

    def __init__(
        self,
        store: Store,
        kind: Kind,
        key: bytes,
        read: Callable[[Opened], _Answer | None],
        shared_wait: SharedWait | None = None,
    ) -> None:
        """Begin.

        Args:
            store: where replicas leave their answers.
            kind: of the answer.
            key: of the question, the same on every replica.
            read: returns the answer that a record holds, or None for a record that is no answer.
            shared_wait: what is left of the decision's time to wait for other replicas; None: the whole of it.
        """
        self._store = store
        self._kind: Kind = kind
        self._key = key
        self._read = read
        self._shared_wait = shared_wait or SharedWait()
        self._claimed = False
        self._looked_at = float("-inf")

    async def look(self) -> None:
        """Look whether another replica has left an answer.

        Raises:
            AnsweredElsewhereError: with the answer.
        """
        self._looked_at = asyncio.get_running_loop().time()
        opened = await self._store.get(self._kind, self._key)
        answer = None if opened is None else self._read(opened)
        if answer is not None:
            raise AnsweredElsewhereError(answer)

    async def before_queue(self) -> None:
        """Claim the question, or wait for the replica that has.

        The wait is bounded in seconds, including the time that the store takes to answer. The wait counts against the
        decision's `SharedWait`.

        Raises:
            AnsweredElsewhereError: with the answer.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        patience = ROLE_PATIENCE_SECONDS if self._kind == "role" else PATIENCE_SECONDS
        until = began + min(patience, self._shared_wait.left)
        try:
            await self._claim_until(until, clock)
        finally:
            self._shared_wait.left -= clock() - began

    async def _claim_until(self, until: float, clock: Callable[[], float]) -> None:
        pause, asked_at = _LOOK_AGAIN_SECONDS, clock()
        while asked_at < until:
            self._claimed = await self._store.claim(self._kind, self._key, CLAIM_SECONDS)
            # Looked at after the claim: who had it before leaves its answer first.
            await self.look()
            if self._claimed:
                return
            now = clock()
            # The next look takes about as long as this one did, and ends in time.
            left = until - now - (now - asked_at)
            if left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause, asked_at = min(2 * pause, _LAST_PAUSE_SECONDS), clock()

    async def before_turn(self) -> None:
        """End the wait if another replica already has the answer.

        Raises:
            AnsweredElsewhereError: with the answer.
        """
        began = asyncio.get_running_loop().time()
        if self._shared_wait.left <= 0 or began - self._looked_at < _LOOK_AGAIN_SECONDS:
            return
        try:
            await self.look()
        finally:
            self._shared_wait.left -= asyncio.get_running_loop().time() - began

    def answered(self) -> None:
        """Keep the claim until it ends by itself: the answer is in the store, and whoever looks there finds it."""
        self._claimed = False

    def end(self) -> None:
        """Let others ask, where there is no answer for them."""
        if self._claimed:
            self._store.release(self._kind, self._key)
            self._claimed = False
