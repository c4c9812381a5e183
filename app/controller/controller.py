"""The process: it makes the parts from the options, makes passes until SIGTERM, and finishes each put before it ends."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from app import __version__
from app.controller.aws_calls import AwsCalls, AwsLimits
from app.controller.control_plane import ApiAccess, ControlPlaneApi
from app.controller.diagnostics import MAX_SILENT_SECONDS, SILENT_INTERVALS, State, serve_diagnostics
from app.controller.ecs import EcsTasks
from app.controller.handling import SecretHandler
from app.controller.issuer import Issuer
from app.controller.metrics import ControllerMetrics
from app.controller.own_keys import OwnKeys
from app.controller.parts import PassOptions, Shared
from app.controller.passes import Identify, Passes, PassResult
from app.controller.reasons import CallError
from app.controller.secrets import Secrets
from app.controller.tasks import Task, TaskIdentity, identity_of_tags
from app.local.addresses import TcpAddress
from app.settings.watch import FileWatch
from app.telemetry.audit import get_logger
from app.telemetry.metrics import Metrics
from app.tokens.key_files import SigningKeyFile, SigningKeySource

if TYPE_CHECKING:
    from app.settings.environment import Settings

# Each pause between two passes is shorter by a random part of this fraction, so that two replicas drift apart.
JITTER_SHARE: Final = 0.1
# ECS kills a container 30 s after SIGTERM, by default.
STOP_SECONDS: Final = 25.0

IdentityMode = Literal["task-tags", "role"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """What the command line says.

    Attributes:
        region: the region of ECS and Secrets Manager.
        clusters: the names or ARNs of the clusters.
        passes: how passes are made.
        default_mesh: the mesh of tasks without the tag ``kuma.io/mesh``.
        interval: seconds from the start of a pass to the start of the next one.
        identity: what decides about a task's identity.
        roles: the service's settings about roles; needed if roles decide.
        api: the control plane's API, if it issues the tokens.
        keys: the signing keys, if they do.
        listen: where the probes listen; None for no probes.
        once: end after one pass.
        limits: the limits of one call to ECS or Secrets Manager.
    """

    region: str
    clusters: tuple[str, ...]
    passes: PassOptions
    default_mesh: str
    interval: float
    identity: IdentityMode
    roles: "Settings | None" = None
    api: ApiAccess | None = None
    keys: SigningKeyFile | None = None
    listen: TcpAddress | None = None
    once: bool = False
    limits: AwsLimits = field(default_factory=AwsLimits)


@dataclass(frozen=True, slots=True)
class Controller:
    """The parts of a running controller.

    Attributes:
        run_pass: makes one pass, with the patience of `Passes.run`.
        handler: handles the secrets.
        shared: metrics, log and clocks.
    """

    run_pass: Callable[[float | None], Awaitable[PassResult]]
    handler: SecretHandler
    shared: Shared


@contextlib.asynccontextmanager
async def open_controller(options: ControllerOptions, shared: Shared) -> AsyncIterator[Controller]:
    """Make the parts inside the running event loop, and close them at the end."""
    with contextlib.ExitStack() as stack:
        calls = AwsCalls(options.region, shared.metrics, options.limits)
        stack.callback(calls.close)
        ecs = EcsTasks(calls, options.clusters, shared.timer)
        secrets = Secrets(calls, options.passes.prefix)
        watches: list[FileWatch] = []
        issuer = _issuer(options, shared, stack, watches)
        handler = SecretHandler(secrets, issuer, options.passes, shared)
        async with contextlib.AsyncExitStack() as roles:
            identify = _identify_by_tags(options.default_mesh)
            begin_pass: Callable[[], None] = _nothing
            if options.roles is not None:
                # This brings pydantic (11 MB) and the client of IAM, which no other mode needs.
                from app.controller.roles import open_role_identities  # noqa: PLC0415

                by_role, account_watches = await roles.enter_async_context(
                    open_role_identities(options.roles, ecs, shared, once=options.once)
                )
                identify, begin_pass = by_role.identity_of, by_role.begin_pass
                watches += account_watches
            passes = Passes(
                ecs, identify, handler, shared, prefix=options.passes.prefix, valid_for=options.passes.valid_for
            )

            async def run_pass(patience: float | None) -> PassResult:
                for watch in watches:
                    await asyncio.to_thread(watch.check)
                begin_pass()
                return await passes.run(patience)

            try:
                yield Controller(run_pass, handler, shared)
            finally:
                await passes.close()


def _nothing() -> None:
    pass


def _identify_by_tags(default_mesh: str) -> Identify:
    async def identify(task: Task, *, may_call: bool) -> TaskIdentity:
        del may_call  # the tags are in the description of the task
        return identity_of_tags(task, default_mesh)

    return identify


def _issuer(
    options: ControllerOptions, shared: Shared, stack: contextlib.ExitStack, watches: list[FileWatch]
) -> Issuer:
    if options.keys is not None:
        source = SigningKeySource(options.keys, None)
        watches.append(
            FileWatch("signing_keys", lambda: source.paths, source.load, Metrics(), warnings=source.warnings)
        )
        return OwnKeys(source, options.passes.valid_for, shared.metrics, shared.clock)
    if options.api is None:
        raise AssertionError("unreachable: the command line requires an issuer")
    api = ControlPlaneApi(options.api, options.passes.valid_for, shared.metrics)
    stack.callback(api.close)
    return api


async def run_controller(options: ControllerOptions, shared: Shared | None = None) -> PassResult:
    """Make passes until SIGTERM or SIGINT, or one pass with ``once``. Return the result of the last pass.

    Raises:
        OSError: the probes cannot listen.
        InsecureEndpointError: an AWS endpoint would get secrets without TLS.
    """
    shared = shared or Shared(metrics=ControllerMetrics())
    silent = max(MAX_SILENT_SECONDS, SILENT_INTERVALS * options.interval)
    state = State(timer=shared.timer, silent_seconds=silent)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # By default SIGHUP would end the process in the middle of a put. Each pass reads changed files anyway.
    loop.add_signal_handler(signal.SIGHUP, _nothing)
    with contextlib.ExitStack() as stack:
        listening = None
        if options.listen is not None and not options.once:
            listening = stack.enter_context(serve_diagnostics(options.listen, state, shared.metrics))
        async with open_controller(options, shared) as controller:
            get_logger().info(
                "controller started",
                version=__version__,
                clusters=list(options.clusters),
                prefix=options.passes.prefix,
                identity=options.identity,
                issuer="signing keys" if options.api is None else str(options.api.server),
                valid_for_seconds=int(options.passes.valid_for.total_seconds()),
                diagnostics=listening,
            )
            result = await _loop(controller, options, state, stopping)
    get_logger().info("controller stopped")
    return result


async def _loop(
    controller: Controller, options: ControllerOptions, state: State, stopping: asyncio.Event
) -> PassResult:
    shared, last = controller.shared, PassResult(is_full=False)
    while not stopping.is_set():
        started = shared.timer()
        # Only passes that are repeated may leave a secret to a later one.
        result = await _pass_or_stop(controller, None if options.once else options.interval, stopping)
        last = result or last
        state.ended_at = shared.timer()
        state.had_full_pass |= result is not None and result.is_full
        if options.once:
            break
        pause = timedelta(seconds=options.interval * (1 - JITTER_SHARE * shared.chance()) + started - shared.timer())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), max(0.0, pause.total_seconds()))
    state.is_stopping = True
    if not controller.handler.is_stopping:  # the signal came between two passes
        await _finish_puts(controller)
    return last


async def _finish_puts(controller: Controller) -> None:
    controller.handler.stop()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(controller.handler.wait_for_puts(), STOP_SECONDS)


async def _pass_or_stop(controller: Controller, patience: float | None, stopping: asyncio.Event) -> PassResult | None:
    """Make a pass. After a signal, wait only for the puts that have begun: a read can be repeated."""
    running = asyncio.ensure_future(controller.run_pass(patience))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((running, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not running.done():
        await _finish_puts(controller)
        running.cancel()
        await asyncio.wait((running,))
    if running.cancelled():
        return None
    error = running.exception()
    if error is None:
        return running.result()
    # A bug must not end the controller, and its text may hold a secret. A failed call is reported where it is made.
    if not isinstance(error, CallError):
        get_logger().error("controller error", secret=None, error=type(error).__name__)
    return None
