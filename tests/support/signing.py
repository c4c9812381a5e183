"""Credentials with real SigV4 signatures of botocore's own signers. Nothing is mocked or prerecorded.

A `Recipe` says what is to be signed: with one field of it changed, what comes out is still validly signed. A `SignedCall`
is what came out: with one part of that changed (`tests.support.mutations`), the signature may no longer cover it.
"""

import functools
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPMessage
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.core.credential import decode_credential
from app.core.endpoints import StsEndpoint, select_endpoints
from app.core.forwarding import ValidatedRequest
from app.core.request_policy import RequestPolicy, validate
from app.core.signed_request import CredentialForm
from app.sts.endpoints import load_sts_endpoints

NOW: Final = datetime(2026, 11, 24, 5, 15, tzinfo=UTC)
AUDIENCE: Final = "kuma-control-plane"
REGION: Final = "us-east-1"
HOST: Final = "sts.us-east-1.amazonaws.com"
BODY: Final = "Action=GetCallerIdentity&Version=2011-06-15"
FORM_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"

ACCESS_KEY_ID: Final = "ASIAEXAMPLEEXAMPLE01"
SECRET_KEY: Final = "EXAMPLE/made+up/secret/EXAMPLE+EXAMPLE01"
# As long as an ECS task's token, with the same beginning and run of slashes.
TOKEN: Final = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJGMEQC" + "EXAMPLE+made+up/token/" * 30 + "EXAMPLE=="

FORMS: Final = tuple(CredentialForm)
PRESIGNED_FORMS: Final = tuple(form for form in FORMS if form.is_presigned)
POSTED_FORMS: Final = tuple(form for form in FORMS if not form.is_presigned)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to sign. The defaults are the valid baseline of each form.

    Attributes:
        audience_header: the name of the header; None for the one of the form.
        expires: the value of X-Amz-Expires; None for the usual one of the form: 60 of the EKS tools, 900 of this project.
        headers: further headers of the request, which the signature covers.
        unsigned: names of headers that are sent but not signed.
        parameters: further query parameters, which the signature covers.
    """

    form: CredentialForm
    now: datetime = NOW
    host: str = HOST
    path: str = "/"
    region: str = REGION
    service: str = "sts"
    method: str | None = None
    action: str = "GetCallerIdentity"
    version: str = "2011-06-15"
    parameters: tuple[tuple[str, str], ...] = ()
    audience: str | None = AUDIENCE
    audience_header: str | None = None
    expires: int | None = None
    content_type: str | None = FORM_TYPE
    headers: Headers = ()
    unsigned: frozenset[str] = frozenset()
    body: str | None = None
    access_key_id: str = ACCESS_KEY_ID
    secret_key: str = SECRET_KEY
    token: str | None = TOKEN

    def sign(self) -> "SignedCall":
        return _presign(self) if self.form.is_presigned else _sign_post(self)

    def credential(self) -> str:
        return self.sign().credential()

    @property
    def key(self) -> Credentials:
        return Credentials(self.access_key_id, self.secret_key, self.token)

    @property
    def question(self) -> list[tuple[str, str]]:
        return [("Action", self.action), ("Version", self.version)]

    @property
    def binding(self) -> Headers:
        return () if self.audience is None else ((self.audience_header or self.form.audience_header, self.audience),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCall:
    """A signed request in parts, not yet written as a credential. A presigned URL carries no headers and no body."""

    form: CredentialForm
    method: str
    url: str
    headers: Headers = ()
    body: str = ""

    def credential(self) -> str:
        match self.form:
            case CredentialForm.NATIVE:
                return f"kuma-aws-v1.{base64url(self.url)}"
            case CredentialForm.EKS:
                return f"k8s-aws-v1.{base64url(self.url)}"
            case CredentialForm.JWT:
                return jwt({"alg": "none", "typ": "kuma-aws-v1"}, {"url": self.url})
            case CredentialForm.ENVELOPE | CredentialForm.PLAIN_ENVELOPE:
                return json.dumps(self.members())

    def members(self) -> dict[str, Any]:
        """The members of the form's envelope."""
        if self.form is CredentialForm.PLAIN_ENVELOPE:
            return {"method": self.method, "url": self.url, "headers": dict(self.headers), "body": self.body}
        return {
            "iam_http_request_method": self.method,
            "iam_request_url": base64(self.url),
            "iam_request_headers": base64(json.dumps(dict(self.headers))),
            "iam_request_body": base64(self.body),
        }


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def base64url(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def jwt(header: object, payload: object, signature: str = "") -> str:
    parts = (base64url(json.dumps(part, separators=(",", ":"))) for part in (header, payload))
    return ".".join((*parts, signature))


@functools.cache
def every_endpoint() -> tuple[StsEndpoint, ...]:
    return load_sts_endpoints()


@functools.cache
def endpoint_of(host: str) -> StsEndpoint:
    return next(endpoint for endpoint in every_endpoint() if endpoint.host == host)


def make_policy(*, partition: str = "aws", audience: str = AUDIENCE, allow_unbound: bool = False) -> RequestPolicy:
    endpoints = select_endpoints(every_endpoint(), partition=partition)
    return RequestPolicy(endpoints=endpoints, audience=audience, allow_unbound=allow_unbound)


@functools.cache
def default_policy() -> RequestPolicy:
    return make_policy()


def judge(credential: str, policy: RequestPolicy | None = None) -> ValidatedRequest:
    """Apply all rules of the service to a credential, except that of its age."""
    return validate(decode_credential(credential), policy or default_policy())


def signature_holds(
    request: ValidatedRequest, recipe: Recipe, headers: Iterable[tuple[str, str]] | None = None
) -> bool:
    """Return whether STS would accept the signature of an outgoing request, recomputed with the secret key.

    Args:
        request: the outgoing request.
        recipe: the recipe of the credential.
        headers: the headers that arrived; None for those of the request.
    """
    method, target, body = request.method, request.target, request.body
    headers = list(request.headers if headers is None else headers)
    sent = {name.lower(): value for name, value in headers}
    assert len(sent) == len(headers), "a header is sent twice"
    path, _, query = target.partition("?")
    claim = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    unsigned_query = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature="))
    if not query:
        algorithm, _, fields = sent["authorization"].partition(" ")
        claim = {f"X-Amz-{name}": value for name, value in (field.split("=", 1) for field in fields.split(", "))}
        claim |= {"X-Amz-Algorithm": algorithm, "X-Amz-Date": sent["x-amz-date"]}
    covered = {name: sent[name] for name in claim["X-Amz-SignedHeaders"].split(";")}
    arrived = AWSRequest(method, f"https://{sent['host']}{path}?{unsigned_query}".rstrip("?"), data=body)
    arrived.context["timestamp"] = claim["X-Amz-Date"]
    signer = _Verifier(recipe.key, recipe.service, recipe.region, covered)
    signature = signer.signature(signer.string_to_sign(arrived, signer.canonical_request(arrived)), arrived)
    return (claim["X-Amz-Algorithm"], claim["X-Amz-Credential"], claim["X-Amz-Signature"]) == (
        "AWS4-HMAC-SHA256",
        signer.scope(arrived),
        signature,
    )


class _Signer(SigV4Auth):
    """botocore's signer, with a given date and chosen SignedHeaders.

    `add_auth` does the same as botocore's, except that it does not read the clock. botocore's list of headers that it never
    signs, such as User-Agent, is ignored, since other SDKs have no such list.
    """

    unsigned: frozenset[str] = frozenset()

    def sign(self, request: AWSRequest, recipe: Recipe) -> None:
        self.unsigned = recipe.unsigned
        request.context["timestamp"] = recipe.now.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)  # type: ignore[attr-defined]
        signature = self.signature(self.string_to_sign(request, self.canonical_request(request)), request)
        self._inject_signature_to_request(request, signature)  # type: ignore[attr-defined]

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        names = {"host": urlsplit(str(request.url)).netloc} | {
            name.lower(): value for name, value in request.headers.items()
        }
        return _message({name: value for name, value in names.items() if name not in self.unsigned})


class _QuerySigner(_Signer, SigV4QueryAuth):
    """The same for a presigned URL."""


class _Verifier(SigV4Auth):
    """botocore's signer, which signs the named headers."""

    def __init__(self, key: Credentials, service: str, region: str, covered: Mapping[str, str]) -> None:
        super().__init__(key, service, region)
        self._covered = covered

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:  # noqa: ARG002 - the named ones, whatever it holds
        return _message(self._covered)


def _message(headers: Mapping[str, str]) -> HTTPMessage:
    message = HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    return message


def _presign(recipe: Recipe) -> SignedCall:
    method = recipe.method or "GET"
    expires = recipe.expires or (60 if recipe.form is CredentialForm.EKS else 900)
    query = urlencode([*recipe.question, *recipe.parameters])
    url = f"https://{recipe.host}{recipe.path}?{query}"
    request = AWSRequest(method, url, headers=dict(_in_order(recipe.binding, recipe.headers)))
    _QuerySigner(recipe.key, recipe.service, recipe.region, expires).sign(request, recipe)
    return SignedCall(form=recipe.form, method=method, url=str(request.url))


def _sign_post(recipe: Recipe) -> SignedCall:
    method = recipe.method or "POST"
    body = urlencode(recipe.question) if recipe.body is None else recipe.body
    url = f"https://{recipe.host}{recipe.path}"
    url += f"?{urlencode(recipe.parameters)}" if recipe.parameters else ""
    content_type = () if recipe.content_type is None else (("Content-Type", recipe.content_type),)
    request = AWSRequest(
        method, url, headers=dict(_in_order(content_type, recipe.binding, recipe.headers)), data=body.encode()
    )
    _Signer(recipe.key, recipe.service, recipe.region).sign(request, recipe)
    return SignedCall(form=recipe.form, method=method, url=url, headers=tuple(request.headers.items()), body=body)


def _in_order(*groups: Headers) -> Iterable[tuple[str, str]]:
    return [header for group in groups for header in group]


def for_endpoint(form: CredentialForm, endpoint: StsEndpoint) -> Recipe:
    return replace(Recipe(form=form), host=endpoint.host, region=endpoint.signing_region)
