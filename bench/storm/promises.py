"""How long a storm must take at least, and what is promised about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.storm.scenarios import Outcome
from bench.storm.stage import IAM_QUOTA, STS_QUOTA
from bench.storm.world import ACCOUNTS

MOST_RATIO: Final = 1.25
HANDFUL: Final = 5
# Two replicas share the one core that is the service's here. No time is promised for them; and a GetRole whose decision ends
# before its answer comes, since there was no core for it, is asked once more.
_HALF_A_CORE: Final = frozenset({"pair", "killed"})


@dataclass(frozen=True, slots=True)
class Bound:
    """What the rates towards AWS allow at best, for the fullest account.

    Attributes:
        credentials: of that account.
        roles: likewise.
        sts_rate: calls a second.
        iam_rate: likewise.
    """

    credentials: int
    roles: int
    sts_rate: float
    iam_rate: float

    @property
    def sts(self) -> float:
        """Seconds for its credentials."""
        return self.credentials / self.sts_rate

    @property
    def iam(self) -> float:
        """Seconds for its roles, one by one."""
        return self.roles / self.iam_rate

    def of(self, outcome: Outcome) -> float:
        """Return the seconds that a storm takes at least; 0 where nobody has to be asked."""
        if outcome.name in {"known", "redis"}:
            return 0.0
        return self.sts if outcome.cached else max(self.sts, self.iam)


def bounds_of(settings: dict[str, str], credentials: int, roles: int) -> tuple[Bound, Bound]:
    """Return the bound of the service's own budgets (AWS's where it has none), and that of AWS's quotas."""
    sts, iam = (
        float(settings.get(f"KMESH_AWSIAM_{name}_RATE", quota))
        for name, quota in (("STS", STS_QUOTA), ("IAM", IAM_QUOTA))
    )
    return Bound(credentials, roles, sts, iam), Bound(credentials, roles, STS_QUOTA, IAM_QUOTA)


def promises(outcomes: Sequence[Outcome], own: Bound, sidecars: int, roles: int) -> list[tuple[bool, str]]:
    """Return what was promised about each storm, and whether it held."""
    held = []
    for outcome in outcomes:
        if outcome.seen is None:
            continue
        clients, bound = outcome.seen.clients, own.of(outcome)
        bad = {
            "sidecars never admitted": sidecars - len(clients["admitted"]),
            "valid sidecars denied": sum(clients["denied"].values()),
            "wrong identities": clients["wrong"],
            "impostors admitted": clients["impostors"].get("allowed", 0),
            "errors": sum(clients["errors"].values()),
        }
        found = ", ".join(f"{number:,} {name}" for name, number in bad.items() if number)
        held.append((not found, f"{outcome.name}: every sidecar is admitted, and nobody else ({found or 'so it was'})"))
        if outcome.name != "killed":
            held.append((not outcome.throttled, f"{outcome.name}: no throttling ({outcome.throttled:,} answers)"))
            held += _calls_promised(outcome, sidecars, roles)
        if bound and outcome.name not in _HALF_A_CORE:
            ratio = max(clients["admitted"], default=float("inf")) / bound
            words = f"{outcome.name}: within {MOST_RATIO:g} times the least of {bound:.1f} s ({ratio:.2f} times)"
            held.append((ratio <= MOST_RATIO and not bad["sidecars never admitted"], words))
    return held


def _calls_promised(outcome: Outcome, sidecars: int, roles: int) -> list[tuple[bool, str]]:
    name, sts, get_role = outcome.name, outcome.sts_calls, outcome.get_role_calls
    if name in {"known", "redis"}:
        return [(not sts and not get_role, f"{name}: AWS is not asked ({sts:,} calls to STS, {get_role:,} to IAM)")]
    promised = [(sts == sidecars, f"{name}: one STS call a credential ({sts:,} for {sidecars:,})")]
    if outcome.cached:
        iam = get_role + outcome.page_calls
        most = HANDFUL * len(ACCOUNTS)
        return [*promised, (iam <= most, f"{name}: a handful of calls to IAM an account ({iam:,} in {len(ACCOUNTS)})")]
    if name in _HALF_A_CORE:
        return promised
    return [*promised, (get_role <= roles, f"{name}: at most one GetRole a role ({get_role:,} for {roles:,})")]
