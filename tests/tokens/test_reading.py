from datetime import UTC, datetime

import pytest

from app.core.errors import AuthError, CredentialError
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.tokens.reading import read_claims_of_token
from tests.support.signing import AUDIENCE
from tests.support.tokens import DATAPLANE_CLAIMS, HOSTILE, ZONE_CLAIMS, Hostile, core_verdict, make_token


def test_the_baselines_are_good() -> None:
    """Otherwise every refusal would prove nothing."""
    assert core_verdict(make_token()) is None
    assert core_verdict(make_token(ZONE_CLAIMS), TokenKind.ZONE) is None


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_one_change_is_one_reason(hostile: Hostile) -> None:
    error = core_verdict(hostile.make(), hostile.kind)
    assert isinstance(error, AuthError)
    assert error.reason is hostile.reason


LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("name", ["iat", "exp"])
def test_a_time_is_one_that_a_date_can_hold(name: str) -> None:
    for seconds, is_one in ((0, True), (LAST_SECOND, True), (-1, False), (LAST_SECOND + 1, False)):
        claims = {**DATAPLANE_CLAIMS, name: seconds, **({"nbf": seconds} if name == "iat" else {})}
        if is_one:
            read_claims_of_token(claims, TokenKind.DATAPLANE, AUDIENCE)
        else:
            with pytest.raises(CredentialError):
                read_claims_of_token(claims, TokenKind.DATAPLANE, AUDIENCE)


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_of_either_kind_is_none_of_the_other(kind: TokenKind) -> None:
    claims = ZONE_CLAIMS if kind is TokenKind.DATAPLANE else DATAPLANE_CLAIMS
    with pytest.raises(CredentialError) as raised:
        read_claims_of_token(claims, kind, AUDIENCE)
    assert raised.value.reason is Reason.TOKEN_REJECTED
