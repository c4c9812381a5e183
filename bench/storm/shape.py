"""The shape of a storm: how many take part, over what, and how its callers behave."""

from dataclasses import dataclass
from typing import Final

MOST_ACCOUNTS: Final = 5
# Each presentation of a sidecar, by the moment in which it comes: those of one tuple come together.
STREAMS: Final = {1: ((0,),), 3: ((0, 1), (2,))}
MOST_RATIO: Final = 1.25
MOST_RATIO_OF_UNRULY: Final = 1.5
# With more connections than this, callers that ignore Retry-After are reported and not promised anything.
MOST_IGNORING_CONNECTIONS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Who presents what, and how.

    Attributes:
        accounts: over which the roles are spread; 1 to 5. The first one is the service's own.
        roles: over all accounts.
        sidecars: over all roles; each has a credential of its own.
        presentations: of each credential; 1 or 3.
        connections: kept alive, over all replicas.
        gives_up_after: seconds after which a caller closes its connection and comes again; None: it waits.
        comes_again_after: seconds after which a caller comes again whatever Retry-After says; None: it obeys.
        tls: whether STS and IAM are reached over TLS.
    """

    accounts: int = 3
    roles: int = 200
    sidecars: int = 10_000
    presentations: int = 3
    connections: int = 4_000
    gives_up_after: float | None = None
    comes_again_after: float | None = None
    tls: bool = False

    @property
    def is_reported_only(self) -> bool:
        """Whether no time is promised: too many callers ignore Retry-After."""
        return self.comes_again_after is not None and self.connections > MOST_IGNORING_CONNECTIONS

    @property
    def most_ratio(self) -> float:
        """How many times the bound the storm may take."""
        is_unruly = self.comes_again_after is not None or self.gives_up_after is not None
        return MOST_RATIO_OF_UNRULY if is_unruly else MOST_RATIO

    @property
    def roles_in_use(self) -> int:
        """How many roles have a sidecar."""
        return min(self.roles, self.sidecars)

    def most_in_one_account(self) -> tuple[int, int]:
        """Return how many credentials and roles the fullest account has: its budgets are the bound."""
        credentials, roles = [0] * self.accounts, [0] * self.accounts
        for number in range(self.roles_in_use):
            roles[number % self.accounts] += 1
            credentials[number % self.accounts] += len(range(number, self.sidecars, self.roles))
        return max(credentials), max(roles)

    def __str__(self) -> str:
        words = [
            f"{self.sidecars:,} x {self.presentations}",
            f"{self.roles:,} roles",
            f"{self.accounts} account{'s' if self.accounts > 1 else ''}",
            f"{self.connections:,} connections",
        ]
        if self.gives_up_after is not None:
            words.append(f"callers give up after {self.gives_up_after:g} s")
        if self.comes_again_after is not None:
            words.append(f"callers come again every {self.comes_again_after:g} s")
        if self.tls:
            words.append("TLS to AWS")
        return ", ".join(words)
