"""One storm after the other, each with something else restarted, within a bound of time."""

import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from bench.processes import Process, end, free_port
from bench.service import NotThereError, effective_settings, service_environment, start_service
from bench.storm.redis import kill_half_way, open_redis, redis_program
from bench.storm.sampler import Sample
from bench.storm.stage import Seen, Stage
from bench.storm.world import ACCOUNTS, EXTERNAL_ID, READER_ROLE

PREFETCH: Final = {"KMESH_AWSIAM_ROLE_PREFETCH": "true"}
# By name, with what must have been played before.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "first": (),
    "known": ("first",),
    "restart": (),
    "prefetch": (),
    "pair": (),
    "redis": ("pair",),
    "killed": (),
}
# One storm may take so long; and a start, a stop and what is printed need some of the time that is left.
LONGEST_STORM: Final = 35.0
_AROUND_A_STORM: Final = 4.0
_OWN_ACCOUNT_SECONDS: Final = 5.0


@dataclass(slots=True)
class Outcome:
    """One storm.

    Attributes:
        name: short, for the table.
        words: what it is, in a sentence.
        absent: why it could not be played; empty if it was.
        seen: what it showed.
        sts_calls: GetCallerIdentity for sidecars.
        get_role_calls: GetRole.
        page_calls: GetAccountAuthorizationDetails.
        throttled: throttling answers of AWS.
        memory: peak resident megabytes.
        cached: whether the roles are known without asking one by one, so that STS alone bounds the storm.
    """

    name: str
    words: str
    absent: str = ""
    seen: Seen | None = None
    sts_calls: int = 0
    get_role_calls: int = 0
    page_calls: int = 0
    throttled: int = 0
    memory: float = 0.0
    cached: bool = False


@dataclass(slots=True)
class Scenarios:
    """Plays them.

    Attributes:
        stage: where.
        ends_at: when all of it must be over, of the monotonic clock.
        wanted: the names of those to play.
        outcomes: so far.
        settings: the service's effective ones.
    """

    stage: Stage
    ends_at: float
    wanted: AbstractSet[str]
    outcomes: list[Outcome] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def play_all(self) -> None:
        """Play every scenario for which there is time, and the service has what it takes."""
        self.settings = effective_settings(self.environment(free_port(), {}))
        with ExitStack() as stack:
            service = _Services(self, {}, stack)
            self._play(Outcome("first", "every cache is empty"), service)
            outcome = Outcome("known", "the control plane alone was restarted: the service knows them all", cached=True)
            self._play(outcome, service)
        with ExitStack() as stack:
            self._play(
                Outcome("restart", "the service was restarted as well, and has no store"), _Services(self, {}, stack)
            )
        with ExitStack() as stack:
            outcome = Outcome("prefetch", "the same with KMESH_AWSIAM_ROLE_PREFETCH=true", cached=True)
            self._play(outcome, _Services(self, PREFETCH, stack))
        self._play_with_redis()

    def _play_with_redis(self) -> None:
        pair = Outcome("pair", "two replicas share an empty Redis; each credential is presented to both")
        restored = Outcome("redis", "one service was started anew on that Redis", cached=True)
        killed = Outcome("killed", "two replicas on an empty Redis, which is killed half-way")
        program = redis_program()
        if program is None:
            for outcome in (pair, restored, killed):
                self._skip(outcome, "neither redis-server nor valkey-server is installed")
            return
        with open_redis(program, self.stage.folder, self.stage.cores[1]) as redis:
            with ExitStack() as stack:
                self._play(pair, _Services(self, redis.variables, stack, replicas=2))
            with ExitStack() as stack:
                self._play(restored, _Services(self, redis.variables, stack))
        with open_redis(program, self.stage.folder, self.stage.cores[1]) as redis, ExitStack() as stack:
            services = _Services(self, redis.variables, stack, replicas=2)
            self._play(killed, services, kill_half_way(redis, len(self.stage.sidecars)))

    def _play(self, outcome: Outcome, services: "_Services", watch: Callable[[Sample], None] | None = None) -> None:
        if outcome.name not in self.wanted:
            return
        seconds = min(LONGEST_STORM, self.ends_at - time.monotonic() - _AROUND_A_STORM)
        if seconds <= 0:
            self._skip(outcome, "no time was left")
            return
        self.stage.behave_like_aws()
        try:
            before = services.up()
        except NotThereError as error:
            self._skip(outcome, f"the service does not know {error}")
            return
        outcome.seen = self.stage.play(services.processes, services.ports, seconds, watch)
        calls = self.stage.emulator.calls
        outcome.sts_calls = calls.count("sts", "GetCallerIdentity") - before
        outcome.get_role_calls = calls.count("iam", "GetRole")
        outcome.page_calls = calls.count("iam", "GetAccountAuthorizationDetails")
        outcome.throttled = calls.count(outcome="Throttling")
        outcome.memory = max(sample.memory for sample in outcome.seen.samples)
        self._note(outcome, f"{outcome.seen.clients['seconds']:.1f} s")

    def _skip(self, outcome: Outcome, why: str) -> None:
        if outcome.name not in self.wanted:
            return
        outcome.absent = why
        self._note(outcome, f"not there: {why}")

    def _note(self, outcome: Outcome, result: str) -> None:
        self.outcomes.append(outcome)
        print(f"  {outcome.name:9} {outcome.words}: {result}", flush=True)

    def environment(self, port: int, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a service on this stage."""
        reader = {"KMESH_AWSIAM_READER_ROLE_NAME": READER_ROLE, "KMESH_AWSIAM_READER_EXTERNAL_ID": EXTERNAL_ID}
        return service_environment(self.stage.emulator, port, {**reader, **extra}, ACCOUNTS)


def with_needed(names: Iterable[str]) -> frozenset[str]:
    """Return the names, and those of the storms that must come before them."""
    return frozenset(needed for name in names for needed in (*NAMES[name], name))


class _Services:
    """One service or several replicas, started when they are first needed."""

    def __init__(self, scenarios: Scenarios, extra: Mapping[str, str], stack: ExitStack, replicas: int = 1) -> None:
        self.ports = [free_port() for _ in range(replicas)]
        self.processes: list[Process] = []
        self._scenarios = scenarios
        self._extra = extra
        self._stack = stack

    def up(self) -> int:
        """Start what is not up yet, count AWS's calls from here on, and return those to STS that are the service's own.

        Raises:
            NotThereError: the service does not know one of the variables.
        """
        calls = self._scenarios.stage.emulator.calls
        calls.clear()
        if self.processes:
            return 0
        environments = [self._scenarios.environment(port, self._extra) for port in self.ports]
        effective_settings(environments[0])
        for environment in environments:
            service = start_service(environment, self._scenarios.stage.cores[0])
            self._stack.callback(end, service)
            self.processes.append(service)
        # Each one asks once whose it is, behind /ready.
        deadline = time.monotonic() + _OWN_ACCOUNT_SECONDS
        while calls.count("sts", "GetCallerIdentity") < len(self.processes) and time.monotonic() < deadline:
            time.sleep(0.01)
        return calls.count("sts", "GetCallerIdentity")
