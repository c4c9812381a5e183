from datetime import timedelta

import pytest

from app.core.credential import decode_credential
from app.core.errors import AuthenticationError, AuthorizationError
from app.core.forwarding import ForwardableRequest, rebuild
from app.core.known_credential import know, refuse
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from tests.support.principals import PRINCIPAL
from tests.support.signing import AUDIENCE, HOST, NOW, Recipe, endpoint_of


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


def test_a_known_credential_keeps_the_form_the_life_and_the_principal_alone(request_of_sts: ForwardableRequest) -> None:
    known = know(b"key", request_of_sts, PRINCIPAL)
    assert (known.form, known.signed_at, known.lifetime) == (CredentialForm.NATIVE, NOW, timedelta(minutes=15))
    assert known.principal == PRINCIPAL
    assert not known.is_approved


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
    first, second = refused.error(), refused.error()
    assert first is not second
    assert (type(first), first.reason, first.detail) == (type(error), error.reason, "seen (remembered)")
