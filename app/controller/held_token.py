"""The token in a secret: what it says, and why it is to be replaced. Nothing here verifies a signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.controller.reasons import PutReason
from app.controller.tasks import TaskIdentity
from app.core.base64_text import decode_base64url
from app.core.proxy import SERVICE_TAG
from app.core.strict_json import parse_object

# A token of Kuma has about 700 characters. The value of a secret has at most 65,536 bytes.
MAX_HELD_TOKEN_CHARS: Final = 16 * 1024
# A token is replaced when less than this fraction of its life is left.
RENEW_AT_SHARE: Final = 1 / 2
# A token may end this much later than ``--valid-for`` from now: the control plane's clock can be ahead.
CLOCK_SKEW: Final = timedelta(minutes=5)

_PARTS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = 253_402_300_799  # no bound: the end of the year 9999, the last one of a datetime
_DATAPLANE: Final = "dataplane"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """What a token says about itself.

    Attributes:
        kid: the id of the key that signed it.
        jti: the id of the token; Kuma revokes by it.
        identity: the identity that it is bound to; None if the token binds its bearer less, more, or to something else.
        issued_at: when it became valid.
        ends_at: when it ends; None if it never ends.
    """

    kid: str
    jti: str
    identity: TaskIdentity | None
    issued_at: datetime
    ends_at: datetime | None


def read_facts(token: str) -> TokenFacts:
    """Read a token of Kuma, a JWS in compact form.

    Raises:
        ValueError: the text is no such token. The error quotes no part of it.
    """
    parts = token.split(".")
    if len(token) > MAX_HELD_TOKEN_CHARS or len(parts) != _PARTS or not parts[2]:
        raise ValueError("it is no token of three parts")
    header, claims = (parse_object(decode_base64url(part)) for part in parts[:2])
    kid, jti = header.get("kid"), claims.get("jti")
    if not isinstance(kid, str) or not isinstance(jti, str):
        raise ValueError("it has no key id or no jti")  # noqa: TRY004 - a fault of the text
    issued_at = _time(claims.get("nbf", claims.get("iat")))
    return TokenFacts(
        kid=kid,
        jti=jti,
        identity=_read_identity(claims),
        issued_at=issued_at or _EPOCH,
        ends_at=_time(claims.get("exp")),
    )


def why_replace(facts: TokenFacts, identity: TaskIdentity, now: datetime, valid_for: timedelta) -> PutReason | None:
    """Return why a token is to be replaced; None if it is usable.

    Args:
        facts: the token.
        identity: the identity of the tasks that read the secret.
        now: the present time.
        valid_for: the life of a new token.
    """
    if facts.identity != identity:
        return PutReason.CLAIMS_DIFFER
    # A token of Kong's old controller ends after ten years, or never.
    if facts.ends_at is None or facts.ends_at > now + valid_for + CLOCK_SKEW:
        return PutReason.ENDS_TOO_LATE
    if facts.ends_at - now < (facts.ends_at - facts.issued_at) * RENEW_AT_SHARE:
        return PutReason.HALF_LIFE_OVER
    return None


def renew_at(facts: TokenFacts) -> datetime | None:
    """Return when a token is to be replaced; None if it never ends."""
    return None if facts.ends_at is None else facts.ends_at - (facts.ends_at - facts.issued_at) * RENEW_AT_SHARE


def _read_identity(claims: Mapping[str, Any]) -> TaskIdentity | None:
    """Read the claims that Kuma compares. An empty claim and an absent one are the same for Kuma."""
    tags, mesh, workload = claims.get("Tags") or {}, claims.get("Mesh"), claims.get("Workload") or None
    if not isinstance(tags, dict) or claims.get("Name") or (claims.get("Type") or _DATAPLANE) != _DATAPLANE:
        return None
    if not isinstance(mesh, str) or not mesh or not isinstance(workload, str | None):
        return None
    values = {tag: allowed[0] for tag, allowed in tags.items() if isinstance(allowed, list) and len(allowed) == 1}
    if len(values) < len(tags) or not all(isinstance(value, str) for value in values.values()):
        return None
    service = values.pop(SERVICE_TAG, None)
    if service is None and workload is None:
        return None
    return TaskIdentity(mesh=mesh, service=service, workload=workload, labels=tuple(sorted(values.items())))


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise ValueError("a time of it is no number of seconds")
    return _EPOCH + timedelta(seconds=value)
