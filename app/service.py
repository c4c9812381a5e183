"""The composition root: settings in, a running service out. The only module that imports everything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.types import ASGIApp

from app.adapters.cache import CachingIdentities, CachingRoles
from app.adapters.iam import IamRoles
from app.adapters.iam_clients import IamOptions
from app.adapters.sts import StsClient, StsOptions
from app.api.application import build_api, build_diagnostics
from app.api.authenticate import AuthenticateEndpoint
from app.audit import get_logger
from app.authenticator import Authenticator, Clock, DecisionPolicy
from app.core.request_policy import RequestPolicy
from app.metrics import Metrics
from app.readiness import Readiness
from app.settings import Settings

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
    """

    api: ASGIApp
    diagnostics: ASGIApp | None
    readiness: Readiness


def utc_now() -> datetime:
    """Return the clock of this host."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_service(settings: Settings, clock: Clock = utc_now) -> AsyncIterator[Service]:
    """Build the service inside the running event loop; close its clients at the end."""
    metrics = Metrics()
    readiness = Readiness()
    sts = StsClient.open(_sts_options(settings), metrics)
    iam = IamRoles(_iam_options(settings), metrics)
    authenticator = Authenticator(
        _policy(settings),
        CachingIdentities(sts, metrics, clock),
        CachingRoles(iam, metrics, settings.role_ttl),
        clock,
    )
    endpoint = AuthenticateEndpoint(authenticator, metrics, settings.decision_timeout)
    own_diagnostics = settings.diagnostics_listen is not None
    preparation = asyncio.create_task(_prepare(settings, iam, readiness))
    try:
        yield Service(
            api=build_api(endpoint, metrics, readiness, with_probes=not own_diagnostics),
            diagnostics=build_diagnostics(metrics, readiness) if own_diagnostics else None,
            readiness=readiness,
        )
    finally:
        preparation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await preparation
        iam.close()
        await sts.close()


def _policy(settings: Settings) -> DecisionPolicy:
    return DecisionPolicy(
        request=RequestPolicy(
            endpoints=settings.accepted_endpoints,
            audience=settings.audience,
            allow_unbound=settings.allow_unbound,
        ),
        accounts=settings.authorized_accounts,
        enabled_types=settings.enabled_types,
        require_service=settings.require_service_tag,
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
