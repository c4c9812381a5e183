"""One storm after the other, each on services of its own or on those of the storm before it, within a bound of time."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from bench.processes import Process, end, free_port
from bench.service import NotThereError, effective_settings, start_service
from bench.storm.catalogue import Storm
from bench.storm.outcome import Outcome
from bench.storm.redis import Redis, kill_half_way, open_redis, redis_program
from bench.storm.sampler import Sample
from bench.storm.stage import Stage, open_stage

PREFETCH: Final = {"KMESH_AWSIAM_ROLE_PREFETCH": "true"}
# One storm may take so long; and a start, a stop and what is printed need some of the time that is left.
LONGEST_STORM: Final = 100.0
_AROUND_A_STORM: Final = 4.0
_OWN_ACCOUNT_SECONDS: Final = 5.0


def play_all(storms: Sequence[Storm], cores: tuple[int, int], ends_at: float) -> list[Outcome]:
    """Play storms, each on a stage of its own; those that restart something share one.

    Args:
        storms: in the order in which they are played.
        cores: that of the service and that of everything else.
        ends_at: when all of it must be over, of the monotonic clock.
    """
    outcomes: list[Outcome] = []
    for group in _by_stage(storms):
        with open_stage(group[0].shape, cores) as stage:
            Scenarios(stage, ends_at, outcomes).play(group)
    return outcomes


def _by_stage(storms: Sequence[Storm]) -> Iterator[list[Storm]]:
    for _, group in itertools.groupby(storms, lambda storm: "" if storm.group == "restart" else storm.name):
        yield list(group)


@dataclass(slots=True)
class Scenarios:
    """Plays the storms of one stage.

    Attributes:
        stage: where.
        ends_at: when all of it must be over, of the monotonic clock.
        outcomes: so far.
    """

    stage: Stage
    ends_at: float
    outcomes: list[Outcome] = field(default_factory=list)

    def play(self, storms: Sequence[Storm]) -> None:
        """Play every storm for which there is time, and the service has what it takes."""
        with ExitStack() as store, ExitStack() as running:
            services = _Services(self.stage, {}, running)
            redis: Redis | None = None
            for storm in storms:
                if storm.setup != "known":
                    running.close()
                    redis = self._redis_for(storm, redis, store)
                    services = _Services(
                        self.stage, _variables(storm, redis), running, replicas=2 if storm.shares_core else 1
                    )
                if storm.needs_redis and redis is None:
                    self._skip(storm, "neither redis-server nor valkey-server is installed")
                    continue
                watch = kill_half_way(redis, storm.shape.sidecars) if redis and storm.setup == "killed" else None
                self._play(storm, services, watch)

    def _redis_for(self, storm: Storm, before: Redis | None, stack: ExitStack) -> Redis | None:
        """Return an empty Redis where a storm begins with one, else the one that there was."""
        program = redis_program()
        if not storm.shares_core or program is None:
            return before
        stack.close()
        return stack.enter_context(open_redis(program, self.stage.folder, self.stage.cores[1]))

    def _play(self, storm: Storm, services: "_Services", watch: Callable[[Sample], None] | None = None) -> None:
        seconds = min(LONGEST_STORM, self.ends_at - time.monotonic() - _AROUND_A_STORM)
        if seconds <= 0:
            self._skip(storm, "no time was left", is_late=True)
            return
        self.stage.behave_like_aws()
        try:
            before = services.up()
        except NotThereError as error:
            self._skip(storm, f"the service does not know {error}")
            return
        emulator = self.stage.emulator
        connections = emulator.app.connections
        outcome = Outcome(storm, handshake=self.stage.handshake)
        outcome.seen = self.stage.play(services.processes, services.ports, storm.shape, seconds, watch)
        calls = emulator.calls
        outcome.sts_calls = calls.count("sts", "GetCallerIdentity") - before
        outcome.get_role_calls = calls.count("iam", "GetRole")
        outcome.page_calls = calls.count("iam", "GetAccountAuthorizationDetails")
        outcome.calls = calls.count()
        outcome.connections = emulator.app.connections - connections
        outcome.throttled = calls.count(outcome="Throttling")
        outcome.memory = max(sample.memory for sample in outcome.seen.samples)
        self._note(outcome, f"{outcome.seen.clients['seconds']:.1f} s")

    def _skip(self, storm: Storm, why: str, *, is_late: bool = False) -> None:
        self._note(Outcome(storm, absent=why, is_late=is_late), f"not there: {why}")

    def _note(self, outcome: Outcome, result: str) -> None:
        self.outcomes.append(outcome)
        print(f"  {outcome.name:14} {outcome.storm.described()}: {result}", flush=True)


def _variables(storm: Storm, redis: Redis | None) -> Mapping[str, str]:
    if storm.setup == "prefetch":
        return PREFETCH
    return redis.variables if storm.needs_redis and redis is not None else {}


class _Services:
    """One service or several replicas, started when they are first needed."""

    def __init__(self, stage: Stage, extra: Mapping[str, str], stack: ExitStack, replicas: int = 1) -> None:
        self.ports = [free_port() for _ in range(replicas)]
        self.processes: list[Process] = []
        self._stage = stage
        self._extra = extra
        self._stack = stack

    def up(self) -> int:
        """Start what is not up yet, count AWS's calls from here on, and return those to STS that are the service's own.

        Raises:
            NotThereError: the service does not know one of the variables.
        """
        calls = self._stage.emulator.calls
        calls.clear()
        if self.processes:
            return 0
        environments = [self._stage.environment(port, self._extra) for port in self.ports]
        effective_settings(environments[0])
        for environment in environments:
            service = start_service(environment, self._stage.cores[0])
            self._stack.callback(end, service)
            self.processes.append(service)
        # Each one asks once whose it is, behind /ready.
        deadline = time.monotonic() + _OWN_ACCOUNT_SECONDS
        while calls.count("sts", "GetCallerIdentity") < len(self.processes) and time.monotonic() < deadline:
            time.sleep(0.01)
        return calls.count("sts", "GetCallerIdentity")
