"""How long a storm must take at least, and what is promised about it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.storm.catalogue import Storm
from bench.storm.outcome import Outcome
from bench.storm.shape import Shape
from bench.storm.stage import IAM_QUOTA, STS_QUOTA, Seen

REFUSED_SECONDS: Final = 1.0
MOST_MEMORY_MB: Final = 200.0
# Under TLS each connection must carry at least so many calls on average, else they are not reused.
CALLS_A_HANDSHAKE: Final = 10
HANDFUL: Final = 5
_PAGE_ROLES: Final = 100
_ONLY_REASON: Final = "overloaded"

Verdict = tuple[bool, str]


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

    def of(self, storm: Storm) -> float:
        """Return the seconds that a storm takes at least; 0 where nobody has to be asked."""
        if storm.asks_nobody:
            return 0.0
        return self.sts if storm.knows_roles else max(self.sts, self.iam)


def own_bound(settings: Mapping[str, str], shape: Shape) -> Bound:
    """Return the bound of the service's own budgets; of AWS's quotas where it has none."""
    credentials, roles = shape.most_in_one_account()
    sts = settings.get("KMESH_AWSIAM_STS_RATE")
    iam = float(settings.get("KMESH_AWSIAM_IAM_RATE", IAM_QUOTA))
    return Bound(credentials, roles, STS_QUOTA if sts is None else float(sts), iam)


def quota_bound(shape: Shape) -> Bound:
    """Return the bound of AWS's quotas."""
    return Bound(*shape.most_in_one_account(), STS_QUOTA, IAM_QUOTA)


def rate_needed(storm: Storm, settings: Mapping[str, str]) -> float:
    """Return the calls to STS a second, of all accounts, that a storm which keeps to its bound makes."""
    bound = own_bound(settings, storm.shape).of(storm)
    return storm.shape.sidecars / bound if bound else 0.0


def promises(outcomes: Sequence[Outcome], settings: Mapping[str, str]) -> list[Verdict]:
    """Return what was promised about each storm, and whether it held."""
    held: list[Verdict] = []
    for outcome in outcomes:
        held += _promises_of(outcome, own_bound(settings, outcome.storm.shape))
    return held


def _promises_of(outcome: Outcome, own: Bound) -> Iterator[Verdict]:
    name, storm, seen = outcome.name, outcome.storm, outcome.seen
    if outcome.is_late:
        yield False, f"{name}: it is played ({outcome.absent}: give it more with --seconds)"
    if seen is None:
        return
    yield _nobody_else(outcome, seen)
    if storm.setup != "killed":
        yield not outcome.throttled, f"{name}: no throttling is provoked ({outcome.throttled:,} answers of AWS)"
    if storm.shape.is_reported_only:
        return
    yield _everybody(outcome, seen)
    yield from _calls_promised(outcome)
    yield from _refusals_promised(outcome, seen)
    words = f"{name}: at most {MOST_MEMORY_MB:g} MB of memory ({outcome.memory:.0f} MB)"
    yield outcome.memory <= MOST_MEMORY_MB, words
    yield from _time_promised(outcome, seen, own)
    if storm.shape.tls and not storm.asks_nobody:
        words = (
            f"{name}: connections to AWS are reused, for {CALLS_A_HANDSHAKE} calls or more "
            f"({outcome.connections:,} handshakes for {outcome.calls:,} calls)"
        )
        yield outcome.connections * CALLS_A_HANDSHAKE <= outcome.calls, words


def _nobody_else(outcome: Outcome, seen: Seen) -> Verdict:
    found = _found(
        {
            "valid sidecars denied": sum(seen.clients["denied"].values()),
            "wrong identities": seen.clients["wrong"],
            "impostors admitted": seen.clients["impostors"].get("allowed", 0),
        }
    )
    return not found, f"{outcome.name}: nobody valid is denied, and nobody else is admitted ({found or 'none was'})"


def _everybody(outcome: Outcome, seen: Seen) -> Verdict:
    found = _found(
        {
            "sidecars never admitted": outcome.storm.shape.sidecars - len(seen.clients["admitted"]),
            "errors": sum(seen.clients["errors"].values()),
        }
    )
    return not found, f"{outcome.name}: every sidecar is admitted, without an error ({found or 'so it was'})"


def _found(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)


def _refusals_promised(outcome: Outcome, seen: Seen) -> Iterator[Verdict]:
    name = outcome.name
    if outcome.storm.setup != "killed":
        others = {reason: number for reason, number in seen.clients["undecided"].items() if reason != _ONLY_REASON}
        words = f"{name}: no reason but {_ONLY_REASON} ({_found(others) or 'there was none'})"
        yield not others, words
    if not outcome.storm.shares_core:
        slowest = seen.clients["refused_slowest"]
        words = (
            f"{name}: refused answers come back within {REFUSED_SECONDS:g} s (slowest {slowest:.2f} s; the load generator "
            f"itself was late by up to {seen.clients['late']:.2f} s)"
        )
        yield slowest <= REFUSED_SECONDS, words


def _time_promised(outcome: Outcome, seen: Seen, own: Bound) -> Iterator[Verdict]:
    """Two replicas share the one core that is the service's here, so no time is promised for them."""
    bound, most = own.of(outcome.storm), outcome.storm.shape.most_ratio
    if not bound or outcome.storm.shares_core:
        return
    is_whole = len(seen.clients["admitted"]) == outcome.storm.shape.sidecars
    ratio = max(seen.clients["admitted"]) / bound if is_whole else math.inf
    after = f"all admitted after {ratio * bound:.1f} s, {ratio:.2f} times" if is_whole else "not all were admitted"
    yield ratio <= most, f"{outcome.name}: within {most:g} times the least of {bound:.1f} s ({after})"


def _calls_promised(outcome: Outcome) -> Iterator[Verdict]:
    name, storm, shape = outcome.name, outcome.storm, outcome.storm.shape
    sts, get_role = outcome.sts_calls, outcome.get_role_calls
    if storm.asks_nobody:
        yield not sts and not get_role, f"{name}: AWS is not asked ({sts:,} calls to STS, {get_role:,} to IAM)"
        return
    if storm.setup != "killed":
        yield sts == shape.sidecars, f"{name}: one STS call a credential ({sts:,} for {shape.sidecars:,})"
    if storm.knows_roles:
        iam = get_role + outcome.page_calls
        most = shape.accounts * (HANDFUL + shape.most_in_one_account()[1] // _PAGE_ROLES)
        yield iam <= most, f"{name}: a handful of calls to IAM an account ({iam:,} in {shape.accounts})"
    elif not storm.shares_core:
        roles = shape.roles_in_use
        yield get_role == roles, f"{name}: one GetRole a role ({get_role:,} for {roles:,})"
