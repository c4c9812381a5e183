"""One question that several replicas may be about to ask AWS at the same moment, and that one of them should.

Before a call takes its turn, and again just before it goes out, the store is looked at: another replica may have been
answered meanwhile. Who is about to call claims the question for a moment. A claim promises nothing: whoever can write to the
store can make one, and a replica can die with one. So the others wait for a moment and then ask for themselves.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from app.adapters.store import Store
from app.sealing import Kind, Opened

# STS answers in some 20 to 100 ms; a claim outlives a call with its second attempt, else the next one's would be taken back.
CLAIM_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 0.5
# IAM has a sixtieth of STS's quota, so a question to it is worth waiting for.
ROLE_PATIENCE_SECONDS: Final = 2.0
_LOOK_AGAIN_SECONDS: Final = 0.02

_Answer = TypeVar("_Answer")


class AnsweredElsewhereError(Exception):
    """A replica was answered; nothing needs to be asked any more."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer


class Question(Generic[_Answer]):
    """A question on its way to AWS. In this process it is asked for once: whoever asks the same waits (I19)."""

    def __init__(self, store: Store, kind: Kind, key: bytes, read: Callable[[Opened], _Answer | None]) -> None:
        """Begin.

        Args:
            store: where replicas leave their answers.
            kind: of the answer.
            key: of the question, the same on every replica.
            read: returns the answer that a record holds, or None for one that does not do.
        """
        self._store = store
        self._kind: Kind = kind
        self._key = key
        self._read = read
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

    async def before_turn(self) -> None:
        """Ask for no turn where it is not needed any more.

        Raises:
            AnsweredElsewhereError: with the answer.
        """
        if asyncio.get_running_loop().time() - self._looked_at >= _LOOK_AGAIN_SECONDS:
            await self.look()

    async def before_call(self) -> None:
        """Claim the question, or wait for whoever has; no longer than a moment.

        Raises:
            AnsweredElsewhereError: with the answer.
        """
        patience = ROLE_PATIENCE_SECONDS if self._kind == "role" else PATIENCE_SECONDS
        looks = round(patience / _LOOK_AGAIN_SECONDS)
        for _ in range(looks):
            self._claimed = await self._store.claim(self._kind, self._key, CLAIM_SECONDS)
            # Looked at after the claim: who had it before leaves its answer first.
            await self.look()
            if self._claimed:
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def answered(self) -> None:
        """Keep the claim until it ends by itself: the answer is in the store, and whoever looks there finds it."""
        self._claimed = False

    def end(self) -> None:
        """Let others ask, where there is no answer for them."""
        if self._claimed:
            self._store.release(self._kind, self._key)
            self._claimed = False
