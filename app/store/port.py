"""The store that replicas share, as the caches see it: it may know more than they do, and may be gone at any moment.

What comes out is AWS's answers and nothing that was decided. None of its methods raises for anything that the store does,
and each comes back within a bound: without a store, or without an answer, the caches work as if they were alone.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from app.store.sealing import Kind, Opened
from app.store.url import StoreAddress

ANSWER_SECONDS: Final = 0.1


class Store(Protocol):
    """What is shared."""

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        """Return a record that a replica wrote and that has not ended.

        Args:
            kind: of the record.
            key: every input of what is remembered, or a digest of them without collisions; the same on every replica. The
                store gets a keyed hash of it.
        """

    def put(self, kind: Kind, key: bytes, payload: bytes, seconds: float) -> None:
        """Share what AWS said just now, without waiting for it; in vain where the store cannot be asked.

        Never what came out of the store: it would live anew.

        Args:
            kind: of the record.
            key: as for `get`.
            payload: of the record.
            seconds: for which it is good; no more than its kind may live.
        """

    async def delete(self, kind: Kind, key: bytes) -> None:
        """Forget a record, as when AWS has taken back what it said.

        In vain where the store cannot be asked: then the record ends by itself, at its time.
        """

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:
        """Say that this replica is about to ask AWS for a record.

        Returns:
            False where another one has said so, at most so many seconds ago. True where the store cannot be asked.
        """

    def release(self, kind: Kind, key: bytes) -> None:
        """Take a claim back, without waiting for it; what was put before is there by then."""

    async def take(self, budget: str, rate: float, burst: float) -> float:
        """Take a turn in a budget that all replicas spend from.

        Args:
            budget: its name.
            rate: turns a second, over zero; every replica says the same.
            burst: turns that may come at once, one at least.

        Returns:
            Seconds to wait before the turn, at most `app.store.budget.MAX_WAIT_SECONDS`, and zero where the store
            cannot be asked. It can only delay what the caller's own pacing allows. That most means that no turn is kept.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store is reached, and how long records may live.

    Attributes:
        address: of Redis or Valkey.
        ca_file: certificates to trust towards it instead of certifi's.
        max_role_seconds: the longest life of a role's record: the larger of the two settings for roles.
        answer_seconds: how long an answer may take; a decision waits for it.
    """

    address: StoreAddress
    ca_file: str | None = None
    max_role_seconds: float
    answer_seconds: float = ANSWER_SECONDS
