"""Read the content and the expiry of a token file, without verifying its signature.

Only STS or the control plane can verify the signature. When the agent starts, it uses this module to find out how long an
existing file is valid; later it reads the expiry of each new token with it. The agent's health check uses it too, because a
health check must make no calls.
"""

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from app.agent.schedule import near_end
from app.core.base64_text import Base64TextError, decode_base64url
from app.core.credential import MAX_CREDENTIAL_CHARS, decode_credential
from app.core.errors import CredentialError
from app.core.request_policy import MAX_FUTURE_SKEW, MAX_LIFETIME
from app.core.sigv4 import parse_amz_date
from app.core.strict_json import StrictJsonError, parse_object
from app.local.causes import explain_file
from app.tokens.claims import BACKDATED_SECONDS

# A signed JWT in compact form (RFC 7515, section 7.1).
_SIGNED_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_LAST_SECOND: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class HeldError(ValueError):
    """The text is neither a credential nor a token. The message contains nothing of the text."""


@dataclass(frozen=True, slots=True)
class Held:
    """The content of a token file.

    Attributes:
        kind: the value of ``--mode``.
        ends_at: the expiry that the content states. A credential also expires when the AWS session that signed it ends, but
            it does not state that time.
        begins_at: when it was signed; None for a token without such a time.
        token_id: the id (jti) of a token, by which Kuma revokes it.
    """

    kind: Literal["credential", "token"]
    ends_at: datetime
    begins_at: datetime | None
    token_id: str | None = None

    @property
    def life(self) -> timedelta | None:
        """The time from `begins_at` to `ends_at`."""
        return None if self.begins_at is None else self.ends_at - self.begins_at


def parse_held(text: str) -> Held:
    """Read the expiry from a credential of any presigned form, or from a signed JWT.

    Raises:
        HeldError: the text is neither of them.
    """
    if len(text) > MAX_CREDENTIAL_CHARS:
        raise HeldError("it is over 12 KiB")
    if _SIGNED_JWT.fullmatch(text):
        return _read_token(text)
    try:
        request = decode_credential(text)
        signed_at = parse_amz_date(request.amz_date)
    except CredentialError as error:
        raise HeldError(
            "it contains neither a credential nor a token, or has a blank or a newline beside it"
        ) from error
    lifetime = MAX_LIFETIME
    if request.expires is not None and re.fullmatch(r"[0-9]{1,6}", request.expires):
        lifetime = min(lifetime, timedelta(seconds=int(request.expires)))
    return Held("credential", signed_at + lifetime, signed_at)


def read_held(path: Path) -> Held:
    """Read a token file.

    Raises:
        HeldError: the file does not exist, cannot be read, or contains something else.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise HeldError("it is no regular file")
            data = file.read(MAX_CREDENTIAL_CHARS + 1)
        return parse_held(data.decode("ascii"))
    except FileNotFoundError as error:
        raise HeldError("it is not there") from error
    except IsADirectoryError as error:
        raise HeldError("it is a folder, and cannot be read; give the path of the file in it") from error
    except (OSError, UnicodeDecodeError) as error:
        why = "it has other bytes" if isinstance(error, UnicodeDecodeError) else explain_file(error)
        raise HeldError(f"it cannot be read as ASCII text ({why})") from error


def check_file(path: Path, now: datetime) -> tuple[Held | None, str | None]:
    """Return the content of a token file, if it has any, and its fault at the time ``now``.

    Without a fault, a proxy can open a stream with the file.
    """
    try:
        held = read_held(path)
    except HeldError as error:
        return None, str(error)
    return held, _fault_of(held, now)


def _fault_of(held: Held, now: datetime) -> str | None:
    if held.ends_at <= now:
        return f"the {held.kind} ended {(now - held.ends_at).total_seconds():.0f} s ago"
    if held.kind == "credential" and held.begins_at is not None and held.begins_at - now > MAX_FUTURE_SKEW:
        ahead = (held.begins_at - now).total_seconds()
        return f"the credential is signed {ahead:.0f} s ahead of this host's clock, and is refused; set the clock (NTP)"
    left, least = held.ends_at - now, near_end(held.life)
    if left < least:
        due = f"{least.total_seconds():.0f} s before"
        return f"the {held.kind} ends in {left.total_seconds():.0f} s, and should have been renewed {due}"
    return None


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: opening a FIFO would block the agent, or its health check, until a process writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read_token(text: str) -> Held:
    try:
        claims = parse_object(decode_base64url(text.split(".")[1]))
    except (StrictJsonError, Base64TextError) as error:
        raise HeldError("it looks like a JWT, and its claims are no JSON") from error
    ends_at, dated = _moment(claims.get("exp")), _moment(claims.get("iat"))
    if ends_at is None:
        raise HeldError("it is a JWT without an end (exp)")
    begins_at = None if dated is None else dated + timedelta(seconds=BACKDATED_SECONDS)
    token_id = claims.get("jti")
    return Held(
        "token",
        ends_at,
        begins_at if begins_at is not None and begins_at < ends_at else None,
        token_id if isinstance(token_id, str) else None,
    )


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        return None
    return datetime.fromtimestamp(value, UTC)
