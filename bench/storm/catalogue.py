"""The named storms: which there are, what each one shows, and which are played without being asked for.

restart   one shape, each storm with something else restarted
one, three, five
          every cache is empty; so many accounts, by connections, behaviour of the callers and TLS
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from bench.storm.shape import Shape

# What surrounds the storm; "fresh" is a service that was just started, and so are all others but "known".
Setup = Literal["fresh", "known", "prefetch", "pair", "redis", "killed"]
GIVES_UP_SECONDS: Final = 5.0
COMES_AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm that can be asked for by its name.

    Attributes:
        name: short, for the table.
        words: what it shows, in a phrase.
        group: whose plots it is drawn in.
        shape: who takes part.
        setup: what was restarted.
        needs: the storms that must have been played before it, on the same services.
        is_usual: whether it is played without being asked for.
    """

    name: str
    words: str
    group: str
    shape: Shape = field(default_factory=Shape)
    setup: Setup = "fresh"
    needs: tuple[str, ...] = ()
    is_usual: bool = True

    def described(self) -> str:
        """Return what it shows, or its shape where an option has changed that."""
        return self.words if self.shape == STORMS[self.name].shape else f"{self.shape} ({self.setup})"

    @property
    def asks_nobody(self) -> bool:
        """Whether everything is known, so that AWS is not asked."""
        return self.setup in {"known", "redis"}

    @property
    def knows_roles(self) -> bool:
        """Whether the roles are known without asking for them one by one, so that STS alone bounds the storm."""
        return self.setup in {"known", "redis", "prefetch"}

    @property
    def needs_redis(self) -> bool:
        """Whether the services share a Redis."""
        return self.setup in {"pair", "redis", "killed"}

    @property
    def shares_core(self) -> bool:
        """Whether two replicas share the one core that is the service's here."""
        return self.setup in {"pair", "killed"}


RESTARTS: Final = (
    Storm("first", "every cache is empty (three accounts, 4,000 connections)", "restart"),
    Storm("known", "the control plane alone was restarted", "restart", setup="known", needs=("first",)),
    Storm("restart", "the service was restarted as well, and has no store", "restart"),
    Storm("prefetch", "the same with KMESH_AWSIAM_ROLE_PREFETCH=true", "restart", setup="prefetch"),
    Storm("pair", "two replicas share an empty Redis; each credential goes to both", "restart", setup="pair"),
    Storm("redis", "one service was started anew on that Redis", "restart", setup="redis", needs=("pair",)),
    Storm("killed", "two replicas on an empty Redis, which is killed half-way", "restart", setup="killed"),
)
_WORLDS: Final[Mapping[str, Shape]] = {
    "one": Shape(accounts=1),
    "three": Shape(accounts=3),
    "five": Shape(accounts=5, roles=1_000, sidecars=30_000, presentations=1),
}
_CONNECTIONS: Final = {"1k": 1_000, "4k": 4_000, "8k": 8_000}
# Of the storms with empty caches; together with those of RESTARTS they take about five minutes.
_USUAL: Final = frozenset({"one-4k", "five-4k", "one-4k-quits", "one-4k-rude", "one-4k-tls"})


def _with_empty_caches() -> Iterable[Storm]:
    for world, shape in _WORLDS.items():
        for short, connections in _CONNECTIONS.items():
            variants: dict[str, tuple[str, dict[str, Any]]] = {
                f"{world}-{short}": ("", {}),
                f"{world}-{short}-quits": ("; callers give up after 5 s", {"gives_up_after": GIVES_UP_SECONDS}),
            }
            if short != "1k":
                words = "; callers ignore Retry-After and come every second"
                variants[f"{world}-{short}-rude"] = (words, {"comes_again_after": COMES_AGAIN_SECONDS})
            if short == "4k":
                variants[f"{world}-{short}-tls"] = ("; TLS to STS and IAM", {"tls": True})
            for name, (words, more) in variants.items():
                phrase = f"{world} account{'s' if shape.accounts > 1 else ''}, {connections:,} connections{words}"
                yield Storm(
                    name, phrase, world, replace(shape, connections=connections, **more), is_usual=name in _USUAL
                )


STORMS: Final[Mapping[str, Storm]] = {storm.name: storm for storm in (*RESTARTS, *_with_empty_caches())}


def with_needed(names: Iterable[str]) -> list[str]:
    """Return the names and those of the storms that must come before them, in the order in which they are played."""
    wanted = {needed for name in names for needed in (*STORMS[name].needs, name)}
    return [name for name in STORMS if name in wanted]


def chosen(only: Iterable[str] | None, *, everything: bool, changes: Mapping[str, Any]) -> list[Storm]:
    """Return the storms to play.

    Args:
        only: the names that were asked for; None or empty: the usual ones, or those of RESTARTS where `changes` says
            which shape they have.
        everything: play all of them.
        changes: attributes of `Shape`, of every storm that is played.
    """
    names = list(only or ())
    if everything:
        names = list(STORMS)
    elif not names:
        names = [name for name, storm in STORMS.items() if (storm.group == "restart" if changes else storm.is_usual)]
    storms = [STORMS[name] for name in with_needed(names)]
    return [replace(storm, shape=replace(storm.shape, **changes)) for storm in storms]
