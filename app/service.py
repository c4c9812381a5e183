"""The composition root: it creates all objects of the service from the settings. Only this module imports all packages."""

import asyncio
import contextlib
import functools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from app.api.application import Guard, build_api, build_diagnostics
from app.api.authenticate import AuthenticateEndpoint, Observers
from app.api.caller_guard import PROBES, CallerGuard, UnknownCallers
from app.api.decisions_page import DecisionsPage
from app.api.known_calls import KnownCalls
from app.api.tokens import TokenWays
from app.calls.options import CallOptions
from app.calls.waiting_places import WaitingPlaces
from app.decision.authenticator import Authenticator, Decider
from app.http.network import open_pool
from app.iam.calls import Roles
from app.iam.client import IamRoles
from app.iam.prefetch import RolePrefetch
from app.iam.preparation import prepare, recover
from app.iam.role_cache import RoleTable
from app.local.addresses import TcpAddress
from app.local.caller_tokens import CallerTokenSource
from app.local.clock import Clock, utc_now
from app.local.tls import ServerTls
from app.page.document import DecisionsDocument
from app.page.recent_decisions import RecentDecisions
from app.page.state import ServiceState
from app.policy.report_only import ReportOnly
from app.settings.accounts import FileAccounts, FixedAccounts
from app.settings.candidate import CandidateFile
from app.settings.environment import Settings
from app.settings.options import (
    decision_policy,
    iam_options,
    network_options,
    store_options,
    token_options,
)
from app.settings.watch import FileWatch, watch_files
from app.store.keys import StoreKeySource
from app.store.port import Store
from app.sts.calls import StsIntroductions
from app.sts.client import StsClient
from app.sts.known_credentials import KnownCredentials
from app.sts.known_keys import KnownKeys
from app.telemetry.metrics import Metrics, Queue
from app.telemetry.readiness import Readiness
from app.telemetry.untraced import TracingError, Untraced
from app.telemetry.upstream_states import Upstream
from app.tokens.authenticator import TokenAuthenticator
from app.tokens.codec import looks_like_token
from app.tokens.key_files import SigningKeySource
from app.tokens.signer import SigningIssuer

if TYPE_CHECKING:
    from app.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of a running service.

    Attributes:
        api: the application of the main listener.
        diagnostics: the application of the second listener; None if there is no second listener.
        readiness: the state that ``/ready`` reports.
        wait_until_idle: returns when no decision is in progress.
        reload: reads all watched files again, even if they did not change, and drops all signed tokens, so that the service
            signs new ones.
        tls: the TLS context of the main listener; None without TLS.
        watches: the files that the service reads again when they change, such as certificates, keys and caller tokens.
    """

    api: ASGIApp
    diagnostics: ASGIApp | None
    readiness: Readiness
    wait_until_idle: Callable[[], Awaitable[object]]
    reload: Callable[[], None]
    tls: ssl.SSLContext | None
    watches: tuple[FileWatch, ...]


@contextlib.asynccontextmanager
async def open_service(settings: Settings, clock: Clock = utc_now) -> AsyncIterator[Service]:
    """Create the service inside the running event loop. Close its clients at the end."""
    async with _open_tracing(settings) as tracing, _open_service(settings, tracing, clock) as service:
        yield service


@contextlib.asynccontextmanager
async def _open_tracing(settings: Settings) -> "AsyncIterator[Untraced | Tracing]":
    if not settings.tracing:
        yield Untraced()
        return
    async with contextlib.AsyncExitStack() as stack:
        try:
            # This import is here because its packages are an extra. They read some of their variables at the import.
            from app.telemetry.tracing import open_tracing  # noqa: PLC0415

            tracing = await stack.enter_async_context(open_tracing())
        except ValueError as error:
            raise TracingError(
                "a number in an OTEL_* variable is invalid; correct it, or unset the OTEL_* variables"
            ) from error
        yield tracing


@contextlib.asynccontextmanager
async def _open_service(settings: Settings, tracing: "Untraced | Tracing", clock: Clock) -> AsyncIterator[Service]:
    metrics = tracing.metrics
    readiness = Readiness(without_tls=settings.upstreams_without_tls)
    unknown = UnknownCallers(metrics)
    tokens = None if settings.caller_token_file is None else CallerTokenSource(settings.caller_token_file)
    tls = (
        None
        if settings.tls_files is None
        else ServerTls(settings.tls_files, functools.partial(unknown.note, "certificate"))
    )
    accounts = _accounts(settings, metrics)
    keys = None if settings.store_key_file is None else StoreKeySource(settings.store_key_file)
    signing = _signing_keys(settings)
    candidate = None if settings.candidate_policy is None else CandidateFile(settings.candidate_policy, metrics)
    watches = _watches(accounts, candidate, tokens, tls, keys, metrics)
    if signing is not None:
        watches += (FileWatch("signing_keys", lambda: signing.paths, signing.load, metrics, warnings=signing.warnings),)
    async with contextlib.AsyncExitStack() as resources:
        sts, iam = await resources.enter_async_context(_open_clients(settings, metrics))
        store = await resources.enter_async_context(_open_store(settings, keys, metrics, clock))
        places = WaitingPlaces()
        options = CallOptions(
            rate=settings.iam_rate,
            attempt_seconds=network_options(settings).total_timeout,
            store=store,
            places=places,
        )
        table = RoleTable(metrics, ttl=settings.role_ttl, max_stale=settings.role_max_stale)
        roles = Roles(iam, table, accounts, options)
        resources.push_async_callback(roles.close)
        known = KnownCredentials(clock, metrics=metrics)
        policy = decision_policy(settings, accounts)
        introductions = StsIntroductions(
            sts,
            known,
            KnownKeys(accounts),
            accounts,
            clock,
            replace(options, rate=settings.sts_rate),
            roles,
        )
        resources.push_async_callback(introductions.close)
        _report_state(metrics, {"sts": introductions.order, "iam": roles.order}, tls, signing)
        authenticator: Decider = Authenticator(
            policy, known, tracing.introductions(introductions), tracing.roles(roles), clock, tracing.steps
        )
        if signing is not None:
            authenticator = TokenAuthenticator(authenticator, policy, lambda: signing.keys, clock)
        recent = RecentDecisions(clock, time.monotonic) if settings.decisions_page else None
        endpoint = AuthenticateEndpoint(
            authenticator,
            KnownCalls(known),
            metrics,
            readiness,
            settings.decision_timeout,
            waits_for_nobody=None if signing is None else looks_like_token,
            audience=settings.audience,
            observers=Observers(
                report_only=None if candidate is None else ReportOnly(candidate.current, metrics), recent=recent
            ),
        )
        ways = None
        forget: list[Callable[[], None]] = []
        if signing is not None:
            issuer = SigningIssuer(token_options(settings), lambda: signing.keys, metrics, clock)
            resources.callback(issuer.close)
            ways = TokenWays(endpoint, issuer)
            forget.append(issuer.forget)
        own_diagnostics = settings.diagnostics_listen is not None
        state = ServiceState(
            readiness=readiness,
            queues={"sts": introductions.order, "iam": roles.order},
            upstreams=metrics.states,
            in_flight=lambda: endpoint.decisions,
            cache_entries={"identity": known.__len__, "role": table.__len__},
            files=lambda: [watch.state() for watch in watches],
            certificates=lambda: {} if tls is None else tls.validity,
            keys=lambda: () if signing is None else signing.dates,
        )
        preparing = prepare(
            iam,
            readiness,
            RolePrefetch(roles, accounts, partition=settings.partition, ttl=settings.role_ttl)
            if settings.role_prefetch
            else None,
            accounts=settings.authorized_accounts,
            has_reader_role=settings.reader_role_name is not None,
        )
        tasks = [asyncio.create_task(preparing), asyncio.create_task(recover(iam))]
        if watches:
            tasks.append(asyncio.create_task(watch_files(watches)))
        try:
            yield Service(
                api=build_api(
                    endpoint,
                    metrics,
                    readiness,
                    with_probes=not own_diagnostics,
                    guard=None if tokens is None else _guard(settings, tokens, unknown),
                    ways=ways,
                    trace=tracing.api,
                ),
                diagnostics=build_diagnostics(metrics, readiness, page=_decisions_page(settings, recent, state, clock))
                if own_diagnostics
                else None,
                readiness=readiness,
                wait_until_idle=endpoint.wait_until_idle,
                reload=lambda: _reload(watches, forget),
                tls=None if tls is None else tls.context,
                watches=watches,
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _open_store(
    settings: Settings, keys: StoreKeySource | None, metrics: Metrics, clock: Clock
) -> AsyncIterator[Store | None]:
    sharing = store_options(settings)
    if sharing is None or keys is None:
        yield None
        return
    # This import is here because a service without a store does not need the Redis client, and so does not load it.
    from app.store.redis_store import open_store  # noqa: PLC0415

    async with open_store(sharing, keys, metrics, clock) as store:
        yield store


@contextlib.asynccontextmanager
async def _open_clients(settings: Settings, metrics: Metrics) -> AsyncIterator[tuple[StsClient, IamRoles]]:
    network = network_options(settings)
    pool = open_pool(network)
    iam = IamRoles(iam_options(settings), pool, network, metrics)
    try:
        yield StsClient(pool, network, metrics, settings.own_sts_url), iam
    finally:
        iam.close()
        await pool.close()


def _decisions_page(
    settings: Settings, recent: RecentDecisions | None, state: ServiceState, clock: Clock
) -> DecisionsPage | None:
    listener = settings.decisions_page_listener
    if recent is None or listener is None:
        return None
    return DecisionsPage(DecisionsDocument(recent, state, clock), listener)


def _report_state(
    metrics: Metrics, queues: Mapping[Upstream, Queue], tls: ServerTls | None, signing: SigningKeySource | None
) -> None:
    """Let the metrics read what changes without an event."""
    for upstream, queue in queues.items():
        metrics.watch_queue(upstream, queue)
    if tls is not None:
        metrics.file_dates.watch_certificates(lambda: tls.validity)
    if signing is not None:
        metrics.file_dates.watch_keys(lambda: signing.dates)


def _reload(watches: Iterable[FileWatch], forget: Iterable[Callable[[], None]]) -> None:
    for each in forget:
        each()
    for watch in watches:
        asyncio.get_running_loop().run_in_executor(None, functools.partial(watch.check, forced=True))


def _guard(settings: Settings, tokens: CallerTokenSource, unknown: UnknownCallers) -> Guard:
    """Require a caller token on every path. If only this host or task can reach the listener, the probes need no token."""
    reachable = isinstance(settings.listen, TcpAddress) and not settings.listen.is_loopback
    open_paths = () if reachable or settings.diagnostics_listen is not None else PROBES
    return lambda app: CallerGuard(app, tokens, unknown, open_paths)


def _watches(
    accounts: FixedAccounts | FileAccounts,
    candidate: CandidateFile | None,
    tokens: CallerTokenSource | None,
    tls: ServerTls | None,
    keys: StoreKeySource | None,
    metrics: Metrics,
) -> tuple[FileWatch, ...]:
    watches = [accounts.watch] if isinstance(accounts, FileAccounts) else []
    if candidate is not None:
        watches.append(candidate.watch)
    if tls is not None:
        watches.append(FileWatch("tls", tls.files.paths, tls.load, metrics, warnings=tls.files.warnings))
    if tokens is not None:
        watches.append(FileWatch("caller_token", [tokens.path], tokens.load, metrics, warnings=tokens.warnings))
    if keys is not None:
        watches.append(FileWatch("store_key", [keys.path], keys.load, metrics, warnings=keys.warnings))
    return tuple(watches)


def _signing_keys(settings: Settings) -> SigningKeySource | None:
    files = settings.dataplane_keys_file, settings.zone_keys_file
    return None if files == (None, None) else SigningKeySource(*files)


def _accounts(settings: Settings, metrics: Metrics) -> FixedAccounts | FileAccounts:
    if settings.accounts_file is None:
        return FixedAccounts(settings.authorized_accounts)
    return FileAccounts(settings.accounts_file, metrics, settings.check_accounts)
