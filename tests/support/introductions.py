"""The calls to STS, with an STS in memory."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.calls.options import CallOptions
from app.decision.authenticator import AccountList, IdentitySource
from app.sts.calls import StsIntroductions
from app.sts.known_credentials import KnownCredentials
from app.sts.known_keys import KnownKeys


def new_introductions(
    source: IdentitySource,
    known: KnownCredentials,
    accounts: AccountList,
    clock: Callable[[], datetime],
    *,
    keys: KnownKeys | None = None,
    **options: Any,
) -> StsIntroductions:
    """Return calls to STS with hardly a limit on their rate; the other options are those of `CallOptions`."""
    return StsIntroductions(
        source, known, keys or KnownKeys(accounts), accounts, clock, CallOptions(**{"rate": 1e6, **options})
    )
