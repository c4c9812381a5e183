"""The store that replicas share, as the caches use it. It may have newer answers than they do, and may fail at any moment.

It contains AWS's answers, and no decisions. No method raises an error of the store, and each returns within a bounded time.
Without a store, or without its answer, each replica works alone.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from app.store.sealing import Kind, Opened
from app.store.url import StoreAddress

ANSWER_SECONDS: Final = 0.1


class Store(Protocol):
    """The shared store."""

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        """Return a record that a replica wrote and that has not expired, or None.

        Args:
            kind: the kind of the record.
            key: all inputs of the answer, or a collision-free digest of them; equal on every replica. The store gets only a
                keyed hash of the key.
        """

    def put(self, kind: Kind, key: bytes, payload: bytes, seconds: float) -> None:
        """Store an answer that AWS has just sent, without waiting for the store. Without a store this has no effect.

        Never store a record that came from the store: its lifetime would start again.

        Args:
            kind: the kind of the record.
            key: as for `get`.
            payload: the content of the record.
            seconds: the lifetime of the record; at most that of its kind.
        """

    async def delete(self, kind: Kind, key: bytes) -> None:
        """Delete a record, for example when AWS has withdrawn its answer.

        If the store does not answer, the record stays until it expires.
        """

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:
        """Announce that this replica is about to ask AWS for a record.

        Returns:
            False if another replica announced this at most ``seconds`` ago. True otherwise, and if the store does not
            answer.
        """

    def release(self, kind: Kind, key: bytes) -> None:
        """Withdraw a claim, without waiting for the store. Records that were stored before are there by then."""

    async def take(self, budget: str, rate: float, burst: float) -> float:
        """Take a turn in a budget that all replicas share.

        Args:
            budget: the name of the budget.
            rate: turns a second, over zero; equal on every replica.
            burst: turns that may come at once, one at least.

        Returns:
            Seconds to wait before the turn, at most `app.store.budget.MAX_WAIT_SECONDS`, and zero if the store does not
            answer. The wait only adds to the caller's own rate limit. The maximum means that no turn was taken.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store is reached, and how long records may live.

    Attributes:
        address: the address of Redis or Valkey.
        ca_file: certificates to trust for the store instead of certifi's.
        max_role_seconds: the longest life of a role's record: the larger of the two settings for roles.
        answer_seconds: how many seconds an answer may take; a decision waits for that time.
    """

    address: StoreAddress
    ca_file: str | None = None
    max_role_seconds: float
    answer_seconds: float = ANSWER_SECONDS
