"""Which credentials the running service accepts: the enabled forms, and what common signers leave out or add."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.core.credential import encode_jwt_clothes, encode_native
from app.core.signed_request import CredentialForm
from tests.conftest import StartService
from tests.support import mutations as mutate
from tests.support.keys import KeyFiles
from tests.support.service import RunningService
from tests.support.signing import AUDIENCE, BODY, FORMS, POSTED_FORMS, Recipe, base64, base64url
from tests.support.world import PROXY, Aws, recipe_of

NATIVE, JWT, EKS, ENVELOPE, PLAIN = FORMS
SETTING: Final = "KMESH_AWSIAM_CREDENTIAL_FORMS"
LENGTH: Final = ("Content-Length", str(len(BODY)))


def detail_of(service: RunningService) -> str:
    return str(service.decisions()[-1]["detail"])


def require_refusal(response: httpx.Response, service: RunningService, aws: Aws) -> str:
    """Require that a malformed credential costs no call to AWS. Return the detail of the audit line."""
    assert (response.status_code, response.json()["reason"]) == (401, "credential_malformed")
    assert not aws.sts_calls()
    return detail_of(service)


# The enabled forms.


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_that_is_on_is_accepted_and_each_other_one_is_named(
    start_service: StartService, aws: Aws, form: CredentialForm
) -> None:
    async with start_service(**{SETTING: form.value}) as service:
        for other in set(FORMS) - {form}:
            detail = require_refusal(await service.present(aws.credential(form=other)), service, aws)
            assert other.value in detail
            assert SETTING in detail
        assert (await service.present(aws.credential(form=form), PROXY)).status_code == 200


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_that_is_off_is_refused_where_all_others_are_on(
    start_service: StartService, aws: Aws, form: CredentialForm
) -> None:
    async with start_service(**{SETTING: ",".join(set(FORMS) - {form})}) as service:
        detail = require_refusal(await service.present(aws.credential(form=form)), service, aws)
        assert detail == f"the form {form} is off in {SETTING}"


@pytest.mark.parametrize("form", POSTED_FORMS)
async def test_an_envelope_that_is_off_is_refused_in_base64url_as_well(
    start_service: StartService, aws: Aws, form: CredentialForm
) -> None:
    async with start_service(**{SETTING: ",".join(set(FORMS) - {form})}) as service:
        text = base64url(aws.credential(form=form))
        assert form.value in require_refusal(await service.present(text), service, aws)


@pytest.mark.parametrize(
    ("signed", "dress"),
    [
        pytest.param(EKS, encode_native, id="eks-as-native"),
        pytest.param(EKS, encode_jwt_clothes, id="eks-as-jwt"),
        pytest.param(NATIVE, lambda url: f"k8s-aws-v1.{base64url(url)}", id="native-as-eks"),
    ],
)
async def test_a_form_that_is_off_does_not_come_in_the_dress_of_another(
    start_service: StartService, aws: Aws, signed: CredentialForm, dress: Any
) -> None:
    """The signed audience header identifies the EKS form and its 15 minutes. No prefix changes that."""
    async with start_service(**{SETTING: ",".join(set(FORMS) - {signed})}) as service:
        response = await service.present(dress(recipe_of(aws.task(), signed).sign().url))
        assert response.json()["reason"] == "audience_mismatch"
        assert not aws.sts_calls()


async def test_the_same_signature_comes_native_and_as_a_jwt_and_only_the_text_counts(
    start_service: StartService, aws: Aws
) -> None:
    """Whoever has one can write the other, so turning one of the two off excludes nobody; the docs say so."""
    url = recipe_of(aws.task()).sign().url
    async with start_service(**{SETTING: "native"}) as service:
        assert "jwt" in require_refusal(await service.present(encode_jwt_clothes(url)), service, aws)
        assert (await service.present(encode_native(url))).status_code == 200


async def test_what_no_form_can_be_is_refused_as_before(start_service: StartService, aws: Aws) -> None:
    async with start_service(**{SETTING: "native,jwt,eks"}) as service:
        for text in ("Bearer x", "{", "e30", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "kuma-aws-v2.x"):
            require_refusal(await service.present(text), service, aws)


async def test_nothing_of_an_envelope_that_is_off_is_decoded(start_service: StartService, aws: Aws) -> None:
    """Otherwise the base64 would be refused for its own fault."""
    members = recipe_of(aws.task(), ENVELOPE).sign().members() | {"iam_request_headers": "no base64!"}
    async with start_service(**{SETTING: "plain_envelope"}) as service:
        assert "envelope is off" in require_refusal(await service.present(json.dumps(members)), service, aws)
    async with start_service(**{SETTING: "eks"}) as service:
        assert "are off" in require_refusal(await service.present("{no json"), service, aws)


async def test_a_token_is_no_form_that_can_be_off(start_service: StartService, aws: Aws, tmp_path: Path) -> None:
    async with start_service(**{SETTING: "native", **KeyFiles.make(tmp_path).settings()}) as service:
        answer = await service.client.post("/v1/token", json={"credential": aws.credential(), "proxy": dict(PROXY)})
        token = answer.json()["token"]
        assert (await service.present(token, PROXY)).status_code == 200
        response = await service.present(aws.credential(form=JWT))
        assert response.json()["reason"] == "credential_malformed"
        assert "jwt" in detail_of(service)


# What signers leave out, and what they add.


@pytest.mark.parametrize("form", POSTED_FORMS)
async def test_a_signed_length_that_the_envelope_lacks_is_supplied(
    service: RunningService, aws: Aws, form: CredentialForm
) -> None:
    """As the AWS SDK for Go v2 signs it: the signature covers a header that the credential does not contain."""
    call = replace(recipe_of(aws.task(), form), headers=(LENGTH,)).sign()
    response = await service.present(mutate.drop_header(call, "Content-Length").credential(), PROXY)
    assert response.status_code == 200
    assert len(aws.sts_calls()) == 1


def written(recipe: Recipe, headers: Mapping[str, object]) -> str:
    """Return the credential of an envelope, with some headers written as JSON values that are not texts."""
    call = recipe.sign()
    given: dict[str, object] = {**dict(call.headers), **headers}
    if call.form is PLAIN:
        return json.dumps(call.members() | {"headers": given})
    return json.dumps(call.members() | {"iam_request_headers": base64(json.dumps(given))})


@pytest.mark.parametrize("form", POSTED_FORMS)
async def test_a_length_may_be_a_json_integer(service: RunningService, aws: Aws, form: CredentialForm) -> None:
    """As npm's aws4 writes it."""
    recipe = replace(recipe_of(aws.task(), form), headers=(LENGTH,))
    assert (await service.present(written(recipe, {"Content-Length": len(BODY)}), PROXY)).status_code == 200


@pytest.mark.parametrize("length", [42, 44, 43.0, True, -43, None, [43]])
async def test_no_other_json_is_a_length(service: RunningService, aws: Aws, length: object) -> None:
    recipe = replace(recipe_of(aws.task(), PLAIN), headers=(LENGTH,))
    require_refusal(await service.present(written(recipe, {"Content-Length": length})), service, aws)


async def test_the_trace_id_of_lambda_is_dropped(service: RunningService, aws: Aws) -> None:
    call = mutate.set_header(recipe_of(aws.task(), PLAIN).sign(), "X-Amzn-Trace-Id", "Root=1-0-0")
    assert (await service.present(call.credential(), PROXY)).status_code == 200


async def test_an_unsigned_audience_beside_a_signed_one_is_named_in_the_audit_line(
    service: RunningService, aws: Aws
) -> None:
    call = mutate.set_header(recipe_of(aws.task(), ENVELOPE).sign(), "X-Kuma-Audience", AUDIENCE)
    detail = require_refusal(await service.present(call.credential()), service, aws)
    assert detail.endswith(": x-kuma-audience")


# What other verifiers accept and this service refuses; docs/explanation/compatibility.md gives each reason and remedy.


def _vault(recipe: Recipe, **members: str) -> str:
    return json.dumps(recipe.sign().members() | members)


def _headers_as_text(recipe: Recipe) -> str:
    return _vault(recipe, iam_request_headers=json.dumps(dict(recipe.sign().headers)))


def _line_breaks(recipe: Recipe) -> str:
    text = str(recipe.sign().members()["iam_request_headers"])
    return _vault(recipe, iam_request_headers="\n".join(text[at : at + 76] for at in range(0, len(text), 76)))


def _get_mode(recipe: Recipe) -> str:
    presigned = replace(recipe, form=NATIVE, audience_header=ENVELOPE.audience_header).sign()
    headers = {"Host": [recipe.host], "X-Vault-AWS-IAM-Server-ID": [AUDIENCE]}
    members = {"request_url": presigned.url, "request_body": "", "request_headers": json.dumps(headers)}
    encoded = {f"iam_{name}": base64(text) for name, text in members.items()}
    return json.dumps({"iam_http_request_method": "GET", **encoded})


def _port(recipe: Recipe) -> str:
    return replace(recipe, headers=(("Host", f"{recipe.host}:443"),)).credential()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(_headers_as_text, "iam_request_headers is JSON text", id="headers-as-json-text"),
        pytest.param(_line_breaks, "line breaks", id="line-breaks-in-base64"),
        pytest.param(_get_mode, "belongs in the native form", id="vaults-get-mode"),
        pytest.param(_port, "Host header is not the URL's host", id="a-port-in-the-signed-host"),
    ],
)
async def test_what_a_vault_would_accept_is_refused_with_a_hint(
    service: RunningService, aws: Aws, write: Any, words: str
) -> None:
    detail = require_refusal(await service.present(write(recipe_of(aws.task(), ENVELOPE))), service, aws)
    assert words in detail


async def test_a_clock_that_is_minutes_ahead_is_refused_beyond_five(service: RunningService, aws: Aws) -> None:
    """STS itself accepts 15 minutes in both directions."""
    ahead = {minutes: recipe_of(aws.task(), now=datetime.now(UTC) + timedelta(minutes=minutes)) for minutes in (4, 6)}
    response = await service.present(ahead[6].credential())
    assert response.json()["reason"] == "credential_not_yet_valid"
    assert not aws.sts_calls()
    assert (await service.present(ahead[4].credential())).status_code == 200


async def test_a_port_in_the_url_is_another_host(service: RunningService, aws: Aws) -> None:
    recipe = recipe_of(aws.task(), ENVELOPE)
    response = await service.present(replace(recipe, host=f"{recipe.host}:443").credential())
    assert response.json()["reason"] == "host_not_allowed"
    assert not aws.sts_calls()


# A region that is newer than the installed botocore.


async def test_a_credential_of_a_newer_region_is_forwarded_where_the_region_is_named(
    start_service: StartService, aws: Aws
) -> None:
    """The emulator knows only botocore's regions and refuses this one; the corpus has an STS that accepts it."""
    recipe = replace(recipe_of(aws.task()), host="sts.eu-north-7.amazonaws.com", region="eu-north-7")
    async with start_service() as service:
        assert (await service.present(recipe.credential())).json()["reason"] == "host_not_allowed"
        assert not aws.sts_calls()
    async with start_service(KMESH_AWSIAM_EXTRA_REGIONS="eu-north-7") as service:
        assert (await service.present(recipe.credential())).json()["reason"] == "sts_rejected"
        assert [call.region for call in aws.sts_calls()] == ["eu-north-7"]
        assert (await service.present(aws.credential(), PROXY)).status_code == 200
