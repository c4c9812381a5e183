"""The composition root: settings in, a running service out. The only module that imports everything."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.types import ASGIApp

from app.adapters.accounts import FileAccounts, FixedAccounts
from app.adapters.cache import CachingIdentities, CachingRoles
from app.adapters.guards import GuardedIdentities, GuardedRoles
from app.adapters.iam import IamRoles
from app.adapters.iam_clients import IamOptions
from app.adapters.sts import StsClient, StsOptions
from app.api.application import Guard, build_api, build_diagnostics
from app.api.authenticate import AuthenticateEndpoint
from app.api.caller_guard import PROBES, CallerGuard, UnknownCallers
from app.audit import get_logger
from app.authenticator import AccountList, Authenticator, Clock, DecisionPolicy
from app.callers import CallerTokenSource
from app.core.request_policy import RequestPolicy
from app.metrics import Metrics
from app.readiness import Readiness
from app.settings import Settings
from app.settings_values import TcpAddress
from app.tls import ServerTls
from app.watch import FileWatch, watch_files

# Looking for our own credentials and account: at once, then less and less often.
_FIRST_RETRY_SECONDS: Final = 1.0
_LAST_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is served.

    Attributes:
        api: the application of the main listener.
        diagnostics: that of the second listener, if there is one.
        readiness: the state behind ``/ready``.
        wait_until_idle: comes back when no decision is under way.
        reload: reads again what is read from files, whether it looks changed or not.
        tls: what the main listener is served with, if it is TLS.
        watches: certificates and caller tokens, read again when they change.
    """

    api: ASGIApp
    diagnostics: ASGIApp | None
    readiness: Readiness
    wait_until_idle: Callable[[], Awaitable[object]]
    reload: Callable[[], None]
    tls: ssl.SSLContext | None
    watches: tuple[FileWatch, ...]


def utc_now() -> datetime:
    """Return the clock of this host."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_service(settings: Settings, clock: Clock = utc_now) -> AsyncIterator[Service]:
    """Build the service inside the running event loop; close its clients at the end."""
    metrics = Metrics()
    readiness = Readiness()
    unknown = UnknownCallers(metrics)
    tokens = None if settings.caller_token_file is None else CallerTokenSource(settings.caller_token_file)
    tls = (
        None
        if settings.tls_files is None
        else ServerTls(settings.tls_files, functools.partial(unknown.note, "certificate"))
    )
    accounts = _accounts(settings, metrics)
    watches = _watches(accounts, tokens, tls, metrics)
    sts = StsClient.open(_sts_options(settings), metrics)
    iam = IamRoles(_iam_options(settings), metrics)
    authenticator = Authenticator(
        _policy(settings, accounts),
        CachingIdentities(GuardedIdentities(sts, accounts), accounts, metrics, clock),
        CachingRoles(GuardedRoles(iam), metrics, ttl=settings.role_ttl, max_stale=settings.role_max_stale),
        clock,
    )
    endpoint = AuthenticateEndpoint(authenticator, metrics, readiness, settings.decision_timeout)
    own_diagnostics = settings.diagnostics_listen is not None
    tasks = [asyncio.create_task(_prepare(settings, iam, readiness))]
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
            ),
            diagnostics=build_diagnostics(metrics, readiness) if own_diagnostics else None,
            readiness=readiness,
            wait_until_idle=endpoint.wait_until_idle,
            reload=lambda: _reload(watches),
            tls=None if tls is None else tls.context,
            watches=watches,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        iam.close()
        await sts.close()


def _reload(watches: Iterable[FileWatch]) -> None:
    for watch in watches:
        asyncio.get_running_loop().run_in_executor(None, functools.partial(watch.check, forced=True))


def _guard(settings: Settings, tokens: CallerTokenSource, unknown: UnknownCallers) -> Guard:
    """Every path needs a token; but the probes do not where only this host or task can ask them."""
    reachable = isinstance(settings.listen, TcpAddress) and not settings.listen.is_loopback
    open_paths = () if reachable or settings.diagnostics_listen is not None else PROBES
    return lambda app: CallerGuard(app, tokens, unknown, open_paths)


def _watches(
    accounts: FixedAccounts | FileAccounts, tokens: CallerTokenSource | None, tls: ServerTls | None, metrics: Metrics
) -> tuple[FileWatch, ...]:
    watches = [accounts.watch] if isinstance(accounts, FileAccounts) else []
    if tls is not None:
        watches.append(FileWatch("tls", tls.files.paths, tls.load, metrics))
    if tokens is not None:
        watches.append(FileWatch("caller_token", [tokens.path], tokens.load, metrics))
    return tuple(watches)


def _accounts(settings: Settings, metrics: Metrics) -> FixedAccounts | FileAccounts:
    if settings.accounts_file is None:
        return FixedAccounts(settings.authorized_accounts)
    return FileAccounts(settings.accounts_file, metrics, settings.check_accounts)


def _policy(settings: Settings, accounts: AccountList) -> DecisionPolicy:
    return DecisionPolicy(
        request=RequestPolicy(
            endpoints=settings.accepted_endpoints,
            audience=settings.audience,
            allow_unbound=settings.allow_unbound,
        ),
        accounts=accounts,
        enabled_types=settings.enabled_types,
        require_service=settings.require_service_tag,
        account_meshes=settings.account_meshes,
    )


def _sts_options(settings: Settings) -> StsOptions:
    defaults = StsOptions()
    return StsOptions(
        endpoint_url=settings.own_sts_url,
        proxy_url=settings.https_proxy,
        ca_file=settings.ca_bundle,
        connect_timeout=min(defaults.connect_timeout, settings.decision_timeout / 4),
        total_timeout=min(defaults.total_timeout, settings.decision_timeout / 2),
    )


def _iam_options(settings: Settings) -> IamOptions:
    return IamOptions(
        partition=settings.partition,
        region=settings.own_region,
        sts_url=settings.own_sts_url,
        iam_url=settings.own_iam_url,
        proxy_url=settings.https_proxy,
        ca_file=settings.ca_bundle,
        reader_role_name=settings.reader_role_name,
        reader_external_id=settings.reader_external_id,
    )


async def _prepare(settings: Settings, iam: IamRoles, readiness: Readiness) -> None:
    """Obtain our own credentials, then warn about accounts that we will not be able to read. AWS may come up later."""
    log = get_logger()
    pause = _FIRST_RETRY_SECONDS
    while not await iam.obtain_credentials():
        log.warning("no AWS credentials yet", remedy=readiness.explain(), retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LAST_RETRY_SECONDS)
    readiness.credentials_obtained = True
    pause = _FIRST_RETRY_SECONDS
    while (own_account := await iam.own_account()) is None:
        log.warning("the service's own account could not be found out", retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LAST_RETRY_SECONDS)
    log.info("own account", account=own_account)
    others = sorted(settings.authorized_accounts - {own_account})
    if others and settings.reader_role_name is None:
        log.warning(
            "listed accounts cannot be read",
            accounts=others,
            remedy="set KMESH_AWSIAM_READER_ROLE_NAME to a role in each of them that this service may assume",
        )
