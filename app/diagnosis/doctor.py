"""The checks of ``doctor``, and what each needs of the settings."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from app.diagnosis.checkup import Check, Outcome, perform
from app.diagnosis.endpoints import check_endpoints
from app.diagnosis.finding import Finding, skipped
from app.diagnosis.listeners import check_certificate, check_listeners
from app.diagnosis.own_identity import check_identity
from app.diagnosis.role_name import RoleName
from app.diagnosis.role_reading import open_clients
from app.diagnosis.settings_findings import (
    judge_accounts,
    judge_keys,
    judge_network,
    judge_proxy_types,
    judge_settings,
)
from app.diagnosis.shared_store import check_store
from app.settings.environment import Settings, discard_ignored_environment
from app.settings.loading import examine_settings
from app.settings.parsing import Problem

# The time limits. All checks run at the same time, so the longest is that of the whole command.
_LOCAL_SECONDS: Final = 5.0
_STORE_SECONDS: Final = 8.0
_NETWORK_SECONDS: Final = 30.0
# No endpoint may be built from invalid values of these variables: botocore inserts any text into its templates (I1).
_OWN_REGION: Final = frozenset(
    {"AWS_REGION", "AWS_DEFAULT_REGION", "KMESH_AWSIAM_PARTITION", "KMESH_AWSIAM_EXTRA_REGIONS"}
)
_REGIONS: Final = _OWN_REGION | {"KMESH_AWSIAM_REGIONS"}

_Judge = Callable[[Settings], Iterator[Finding]]


async def examine(named: Sequence[RoleName]) -> AsyncIterator[Outcome]:
    """Run all checks, and yield the outcome of each.

    Args:
        named: the roles that the operator names.
    """
    settings, problems = examine_settings()
    discard_ignored_environment()
    broken = {problem.variable for problem in problems}
    async for outcome in perform([*_local(settings, problems), *_remote(settings, named, broken)]):
        yield outcome


def _local(settings: Settings, problems: Sequence[Problem]) -> Iterator[Check]:
    yield _local_check("settings", lambda each: judge_settings(each, problems), settings)
    judges: dict[str, _Judge] = {
        "proxy types": judge_proxy_types,
        "accounts": judge_accounts,
        "signing keys": judge_keys,
        "listener": check_listeners,
        "TLS certificate": check_certificate,
        "proxy and certificates": judge_network,
    }
    for name, judge in judges.items():
        yield _local_check(name, judge, settings)


def _local_check(name: str, judge: _Judge, settings: Settings) -> Check:
    async def run() -> list[Finding]:
        return [*judge(settings)]

    return Check(name=name, run=run, seconds=_LOCAL_SECONDS)


def _remote(settings: Settings, named: Sequence[RoleName], broken: set[str]) -> Iterator[Check]:
    async def run_endpoints() -> list[Finding]:
        if broken & _REGIONS:
            return [_without_region("STS and IAM", broken & _REGIONS)]
        async with open_clients(settings) as (pool, network, _):
            return await check_endpoints(settings, pool, network)

    async def run_identity() -> list[Finding]:
        if broken & _OWN_REGION:
            return [_without_region("own credentials", broken & _OWN_REGION)]
        async with open_clients(settings) as (_, _, iam):
            return await check_identity(settings, iam, named)

    async def run_store() -> list[Finding]:
        return await check_store(settings)

    yield Check(name="STS and IAM", run=run_endpoints, seconds=_NETWORK_SECONDS)
    yield Check(name="own credentials", run=run_identity, seconds=_NETWORK_SECONDS)
    yield Check(name="store", run=run_store, seconds=_STORE_SECONDS)


def _without_region(check: str, broken: set[str]) -> Finding:
    return skipped(check, f"not checked: {', '.join(sorted(broken))} is invalid")
