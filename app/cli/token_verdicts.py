"""Describe and judge a token of this service, offline: a part of ``authenticate --explain``.

A token is a secret, but its claims are not: they are in the audit line. They are shown only if they have the form of this
service's claims. The signature is verified only with the keys of the service.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from app.cli.verdicts import NOT_CHECKED, NOT_REACHED, OK, Line, failure
from app.core.errors import CredentialError
from app.core.proxy import identity_words
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.tokens.claims import TokenLife, TokenSubject
from app.tokens.codec import UnverifiedToken, parse_token, require_current
from app.tokens.keys import SigningKeys
from app.tokens.reading import read_claims_of_token
from app.tokens.signing import verify


def explain_token(text: str, now: datetime, audience: str, keys: SigningKeys | None) -> Iterator[Line]:
    """Yield what a token says, and then the verdict of each rule, in the order of the service.

    Args:
        text: the token.
        now: the current time.
        audience: the audience of the service.
        keys: the keys of the service; None if they are not at hand.

    Raises:
        CredentialError: the text is no token of this service, whatever its claims are.
    """
    token = parse_token(text)
    yield "form", "token (a signed JWT of this service, if its signature is right)"
    yield "kid", token.kid
    key = None if keys is None else keys.find(token.kid)
    kind = (TokenKind.ZONE if "Scope" in token.claims else TokenKind.DATAPLANE) if key is None else key.kind
    read, error = _read(token, kind, audience)
    if read is not None:
        yield from _claims(*read, now)
    yield OK, "grammar"
    yield _signature(text, keys)
    yield (OK, "claims") if error is None else failure("claims", error)
    yield _times(read, now)
    yield NOT_CHECKED, "account, meshes and required tags: the settings of the service decide about them"


def _read(
    token: UnverifiedToken, kind: TokenKind, audience: str
) -> tuple[tuple[TokenSubject, TokenLife] | None, CredentialError | None]:
    """Return what the claims say, if it can be read, and what is wrong with them. A token for another audience has both."""
    try:
        return read_claims_of_token(token.claims, kind, audience), None
    except CredentialError as error:
        other = token.claims.get("aud")
        if error.reason is Reason.AUDIENCE_MISMATCH and isinstance(other, str):
            return _read(token, kind, other)[0], error
        return None, error


def _claims(subject: TokenSubject, life: TokenLife, now: datetime) -> Iterator[Line]:
    principal = subject.principal
    identity = identity_words(subject.identity.members())
    yield "identity", identity + ("" if subject.name is None else f" name={subject.name}")
    yield "role", f"{principal.role} ({principal.role_id}) of account {principal.account}"
    yield "session", principal.session
    yield "jti", life.jti
    yield "issued", _moment(life.issued_at, now)
    yield "expires", _moment(life.expires_at, now)


def _moment(seconds: int, now: datetime) -> str:
    past = now.timestamp() - seconds
    try:
        moment = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except ValueError:
        moment = "after the year 9999"
    return f"{moment}, {abs(past):.0f} s {'ago' if past >= 0 else 'from now'}"


def _signature(text: str, keys: SigningKeys | None) -> Line:
    if keys is None:
        return NOT_CHECKED, "signature: give --dataplane-keys-file or --zone-keys-file to verify it"
    try:
        verify(text, keys)
    except CredentialError as error:
        return failure("signature", error)
    return OK, "signature"


def _times(read: tuple[TokenSubject, TokenLife] | None, now: datetime) -> Line:
    if read is None:
        return NOT_REACHED, "times"
    try:
        require_current(read[1], now)
    except CredentialError as error:
        return failure("times", error)
    return OK, "times"
