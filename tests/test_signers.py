"""Signers of other authors: awscli, boto3, botocore and hvac, recorded and running; those of Go and npm, recorded.

What they sign is accepted over real HTTP by the whole service, and refused when it is signed for somebody else. awscli runs
as a process of its own only: imported, it would put its own copy of botocore in the real one's place.
"""

import io
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import boto3
import hvac
import pytest
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from app.core.credential import decode_credential
from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.request_policy import require_fresh, validate
from app.core.signed_request import CredentialForm
from app.core.sigv4 import parse_amz_date
from app.emulator import SessionCredentials
from tests.support.process import AWS, Done, Served, run, run_program, served, socket_address
from tests.support.service import RunningService
from tests.support.signing import AUDIENCE, Recipe, base64url, default_policy, signature_holds
from tests.support.world import ACCOUNT, Aws

# The expected result of each recording, by the table in tests/recordings/README.md.

RECORDINGS: Final = Path(__file__).parent / "recordings"
ACCEPTED: Final = {
    "aws-sdk-go-v2-post": CredentialForm.PLAIN_ENVELOPE,
    "aws4-post": CredentialForm.PLAIN_ENVELOPE,
    "aws4-post-global": CredentialForm.PLAIN_ENVELOPE,
    "aws4-vault-envelope": CredentialForm.ENVELOPE,
    "awscli-eks-get-token-aws-region-alone": CredentialForm.EKS,
    "awscli-eks-get-token-eu-west-1": CredentialForm.EKS,
    "awscli-eks-get-token-fips-dual-stack": CredentialForm.EKS,
    "awscli-eks-get-token-global": CredentialForm.EKS,
    "awscli-eks-get-token-us-east-1": CredentialForm.EKS,
    "boto3-get-caller-identity-audience": CredentialForm.PLAIN_ENVELOPE,
    "boto3-get-caller-identity-audience-base64url": CredentialForm.PLAIN_ENVELOPE,
    "boto3-get-caller-identity-lambda": CredentialForm.PLAIN_ENVELOPE,
    "boto3-vault-envelope": CredentialForm.ENVELOPE,
    "boto3-vault-envelope-base64url": CredentialForm.ENVELOPE,
    "boto3-vault-envelope-go": CredentialForm.ENVELOPE,
    "boto3-vault-envelope-lower": CredentialForm.ENVELOPE,
    "botocore-post": CredentialForm.PLAIN_ENVELOPE,
    "botocore-post-all-headers": CredentialForm.PLAIN_ENVELOPE,
    "botocore-post-no-path": CredentialForm.PLAIN_ENVELOPE,
    "botocore-presigned": CredentialForm.NATIVE,
    "botocore-presigned-jwt": CredentialForm.JWT,
    "botocore-presigned-no-path": CredentialForm.NATIVE,
    "consul-awsauth": CredentialForm.ENVELOPE,
    "hvac-audience": CredentialForm.ENVELOPE,
    "hvac-audience-base64url": CredentialForm.ENVELOPE,
    "hvac-region-us-east-1": CredentialForm.ENVELOPE,
    "hvac-role-null": CredentialForm.ENVELOPE,
}
REFUSED: Final = {
    # AWS_ENDPOINT_URL_STS became the signed host.
    "awscli-eks-get-token-endpoint-url": Reason.HOST_NOT_ALLOWED,
    "awscli-get-caller-identity-loopback": Reason.HOST_NOT_ALLOWED,
    "boto3-get-caller-identity-loopback": Reason.HOST_NOT_ALLOWED,
    # No audience header is signed.
    "awscli-get-caller-identity-global": Reason.AUDIENCE_MISSING,
    "awscli-get-caller-identity-us-east-1": Reason.AUDIENCE_MISSING,
    "boto3-get-caller-identity-global": Reason.AUDIENCE_MISSING,
    "boto3-get-caller-identity-us-east-1": Reason.AUDIENCE_MISSING,
    "boto3-presigned-default-method": Reason.AUDIENCE_MISSING,
    "boto3-presigned-get": Reason.AUDIENCE_MISSING,
    "hvac-no-audience": Reason.AUDIENCE_MISSING,
    "hvac-no-audience-role-null": Reason.AUDIENCE_MISSING,
    # X-Amz-Expires=3600, which is boto3's default: at most 900 (invariant I7).
    "boto3-presigned-audience-default-method": Reason.CREDENTIAL_MALFORMED,
    "boto3-presigned-audience-get": Reason.CREDENTIAL_MALFORMED,
    # A signed header that the contract does not know, accept; and a required one that is missing.
    "botocore-post-signed-accept": Reason.CREDENTIAL_MALFORMED,
    "botocore-post-no-content-type": Reason.CREDENTIAL_MALFORMED,
    # hvac signs the global host, for any region.
    "hvac-region-eu-west-1": Reason.SCOPE_MISMATCH,
}


def recording(case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDINGS / "data" / f"{case}.json").read_text(encoding="utf-8"))
    return found


def recorded_key() -> Recipe:
    """The keys that the tools got."""
    keys = json.loads((RECORDINGS / "credentials.json").read_text(encoding="utf-8"))
    return Recipe(
        form=CredentialForm.NATIVE,
        access_key_id=keys["aws_access_key_id"],
        secret_key=keys["aws_secret_access_key"],
        token=keys["aws_session_token"],
    )


def test_every_recording_has_its_outcome_here() -> None:
    cases = {path.stem for path in (RECORDINGS / "data").glob("*.json")}
    assert cases == ACCEPTED.keys() | REFUSED.keys()
    assert not ACCEPTED.keys() & REFUSED.keys()


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_recording_that_is_good_is_accepted_and_its_signature_survives(case: str) -> None:
    """The rebuilt request must still match its signature, which is recomputed with the tool's own keys, as STS does."""
    found = recording(case)
    validated = validate(decode_credential(found["credential"]), default_policy())
    assert validated.form is ACCEPTED[case]
    assert require_fresh(validated, parse_amz_date(found["signed_at"])).request is validated
    region = validated.endpoint.signing_region
    assert signature_holds(validated, replace(recorded_key(), region=region))


@pytest.mark.parametrize("case", REFUSED)
def test_a_recording_that_is_not_is_refused_for_the_documented_reason(case: str) -> None:
    with pytest.raises(CredentialError) as raised:
        validate(decode_credential(recording(case)["credential"]), default_policy())
    assert raised.value.reason is REFUSED[case]


# awscli, as an operator runs it.


@pytest.fixture(scope="module")
def live(running_aws: Any) -> Iterator[Served]:
    with socket_address() as address, served(address, **Aws(running_aws).service_environment()) as service:
        service.wait_for("own account")
        yield service


def get_token(aws: Aws, audience: str, **variables: str) -> Done:
    """Run ``aws eks get-token`` as a task of demo-app; without AWS_ENDPOINT_URL_STS, which it would sign for."""
    return run_program(
        str(AWS),
        *("eks", "get-token", "--cluster-name", audience),
        AWS_CONTAINER_CREDENTIALS_FULL_URI=aws.emulator.credentials_uri(ACCOUNT, "demo-app"),
        **{"AWS_DEFAULT_REGION": "us-east-1", **variables},
    )


def piped(done: Done, live: Served, *options: str) -> Done:
    assert (done.status, done.err) == (0, "")
    return run("authenticate", *options, stdin=done.out, KMESH_AWSIAM_LISTEN=live.address)


def test_aws_eks_get_token_piped_into_authenticate_prints_the_identity(live: Served, aws: Aws) -> None:
    """Issue 2, "What it must show"."""
    options = ("--type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app")
    done = piped(get_token(aws, AUDIENCE), live, *options)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("allowed\n")
    assert "type=dataplane mesh=default service=demo-app" in done.out


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"AWS_DEFAULT_REGION": "eu-west-1"}, id="another-region"),
        pytest.param({"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}, id="global-endpoint"),
        pytest.param({"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, id="fips-and-dual-stack"),
    ],
)
def test_aws_eks_get_token_is_accepted_from_every_endpoint(live: Served, aws: Aws, variables: dict[str, str]) -> None:
    assert piped(get_token(aws, AUDIENCE, **variables), live).status == 0


def test_aws_eks_get_token_for_another_cluster_is_refused(live: Served, aws: Aws) -> None:
    done = piped(get_token(aws, "another-cluster"), live)
    assert done.status == 1
    assert done.out.startswith("denied: sts_rejected (401)\n")


def test_aws_eks_get_token_for_an_endpoint_of_ones_own_is_refused_with_the_remedy(live: Served, aws: Aws) -> None:
    done = piped(get_token(aws, AUDIENCE, AWS_ENDPOINT_URL_STS=aws.emulator.url), live)
    assert done.status == 1
    assert done.out.startswith("denied: host_not_allowed (401)\n")
    assert "unset AWS_ENDPOINT_URL_STS" in done.out


# hvac.


@contextmanager
def vault() -> Iterator[tuple[str, list[str]]]:
    """A Vault that admits everybody, and records what was posted."""
    posted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = json.dumps({"auth": {"client_token": "x"}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", posted
        finally:
            server.shutdown()
            thread.join()


def iam_login(session: SessionCredentials, **options: str | None) -> str:
    """Return what hvac posts to Vault: an envelope of the tool."""
    with vault() as (url, posted):
        client = hvac.Client(url=url)
        keys = (session.access_key_id, session.secret_access_key, session.session_token)
        client.auth.aws.iam_login(*keys, **options)
        client.adapter.close()
    return posted[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"header_value": AUDIENCE, "role": "demo-app"}, None),
        ({"header_value": AUDIENCE, "role": None}, None),
        ({"header_value": AUDIENCE, "role": "demo-app", "region": "us-east-1"}, None),
        ({"header_value": "vault.example", "role": "demo-app"}, "audience_mismatch"),
        ({"role": "demo-app"}, "audience_missing"),
        ({"header_value": AUDIENCE, "role": "demo-app", "region": "eu-west-1"}, "scope_mismatch"),
    ],
    ids=["bound", "role-null", "its-one-region", "another-audience", "unbound", "another-region"],
)
async def test_hvacs_iam_login(
    service: RunningService, aws: Aws, options: dict[str, str | None], reason: str | None
) -> None:
    response = await service.present(iam_login(aws.task(), **options))
    assert response.json().get("reason") == reason
    assert response.status_code == (200 if reason is None else 401)
    assert len(aws.sts_calls()) == (reason is None)


async def test_hvacs_envelope_in_base64url_is_accepted(service: RunningService, aws: Aws) -> None:
    envelope = iam_login(aws.task(), header_value=AUDIENCE, role="demo-app")
    assert (await service.present(base64url(envelope))).status_code == 200


# boto3.


def sts_of(session: SessionCredentials, header: str | None, audience: str) -> Any:
    """Return boto3's client of STS, which signs an audience through its own hooks."""
    create: Any = boto3.Session(region_name="us-east-1", **session.boto3()).client
    options: Any = {"ignore_configured_endpoint_urls": True}  # the service uses the variables of this process
    client = create("sts", config=Config(**options))

    def add_audience(request: AWSRequest, **_: Any) -> None:
        if header:
            request.headers[header] = audience

    client.meta.events.register("before-sign.sts.GetCallerIdentity", add_audience)
    return client


def presigned(
    session: SessionCredentials, *, audience: str = AUDIENCE, method: str | None = "GET", expires: int = 900
) -> str:
    client = sts_of(session, "x-kuma-audience", audience)
    url: str = client.generate_presigned_url("get_caller_identity", ExpiresIn=expires, HttpMethod=method)
    return f"kuma-aws-v1.{base64url(url)}"


@pytest.mark.parametrize(
    ("options", "reason", "calls"),
    [
        ({}, None, 1),
        ({"audience": "another"}, "sts_rejected", 1),
        ({"method": None}, "sts_rejected", 1),  # boto3 then signs for POST, which the URL does not show
        ({"expires": 3600}, "credential_malformed", 0),
    ],
    ids=["bound", "another-audience", "for-post", "boto3s-own-hour"],
)
async def test_boto3s_presigned_url(
    service: RunningService, aws: Aws, options: dict[str, Any], reason: str | None, calls: int
) -> None:
    response = await service.present(presigned(aws.task(), **options))
    assert response.json().get("reason") == reason
    assert len(aws.sts_calls()) == calls


ANSWER: Final = b"<GetCallerIdentityResponse><GetCallerIdentityResult/><ResponseMetadata/></GetCallerIdentityResponse>"


def posted(session: SessionCredentials, header: str | None, audience: str) -> AWSPreparedRequest:
    """Return the POST that boto3 signs for the real host, captured before it is sent."""
    held: list[AWSPreparedRequest] = []

    def hold(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        held.append(request)
        raw = urllib3.HTTPResponse(io.BytesIO(ANSWER), preload_content=False)
        return AWSResponse(str(request.url), 200, HTTPHeaders(), raw)

    client = sts_of(session, header, audience)
    client.meta.events.register("before-send.sts.GetCallerIdentity", hold)
    client.get_caller_identity()
    return held[0]


def text_of(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def headers_of(request: AWSPreparedRequest) -> dict[str, str]:
    return {name: text_of(value) for name, value in request.headers.items()}


def plain(request: AWSPreparedRequest) -> str:
    members = {
        "method": request.method,
        "url": request.url,
        "headers": headers_of(request),
        "body": text_of(request.body),
    }
    return json.dumps(members)


def vaults(spell: Callable[[Mapping[str, str]], Mapping[str, Any]]) -> Callable[[AWSPreparedRequest], str]:
    def write(request: AWSPreparedRequest) -> str:
        headers = json.dumps(spell(headers_of(request)))
        members = {
            "iam_http_request_method": request.method,
            "iam_request_url": b64encode(str(request.url).encode()).decode(),
            "iam_request_body": b64encode(text_of(request.body).encode()).decode(),
            "iam_request_headers": b64encode(headers.encode()).decode(),
        }
        return json.dumps(members)

    return write


FORMS: Final[dict[str, tuple[str, Callable[[AWSPreparedRequest], str]]]] = {
    "plain": ("X-Kuma-Audience", plain),
    "plain-in-base64url": ("X-Kuma-Audience", lambda request: base64url(plain(request))),
    "vault": ("X-Vault-AWS-IAM-Server-ID", vaults(dict)),
    "vault-in-lists": (
        "X-Vault-AWS-IAM-Server-ID",
        vaults(lambda headers: {name: [value] for name, value in headers.items()}),
    ),
    "vault-as-go-writes-it": (
        "X-Vault-AWS-IAM-Server-ID",
        vaults(lambda headers: {name.title(): [value] for name, value in sorted(headers.items())}),
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_boto3s_signed_post(service: RunningService, aws: Aws, form: str) -> None:
    """Accepted for this audience; refused for another one, for the header of another form, and without one."""
    header, write = FORMS[form]
    foreign = "X-Vault-AWS-IAM-Server-ID" if form.startswith("plain") else "X-Kuma-Audience"
    outcomes = []
    for name, audience in ((header, AUDIENCE), (header, "another"), (foreign, AUDIENCE), (None, "")):
        response = await service.present(write(posted(aws.task(), name, audience)))
        outcomes.append(response.json().get("reason", "allowed"))
    assert outcomes == ["allowed", "audience_mismatch", "audience_mismatch", "audience_missing"]
    assert len(aws.sts_calls()) == 1
