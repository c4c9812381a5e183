import json
import re
from datetime import UTC, datetime

import pytest
from botocore.credentials import ReadOnlyCredentials

from app.core.credential import decode_credential
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint, presign
from bench.credentials import Signer, call_of, claim_of
from bench.service import AUDIENCE

SESSION = ReadOnlyCredentials("ASIAQ3EGRIGAXAMPLEID", "secret/+key", "IQoJb3JpZ2luX2Vj+/token==")


def parameters(url: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in url.partition("?")[2].split("&"))


@pytest.mark.parametrize("expires", [900, 1])
def test_it_signs_as_botocore_does(expires: int) -> None:
    endpoint = find_endpoint(load_sts_endpoints(), "us-east-1")
    theirs = presign(SESSION, endpoint, audience=AUDIENCE, expires=expires)
    date = re.search(r"X-Amz-Date=(\w+)", theirs)
    assert date is not None
    now = datetime.strptime(date[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = Signer(SESSION, now).sign(expires)
    assert parameters(ours) == parameters(theirs)
    assert ours.partition("?")[0] == theirs.partition("?")[0]


def test_a_call_holds_the_credential_and_the_claim() -> None:
    call = json.loads(call_of(Signer(SESSION, datetime.now(UTC)).sign(), claim_of("backend", "payments")))
    assert decode_credential(call["credential"]).security_token == SESSION.token
    assert call["proxy"]["mesh"] == "payments"
    assert call["proxy"]["tags"] == {"kuma.io/service": ["backend"]}
