"""Read a role as the service reads it, and report what the service would decide about it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from app.core.errors import AuthError
from app.core.principal import admit
from app.core.proxy import ProxyAssertion
from app.core.reasons import EXPLANATIONS, Reason
from app.diagnosis.role_name import RoleName
from app.diagnosis.role_report import RoleReport, as_principal, report_role, report_unread
from app.http.network import NetworkOptions, open_pool
from app.http.pool import HttpPool
from app.iam.client import IamRoles
from app.settings.accounts import FixedAccounts
from app.settings.environment import Settings
from app.settings.options import decision_policy, iam_options, network_options, token_options
from app.telemetry.metrics import Metrics
from app.tokens.claims import subject_of
from app.tokens.keys import SigningKeys

# The time limit for a role, the service's own credentials and the reader role included.
READ_SECONDS: Final = 15.0


@contextlib.asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[tuple[HttpPool, NetworkOptions, IamRoles]]:
    """Open the service's own pool of connections and its client of IAM. Close both at the end."""
    network = network_options(settings)
    pool = open_pool(network)
    iam = IamRoles(iam_options(settings), pool, network, Metrics())
    try:
        yield pool, network, iam
    finally:
        iam.close()
        await pool.close()


async def explain_role(settings: Settings, asked: RoleName, proxy: ProxyAssertion | None) -> RoleReport:
    """Report what the service would decide about a role. If the account is not listed, no call goes to AWS (I12).

    Args:
        settings: the settings of the service.
        asked: the role that the operator names.
        proxy: what a proxy asserts; None to see only what the role grants.
    """
    accounts = settings.authorized_accounts
    policy = decision_policy(settings, FixedAccounts(accounts))
    try:
        admitted = admit(as_principal(asked, partition=settings.partition), accounts)
        async with open_clients(settings) as (_, _, iam):
            role = await iam.read_role(admitted, asyncio.get_running_loop().time() + READ_SECONDS)
    except AuthError as error:
        return report_unread(asked, error, policy)
    report = report_role(asked, role, accounts, policy, partition=settings.partition, proxy=proxy)
    notes = (*report.notes, *_token_notes(settings, report, proxy), _age_note(settings))
    return replace(report, notes=notes)


def _token_notes(settings: Settings, report: RoleReport, proxy: ProxyAssertion | None) -> list[str]:
    """Say whether ``/v1/token`` would give such a proxy a token, if the service issues tokens."""
    files = [file for file in (settings.dataplane_keys_file, settings.zone_keys_file) if file is not None]
    if not files or report.role is None or report.identity is None:
        return []
    options = token_options(settings)
    principal = as_principal(report.asked, partition=settings.partition, role=report.role)
    try:
        subject = subject_of(
            report.identity, principal, proxy, default_zone=options.default_zone, with_names=options.with_names
        )
    except AuthError as error:
        if proxy is None and error.reason is Reason.PROXY_NAME_MISSING:
            return []  # the name is part of what a proxy asserts
        return [f"/v1/token would answer {error.reason.value}: {EXPLANATIONS[error.reason].detail}"]
    keys = SigningKeys(key for file in files for key in file.keys)
    if keys.find_signer(subject.kind, subject.identity.mesh) is None:
        reason = Reason.SIGNING_KEY_MISSING
        return [f"/v1/token would answer {reason.value}: {EXPLANATIONS[reason].detail}"]
    return []


def _age_note(settings: Settings) -> str:
    return (
        f"This is the role as IAM has it now. A running service may use a record that is up to {settings.role_ttl:g} s old "
        "(KMESH_AWSIAM_ROLE_TTL)."
    )
