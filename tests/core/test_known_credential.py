from datetime import timedelta

from app.core.credential import decode_credential
from app.core.forwarding import rebuild
from app.core.known_credential import know
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from tests.support.principals import PRINCIPAL
from tests.support.signing import AUDIENCE, HOST, NOW, Recipe, endpoint_of


def test_a_known_credential_keeps_the_form_the_life_and_the_principal_alone() -> None:
    validated = rebuild(
        decode_credential(Recipe(form=CredentialForm.NATIVE).credential()),
        endpoint=endpoint_of(HOST),
        audience=AUDIENCE,
        signed_at=NOW,
        lifetime=timedelta(minutes=15),
    )
    known = know(b"key", require_fresh(validated, NOW), PRINCIPAL)
    assert (known.form, known.signed_at, known.lifetime) == (validated.form, NOW, timedelta(minutes=15))
    assert known.principal == PRINCIPAL
    assert not known.is_approved
