"""Read what a request says about its own signature, in either form: the `Authorization` header or the query.

Input: a request as it arrived. Output: an unverified `SignatureClaim`, which `sigv4` verifies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from app.emulator.query_protocol import ServiceError
from app.emulator.wire import Request

ALGORITHM: Final = "AWS4-HMAC-SHA256"

_TIMESTAMP: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_SCOPE_PARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureClaim:
    """What a request says about its own signature. Nothing in it is verified."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    token: str | None = field(repr=False)


def read_claim(request: Request) -> SignatureClaim | None:
    """Read the signature of a request in either form. Return None if the request has no signature.

    Raises:
        ServiceError: IncompleteSignature, if parts of the signature are missing.
    """
    authorization = request.header("authorization")
    if authorization is not None:
        return _read_header_form(request, authorization)
    return _read_query_form(request.query)


def read_timestamp(text: str) -> datetime:
    """Parse a signing time.

    Raises:
        ServiceError: IncompleteSignature, if the text is not a signing time.
    """
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is not None:
            year, month, day, hour, minute, second = (int(group) for group in match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        pass
    raise _incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _read_header_form(request: Request, authorization: str) -> SignatureClaim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not parts.get(name)]
    if missing:
        raise _incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    timestamp = request.header("x-amz-date") or request.header("date")
    if timestamp is None:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    token = request.header("x-amz-security-token")
    return _claim(parts["Credential"], timestamp, parts["SignedHeaders"], parts["Signature"], token)


def _read_query_form(pairs: Iterable[tuple[str, str]]) -> SignatureClaim | None:
    values: dict[str, str] = {}
    for name, value in pairs:
        values.setdefault(name, value)  # the first one wins
    needed = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
    missing = [name for name in needed if not values.get(name)]
    if len(missing) == len(needed):
        return None
    if missing:
        names = " ".join(f"'{name}'" for name in missing)
        raise _incomplete(f"AWS query-string parameters must include {names}. Re-examine the query-string parameters.")
    if values["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{values['X-Amz-Algorithm']}'.")
    return _claim(
        values["X-Amz-Credential"],
        values["X-Amz-Date"],
        values["X-Amz-SignedHeaders"],
        values["X-Amz-Signature"],
        values.get("X-Amz-Security-Token"),
    )


def _claim(credential: str, timestamp: str, signed_headers: str, signature: str, token: str | None) -> SignatureClaim:
    scope = credential.split("/")
    if len(scope) != _SCOPE_PARTS:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential}'"
        )
    return SignatureClaim(
        access_key_id=scope[0],
        date=scope[1],
        region=scope[2],
        service=scope[3],
        terminator=scope[4],
        timestamp=timestamp,
        signed_headers=tuple(signed_headers.split(";")),
        signature=signature,
        token=token,
    )


def _incomplete(message: str) -> ServiceError:
    return ServiceError(400, "IncompleteSignature", message)
