"""What the settings alone say: every problem of the environment, every warning, and what is switched on."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

from app.core.proxy import ProxyType
from app.core.token_kind import TokenKind
from app.diagnosis.finding import Finding, State, ok, warning
from app.settings.environment import Settings
from app.settings.parsing import InvalidFieldError, Problem
from app.settings.values import mask_url
from app.settings.warnings import find_warnings
from app.tokens.key_files import SigningKeyFile

_SETTINGS: Final = "settings"


def judge_settings(settings: Settings, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Yield a failed row for each problem, and a warning for each risk, as ``check-config`` prints them."""
    for problem in problems:
        yield Finding(
            check=_SETTINGS,
            state=State.FAILED,
            found=f"{problem.variable} is invalid; serve does not start",
            remedy=problem.remedy,
            is_of_settings=True,
        )
    if not problems:
        yield ok(_SETTINGS, "valid; check-config prints them")
    elif os.geteuid() == 0:
        # The checks of files compare their owner with the user of this process, and ECS Exec runs commands as root.
        yield warning(
            _SETTINGS,
            "this command runs as root. If the service runs as another user, the problems of files above may not be the "
            "service's",
            "run doctor as the service's user, for example as a task of its own",
        )
    with contextlib.suppress(InvalidFieldError):
        yield from (warning(_SETTINGS, text) for text in find_warnings(settings))


def judge_proxy_types(settings: Settings) -> Iterator[Finding]:
    """Say which proxy types use aws-iam, by the control plane's variables (``KUMA_*``)."""
    on = settings.enabled_types
    off = [kind.value for kind in ProxyType if kind not in on]
    rest = f"; off, so proxy_type_disabled: {', '.join(off)}" if off else ""
    if on:
        yield ok("proxy types", f"{', '.join(kind.value for kind in ProxyType if kind in on)}{rest}")


def judge_accounts(settings: Settings) -> Iterator[Finding]:
    """Name the listed accounts and their source."""
    accounts = sorted(settings.authorized_accounts)
    source = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS" if settings.accounts_file is None else str(settings.accounts_file)
    if accounts:
        shown = ", ".join(accounts) if len(accounts) <= len(ProxyType) else f"{len(accounts)} accounts"
        yield ok("accounts", f"{shown}, from {source}")


def judge_keys(settings: Settings) -> Iterator[Finding]:
    """Name the signing keys. Their files were read with the settings."""
    for kind, file in ((TokenKind.DATAPLANE, settings.dataplane_keys_file), (TokenKind.ZONE, settings.zone_keys_file)):
        if file is not None:
            yield ok(f"signing keys, {kind.value}", f"{file}: {_key_ids(file)}")
    if settings.dataplane_keys_file is None and settings.zone_keys_file is None:
        yield ok("signing keys", "none: the service issues no tokens")


def judge_network(settings: Settings) -> Iterator[Finding]:
    """Name the proxy and the trusted certificates for calls to AWS."""
    proxy = settings.https_proxy
    yield ok("proxy", "none" if proxy is None else f"{mask_url(proxy)} (KMESH_AWSIAM_HTTPS_PROXY)")
    bundle = settings.ca_bundle
    yield ok("trusted certificates", "those of certifi" if bundle is None else f"only {bundle} (AWS_CA_BUNDLE)")


def _key_ids(file: SigningKeyFile) -> str:
    return ", ".join(f"{key.kid}{'' if key.mesh is None else f' for mesh {key.mesh}'}" for key in file.keys)
