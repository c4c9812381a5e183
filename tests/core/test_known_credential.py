from datetime import timedelta

import pytest

from app.core.credential import decode_credential
from app.core.errors import AuthenticationError, AuthorizationError
from app.core.forwarding import ForwardableRequest, rebuild
from app.core.known_credential import know, refuse
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.emulator.identities import new_access_key_id
from tests.support.principals import PRINCIPAL
from tests.support.signing import ACCESS_KEY_ID, AUDIENCE, HOST, NOW, Recipe, endpoint_of


@pytest.fixture
def request_of_sts() -> ForwardableRequest:
    validated = rebuild(
        decode_credential(Recipe(form=CredentialForm.NATIVE).credential()),
        endpoint=endpoint_of(HOST),
        audience=AUDIENCE,
        signed_at=NOW,
        lifetime=timedelta(minutes=15),
    )
    return require_fresh(validated, NOW)


def signed_by(key_id: str) -> ForwardableRequest:
    validated = rebuild(
        decode_credential(Recipe(form=CredentialForm.NATIVE, access_key_id=key_id).credential()),
        endpoint=endpoint_of(HOST),
        audience=AUDIENCE,
        signed_at=NOW,
        lifetime=timedelta(minutes=15),
    )
    return require_fresh(validated, NOW)


def test_a_known_credential_keeps_the_form_the_life_the_key_and_the_principal_alone(
    request_of_sts: ForwardableRequest,
) -> None:
    known = know(b"key", request_of_sts, PRINCIPAL)
    assert (known.form, known.signed_at, known.lifetime) == (CredentialForm.NATIVE, NOW, timedelta(minutes=15))
    assert (known.access_key_id, known.endpoint) == (ACCESS_KEY_ID, endpoint_of(HOST))
    assert known.principal == PRINCIPAL
    assert not known.is_approved
    assert ACCESS_KEY_ID not in repr(known)


def test_a_known_credential_shares_the_text_of_its_account() -> None:
    """Nearly every key encodes its own account. A different account in the key is kept too, and has no effect."""
    own, foreign = new_access_key_id("ASIA", PRINCIPAL.account), new_access_key_id("ASIA", "999999999999")
    assert know(b"key", signed_by(own), PRINCIPAL).key_account is PRINCIPAL.account
    assert know(b"key", signed_by(foreign), PRINCIPAL).key_account == "999999999999"


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(Reason.STS_REJECTED, "seen"),
        AuthorizationError(Reason.PRINCIPAL_NOT_A_ROLE, "seen"),
    ],
    ids=lambda error: error.reason,
)
def test_a_refused_credential_makes_a_new_error_for_each_decision(
    request_of_sts: ForwardableRequest, error: AuthenticationError | AuthorizationError
) -> None:
    refused = refuse(b"key", request_of_sts, error)
    assert (refused.form, refused.signed_at, refused.key) == (CredentialForm.NATIVE, NOW, b"key")
    assert (refused.access_key_id, refused.key_account, refused.endpoint) == (ACCESS_KEY_ID, None, endpoint_of(HOST))
    assert ACCESS_KEY_ID not in repr(refused)
    first, second = refused.error(), refused.error()
    assert first is not second
    assert (type(first), first.reason, first.detail) == (type(error), error.reason, "seen (remembered)")
