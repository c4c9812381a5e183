"""The interface of the store that replicas share. The caches use it, because the store may have newer answers than they do.

The store contains AWS's answers, but no decisions. It may fail at any moment: no method raises an error of the store, and
each method returns within a bounded time. Without a store, or if the store does not answer, each replica works alone.
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
            key: all inputs of the answer, or a collision-free digest of them; equal on every replica. Only a keyed hash of
                the key is sent to the store.
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
            False if another replica announced a call for this record at most ``seconds`` ago. True otherwise, and if the
            store does not answer.
        """

    def release(self, kind: Kind, key: bytes) -> None:
        """Withdraw the announcement of `claim`, without waiting for the store.

        The store withdraws it only after it has stored all records that this replica sent before.
        """

    async def take(self, budget: str, rate: float, burst: float) -> float:
        """Take a turn in a budget that all replicas share.

        Args:
            budget: the name of the budget.
            rate: turns a second, over zero; equal on every replica.
            burst: how many turns may come at the same time, at least one.

        Returns:
            Seconds to wait before the turn, at most `app.store.budget.MAX_WAIT_SECONDS`. The maximum means that no turn was
            taken. Zero if the store does not answer. The caller's own rate limit applies in addition.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store is reached, and how long records may live.

    Attributes:
        address: the address of Redis or Valkey.
        ca_file: certificates to trust for the store instead of certifi's.
        max_role_seconds: the longest lifetime of a role's record: the larger of ``KMESH_AWSIAM_ROLE_TTL`` and
            ``KMESH_AWSIAM_ROLE_MAX_STALE``.
        answer_seconds: how many seconds an answer may take; a decision waits at most for this time.
    """

    address: StoreAddress
    ca_file: str | None = None
    max_role_seconds: float
    answer_seconds: float = ANSWER_SECONDS
