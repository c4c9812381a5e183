"""One function for each parser: bytes in, and nothing out unless a property is broken, which raises.

A parser may refuse with its own error and nothing else. Whatever it accepts must mean one thing, and be harmless.
"""

import asyncio
import base64
import contextlib
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from app.api.schemas import AuthenticateCall, ProxyMember, parse_call
from app.cli.shape import explain
from app.core.arn import ArnError, parse_arn
from app.core.base64_text import Base64TextError, decode_base64, decode_base64url, encode_base64url
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.credential import JWT_HEADER, decode_credential, encode_jwt_clothes, encode_native
from app.core.endpoints import StsEndpoint, select_endpoints
from app.core.envelope import decode_envelope
from app.core.errors import AuthenticationError, AuthorizationError, CredentialError, RequestError, UpstreamError
from app.core.forwarding import ValidatedRequest
from app.core.header_rules import AUDIENCE_HEADERS
from app.core.key_account import account_of_key_id
from app.core.presigned import PARAMETERS, decode_presigned_url
from app.core.principal import AdmittedPrincipal, Principal, admit, read_principal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyType, ZoneListener
from app.core.records import RecordError, decode_identity, decode_role, encode_identity, encode_role
from app.core.request_policy import MAX_LIFETIME, RequestPolicy, require_fresh, validate
from app.core.role_grant import GrantPolicy, match
from app.core.role_tags import RoleRecord, read_grant
from app.core.signed_request import ALL_FORMS, CredentialForm, SignedRequest
from app.core.sigv4 import parse_authorization
from app.core.strict_json import StrictJsonError, parse_object
from app.core.sts_documents import read_error_code
from app.core.token_kind import TokenKind
from app.http.http1 import MAX_REPLY_BYTES, Connection, HttpError, HttpReply
from app.http.pool import Origin
from app.local.addresses import TcpAddress, parse_listen_address
from app.local.caller_tokens import CallerTokenFile, CallerTokens, CallerTokenSource
from app.settings.values import (
    mask_url,
    parse_account_meshes,
    parse_accounts,
    parse_audience,
    parse_endpoint_url,
    parse_external_id,
    parse_extra_regions,
    parse_forms,
    parse_proxy_url,
    parse_regions,
    parse_role_name,
)
from app.store.sealing import SealError, derive_key, open_sealed
from app.sts.endpoints import load_sts_endpoints, make_sts_endpoints
from app.tokens.claims import write_claims
from app.tokens.codec import parse_token, require_current
from app.tokens.reading import read_claims_of_token

NOW: Final = datetime(2026, 11, 24, 5, 15, tzinfo=UTC)
AUDIENCE: Final = "audience-of-the-fuzzer"
ACCOUNT: Final = "111122223333"
STORE_KEY: Final = derive_key(bytes(range(32)))
QUESTION: Final = b"Action=GetCallerIdentity&Version=2011-06-15"
# In the seeds of `shape`: whatever becomes of them, nothing of them is shown.
SIGNATURE: Final = "5ec2e7" * 10 + "5ec2"
TOKEN: Final = "IQoJb3JpZ2luX2VjSECRET" * 8

_ENDPOINTS: Final = select_endpoints(load_sts_endpoints(), partition="aws")
_ENDPOINT: Final = _ENDPOINTS["sts.us-east-1.amazonaws.com"]
_POLICIES: Final = tuple(
    RequestPolicy(endpoints=_ENDPOINTS, audience=AUDIENCE, allow_unbound=allow_unbound)
    for allow_unbound in (False, True)
)
_SENT_HEADERS: Final = AUDIENCE_HEADERS | {
    "accept",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
}
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*", re.ASCII)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_TAG_VALUE: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_GRANTS: Final = GrantPolicy(enabled_types=frozenset(ProxyType))
_PRINCIPAL: Final = Principal(
    partition="aws",
    account=ACCOUNT,
    role="demo-app",
    role_id="AROAEXAMPLEEXAMPLE001",
    session="4f1c",
    request_id="r-1",
)

Target = Callable[[bytes], None]


class BrokenPropertyError(AssertionError):
    """What must always hold does not."""


def require(holds: object, what: str) -> None:
    """Raise unless a property holds; unlike ``assert`` also under ``python -O``."""
    if not holds:
        raise BrokenPropertyError(what)


def text_of(data: bytes) -> str:
    """Any bytes as a text: UTF-8, and where they are none lone surrogates, as JSON can bring them about."""
    return data.decode(errors="surrogateescape")


# Credentials.


def credential(data: bytes) -> None:
    """A credential's whole text: a request or `CredentialError`; what is let through is harmless."""
    text = text_of(data)
    with contextlib.suppress(CredentialError):
        request = decode_credential(text)
        require(decode_credential(text, {request.form}) == request, "a form that is on reads another request")
        require(not reads(text, ALL_FORMS - {request.form}), "a form that is off is read as another")
        judge(request)


def reads(text: str, forms: AbstractSet[CredentialForm]) -> bool:
    """Whether a text decodes as a credential of one of the given forms."""
    try:
        decode_credential(text, forms)
    except CredentialError:
        return False
    return True


def presigned(data: bytes) -> None:
    """A URL as such, since base64 hides it from a mutator: every dress reads it alike."""
    text = text_of(data)
    requests = []
    for form in (CredentialForm.NATIVE, CredentialForm.JWT, CredentialForm.EKS):
        with contextlib.suppress(CredentialError):
            requests.append(decode_presigned_url(text, form))
    require(len(requests) in (0, 3), "one dress reads what another refuses")
    for request in requests:
        judge(request)
    if requests and len(text) < 8 * 1024:
        require(decode_credential(encode_native(text)) == requests[0], "the native form reads another request")
        require(decode_credential(encode_jwt_clothes(text)) == requests[1], "the JWT's clothes read another request")


def jwt_clothes(data: bytes) -> None:
    """The header of a JWT, and behind a line break its payload: only the two objects of this form are one."""
    header, _, payload = data.partition(b"\n")
    parts = f"{encode_base64url(header)}.{encode_base64url(payload)}."
    with contextlib.suppress(CredentialError):
        request = decode_credential(parts)
        require(json.loads(header, object_pairs_hook=_once) == JWT_HEADER, "another header")
        members = json.loads(payload, object_pairs_hook=_once)
        require(members.keys() == {"url"}, "another payload")
        require(request == decode_presigned_url(members["url"], CredentialForm.JWT), "another URL")
        judge(request)


def envelope(data: bytes) -> None:
    """The JSON of an envelope as such; what a plain one says, a Vault's says in base64."""
    text = text_of(data)
    with contextlib.suppress(CredentialError):
        request = decode_envelope(text)
        judge(request)
        members = json.loads(text, object_pairs_hook=_once)
        if request.form is CredentialForm.PLAIN_ENVELOPE:
            require(members.keys() == {"method", "url", "headers", "body"}, "an unknown member was passed over")
            twin = decode_envelope(json.dumps(_as_vault(members)))
            require(replace(twin, form=request.form) == request, "a Vault's envelope says something else")
        else:
            require(members.keys() - {"role"} == _as_vault(members).keys(), "an unknown member was passed over")


def _as_vault(members: Mapping[str, Any]) -> dict[str, str]:
    texts = {
        "iam_request_url": members.get("url", ""),
        "iam_request_body": members.get("body", ""),
        "iam_request_headers": json.dumps(members.get("headers")),
    }
    encoded = {name: base64.b64encode(text.encode(errors="surrogatepass")).decode() for name, text in texts.items()}
    return {"iam_http_request_method": members.get("method", ""), **encoded}


def authorization(data: bytes) -> None:
    """An Authorization value: written anew it says the same."""
    with contextlib.suppress(CredentialError):
        signature = parse_authorization(text_of(data))
        require(parse_authorization(signature.authorization()) == signature, "written anew it says something else")


def judge(request: SignedRequest) -> None:
    """Take a decoded request through the rules, under both settings."""
    for policy in _POLICIES:
        with contextlib.suppress(CredentialError):
            validated = validate(request, policy)
            assert_rebuilt(request, validated, policy)
            require_fresh(validated, NOW)


def assert_rebuilt(request: SignedRequest, validated: ValidatedRequest, policy: RequestPolicy) -> None:
    """What goes out asks AWS for the caller's identity, and holds nothing of the client outside of values (I1 to I5)."""
    require(policy.endpoints[validated.endpoint.host] is validated.endpoint, "the host is none of the set")
    headers = {name.lower(): value for name, value in validated.headers}
    require(len(headers) == len(validated.headers), "a header goes out twice")
    require(headers["host"] == validated.endpoint.host, "the Host header is not that of the set")
    require(headers.keys() <= _SENT_HEADERS, "an unknown header goes out")
    require(all(map(_VALUE.fullmatch, headers.values())), "a header's value could be read in two ways")
    require(timedelta(0) < validated.lifetime <= MAX_LIFETIME, "it lives too long, or not at all")
    audience = headers.keys() & AUDIENCE_HEADERS
    require(audience <= {request.form.audience_header}, "the audience of another form goes out")
    require(policy.allow_unbound or audience, "nothing binds it to an audience")
    require(all(headers[name] == policy.audience for name in audience), "another audience goes out")
    if validated.form.is_presigned:
        assert_rebuilt_url(request, validated)
    else:
        require((validated.method, validated.target, validated.body) == ("POST", "/", QUESTION), "another POST")
        require(headers["content-length"] == str(len(QUESTION)), "another length")
        require(headers["authorization"] == request.signature.authorization(), "another signature")
    for secret in (request.signature.value, request.security_token):
        require(not secret or len(secret) < len(SIGNATURE) or secret not in repr(validated), "repr shows a secret")


def assert_rebuilt_url(request: SignedRequest, validated: ValidatedRequest) -> None:
    """The nine parameters, each once, and each means what was read."""
    require((validated.method, validated.body) == ("GET", b""), "a body, or another method")
    path, _, query = validated.target.partition("?")
    pairs = [pair.split("=") for pair in query.split("&")]
    require(path == "/", "another path")
    require([name for name, _ in pairs] == sorted(PARAMETERS), "other parameters, or in another order")
    require(all(_ENCODED.fullmatch(value) for _, value in pairs), "a value could end early")
    require({name: unquote(value) for name, value in pairs} == request.parameters, "a value means something else")
    require(query.startswith(QUESTION.decode()), "another action")


# Texts.


def strict_json(data: bytes) -> None:
    """An object that every parser reads alike, or `StrictJsonError`."""
    with contextlib.suppress(StrictJsonError):
        value = parse_object(data)
        require(value == json.loads(data.decode(), object_pairs_hook=_once), "another parser reads something else")
    text = text_of(data)
    with contextlib.suppress(StrictJsonError):
        require(parse_object(text) == json.loads(text, object_pairs_hook=_once), "another parser reads something else")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len({name for name, _ in pairs}) == len(pairs), "a member stands twice")
    return dict(pairs)


def base64_text(data: bytes) -> None:
    """One spelling a value, in both alphabets; and every value has one."""
    require(decode_base64url(encode_base64url(data)) == data, "it does not round-trip")
    require(decode_base64(base64.b64encode(data).decode()) == data, "it does not round-trip")
    text = text_of(data)
    with contextlib.suppress(Base64TextError):
        require(encode_base64url(decode_base64url(text)) == text, "two spellings of one value")
    with contextlib.suppress(Base64TextError):
        require(base64.b64encode(decode_base64(text)).decode() == text, "two spellings of one value")


# What STS and IAM say.

_MEDIA_TYPES: Final = ("application/json", "text/xml", "application/xml", "text/html")


def sts_document(data: bytes) -> None:
    """An answer of status 200; the first byte picks its type. What is believed agrees with itself (I10)."""
    media_type = _MEDIA_TYPES[data[0] % len(_MEDIA_TYPES)] if data else ""
    body = data[1:]
    reply = StsReply(status=200, content_type=media_type, body=body, request_id="r-1")
    with contextlib.suppress(UpstreamError):
        identity = read_caller_identity(reply, _ENDPOINT)
        require(media_type != "text/html", "another type is believed")
        require(_ACCOUNT.fullmatch(identity.account), "the account is none")
        require(identity.arn.partition == _ENDPOINT.partition, "another partition")
        require(
            said_once(media_type, body) == [identity.account, str(identity.arn), identity.user_id], "another reading"
        )
        read_principal_of(identity)


def said_once(media_type: str, body: bytes) -> list[str | None]:
    """Account, ARN and UserId as a second parser reads them, each wherever it stands; doubled ones are there twice."""
    if media_type == "application/json":
        found: list[str | None] = []
        result = json.loads(body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
        return [*found, result["Account"], result["Arn"], result["UserId"]]
    require(b"<!" not in body, "a declaration was read")
    root = ET.fromstring(body.decode())  # noqa: S314 - nothing is left to expand
    [result] = [child for child in root if child.tag.endswith("}GetCallerIdentityResult")]
    wanted = ("Account", "Arn", "UserId")
    return [child.text for name in wanted for child in result if child.tag.rpartition("}")[2] == name]


def read_principal_of(identity: CallerIdentity) -> None:
    """Whoever is let through is an assumed role, and its account stands in the list."""
    with contextlib.suppress(AuthorizationError):
        principal = read_principal(identity)
        require(principal.arn == str(identity.arn), "another ARN")
        require(identity.arn.resource == f"assumed-role/{principal.role}/{principal.session}", "another resource")
        require(identity.user_id == f"{principal.role_id}:{principal.session}", "another id")
        require(":" not in principal.role + principal.session, "a colon in a name")
        admitted = admit(principal, frozenset({ACCOUNT}))
        require(admitted.principal.account == ACCOUNT, "another account is let in")


def error_code(data: bytes) -> None:
    """An answer that is no 200: always a refusal, with a code of AWS's grammar or none (I22)."""
    code = read_error_code(data)
    require(code is None or re.fullmatch(r"[A-Za-z0-9.]{1,128}", code, re.ASCII), "a code that is none")
    reply = StsReply(status=400, content_type="text/xml", body=data, request_id="r-1")
    try:
        read_caller_identity(reply, _ENDPOINT)
    except (AuthenticationError, UpstreamError):
        return
    raise BrokenPropertyError("an identity with status 400")


def arn(data: bytes) -> None:
    """An ARN, and behind a line break the UserId: taken apart it is the same again, and only a role is a principal."""
    text, _, user_id = text_of(data).partition("\n")
    result = {"Account": ACCOUNT, "Arn": text, "UserId": user_id}
    body = json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result}}).encode()
    reply = StsReply(status=200, content_type="application/json", body=body, request_id="r-1")
    with contextlib.suppress(ArnError, UpstreamError):
        parts = parse_arn(text)
        require(str(parts) == text, "put together again it is another")
        endpoint = StsEndpoint(host="x", partition=parts.partition, region="x", signing_region="x")
        identity = read_caller_identity(reply, endpoint)
        require(identity.arn == parts and identity.account == parts.account == ACCOUNT, "another account")
        read_principal_of(identity)


def role_tags(data: bytes) -> None:
    """Lines of ``key=value`` are tags; behind an empty line, those of a claim. Nothing but the tags grants (I14, I15)."""
    given, _, claimed = text_of(data).partition("\n\n")
    tags = tuple(pairs_of(given))
    role = RoleRecord(
        arn=f"arn:aws:iam::{ACCOUNT}:role/demo-app",
        role_id=_PRINCIPAL.role_id,
        name="demo-app",
        tags=tags,
        request_id="i-1",
    )
    for listeners in (frozenset[ZoneListener](), frozenset({ZoneListener.EGRESS}), frozenset(ZoneListener)):
        with contextlib.suppress(AuthorizationError):
            judge_role(role, tags, dict(pairs_of(claimed)), listeners)


def judge_role(
    role: RoleRecord, tags: tuple[tuple[str, str], ...], said: dict[str, str], listeners: frozenset[ZoneListener]
) -> None:
    """Read what a role grants to a proxy with these listeners, and compare the grant with what the proxy asserts."""
    proxy = ProxyAssertion(
        type=ProxyType.DATAPLANE if listeners or "mesh" in said else ProxyType.EGRESS,
        mesh=said.get("mesh"),
        zone=said.get("zone"),
        tags={"kuma.io/service": frozenset(said.get("services", "").split(","))} if "services" in said else {},
        labels={key: value for key, value in said.items() if key.startswith("kuma.io/")},
        listeners=listeners,
    )
    grant = read_grant(AdmittedPrincipal(_PRINCIPAL), role, _GRANTS, proxy)
    require(tags.count(("kuma.io/type", grant.type.value)) == 1, "a type that no tag gives")
    is_in_mesh = grant.type is ProxyType.DATAPLANE or bool(listeners)
    require((grant.mesh is not None) == is_in_mesh, "a mesh too many, or none")
    granted = {name: getattr(grant, name) for name in ("mesh", "service", "workload", "zone")}
    for name, value in granted.items():
        if value is not None:
            require(tags.count((f"kuma.io/{name}", value)) == 1, "a value that no tag gives")
            require(_TAG_VALUE.fullmatch(value), "a value that could be read in two ways")
    identity = match(grant, proxy, _GRANTS)
    require(all(getattr(identity, name) == value for name, value in granted.items()), "the proxy widened it")
    require(len(listeners) < len(ZoneListener), "both kinds of listener")
    require(grant.mesh in {None, proxy.mesh}, "another mesh")
    require(grant.service is None or proxy.services == {grant.service}, "another service")
    require(grant.mesh is None or proxy.workload == grant.workload, "a workload that no tag binds")
    require(not listeners or not proxy.services, "a service of a zone proxy")
    require(grant.zone is None or proxy.zone in {None, grant.zone}, "another zone")


def pairs_of(text: str) -> Iterator[tuple[str, str]]:
    """``key=value`` lines."""
    return ((key, value) for key, equals, value in (line.partition("=") for line in text.split("\n")) if equals)


# The API, the settings, the command line.

_FIELDS: Final = frozenset({"the body", "an unknown member", *AuthenticateCall.model_fields, *ProxyMember.model_fields})


def call(data: bytes) -> None:
    """The body of an API call: a credential and a claim, or `RequestError` that names a field of the schema (I24)."""
    try:
        text, proxy = parse_call(data)
    except RequestError as error:
        require(error.field is None or set(error.field.split(".")) <= _FIELDS, "a field that no schema has")
        return
    members = json.loads(data.decode(), object_pairs_hook=_once)
    require(members.keys() <= {"credential", "proxy"}, "an unknown member was passed over")
    require(members["credential"] == text, "another credential")
    if proxy is None:
        require(members.get("proxy") is None, "a claim was passed over")
        return
    said = members["proxy"]
    require(said.keys() <= ProxyMember.model_fields.keys(), "an unknown member was passed over")
    require((proxy.type, proxy.mesh, proxy.zone) == (said["type"], said.get("mesh"), said.get("zone")), "another claim")
    tags, labels = said.get("tags") or {}, said.get("labels") or {}
    # What decides nothing need not be kept; what is kept is what was said.
    require(all(set(tags[key]) == values for key, values in proxy.tags.items()), "other tags")
    require(proxy.labels.items() <= labels.items(), "other labels")
    services = set(tags.get(SERVICE_TAG, ()))
    services |= {labels[SERVICE_TAG]} if SERVICE_TAG in labels else set()
    require((proxy.services, proxy.workload) == (services, labels.get(WORKLOAD_TAG)), "another service or workload")
    require(proxy.listeners == set(said.get("listeners") or ()), "other listeners")
    require(not proxy.listeners or proxy.type is ProxyType.DATAPLANE, "listeners of no Dataplane")


CALLER_TOKEN: Final = b"caller-token-of-the-fuzzer/+=0123"
_CALLERS: Final = CallerTokenSource(
    CallerTokenFile(Path("tokens"), CallerTokens((hashlib.sha256(CALLER_TOKEN).digest(),)))
)


def caller(data: bytes) -> None:
    """Lines of ``name: value`` are a call's headers: nobody is known but by one Authorization with exactly the token."""
    headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in data.split(b"\n"))]
    if _CALLERS.find_fault(headers) is None:
        [value] = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = value.partition(b" ")
        require((scheme.lower(), token.strip(b" ")) == (b"bearer", CALLER_TOKEN), "an unknown caller is let in")


def settings(data: bytes) -> None:
    """The values of variables: what it means, or `ValueError` with a sentence."""
    text = text_of(data)
    for assert_value in (
        assert_accounts,
        assert_account_meshes,
        assert_listen_address,
        assert_endpoint_url,
        assert_plain_values,
    ):
        with contextlib.suppress(ValueError):
            assert_value(text)


def assert_accounts(text: str) -> None:
    """12 ASCII digits each, and each stands in the text by itself."""
    accounts = parse_accounts(text)
    require(accounts, "an empty list")
    require(all(map(_ACCOUNT.fullmatch, accounts)), "an account that is none")
    require(accounts == {entry.strip() for entry in text.split(",")}, "an account that nobody wrote")


def assert_account_meshes(text: str) -> None:
    """No account without a mesh, and ``*`` stands for itself alone."""
    meshes = parse_account_meshes(text)
    require(meshes and all(map(_ACCOUNT.fullmatch, meshes)), "an account that is none")
    names = frozenset().union(*meshes.values())
    require(all(meshes.values()) and all(name == "*" or _TAG_VALUE.fullmatch(name) for name in names), "no mesh")
    require(text.count("=") == len(meshes), "an account that was passed over")


def assert_listen_address(text: str) -> None:
    """Written again it is the same address; what counts as loopback is reachable from here alone."""
    address = parse_listen_address(text)
    require(parse_listen_address(str(address)) == address, "written again it is another address")
    if isinstance(address, TcpAddress) and address.is_loopback and address.host != "localhost":
        require(ipaddress.ip_address(address.host).is_loopback, "not loopback")


def assert_endpoint_url(text: str) -> None:
    """The host that was checked is the one that is dialled, as the client that dials reads it (Teleport PR 67620)."""
    for parse in (parse_endpoint_url, parse_proxy_url):
        try:
            url = parse(text)
        except ValueError:
            continue
        try:
            dialled = Origin.of(url)
        except (ValueError, LookupError) as error:
            raise BrokenPropertyError("it is accepted at start, and cannot be dialled") from error
        require(dialled.scheme in ("http", "https"), "another scheme")
        require(dialled.host and "@" not in dialled.host, "no host")
        require(0 < dialled.port < 65536, "no port")  # noqa: PLR2004 - what a port is
        require("@" not in mask_url(url), "user information is shown")
        if parse is parse_endpoint_url:
            require("@" not in url, "user information")
            require(url.removeprefix(f"{dialled.scheme}://").lower() in _spellings(dialled), "another host")
            is_safe = dialled.scheme == "https" or is_loopback_host(dialled.host)
            require(is_safe, "a credential would cross the network in clear")


def _spellings(origin: Origin) -> tuple[str, ...]:
    """Return how a URL can write what is dialled; its authority is nothing but that."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host, f"{host}:{origin.port}", f"{host}:"


def is_loopback_host(host: str) -> bool:
    """Whether the name that is dialled is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def assert_plain_values(text: str) -> None:
    """What becomes a header, an ARN or a look-up holds no syntax of any of them."""
    for parse in (parse_audience, parse_external_id, parse_role_name):
        with contextlib.suppress(ValueError):
            value = parse(text)
            require(value == text and value.isascii() and value.isprintable(), "it could be read in two ways")
    with contextlib.suppress(ValueError):
        require("" not in parse_regions(text), "a region without a name")
    with contextlib.suppress(ValueError):
        require(parse_forms(text) <= ALL_FORMS, "a form that is none")
    with contextlib.suppress(ValueError):
        hosts = [endpoint.host for region in parse_extra_regions(text) for endpoint in make_sts_endpoints(region)]
        require(
            all(re.fullmatch(r"sts[a-z0-9-]*(?:\.[a-z0-9-]+)+", host, re.ASCII) for host in hosts), "no host of STS"
        )


def shape(data: bytes) -> None:
    """``authenticate --explain``: it never raises, and shows no secret of whatever it is shown."""
    text = text_of(data).replace("$S", SIGNATURE).replace("$T", TOKEN)
    lines = [f"{heading}: {words}" for heading, words in explain(text, NOW)]
    shown = "\n".join(lines)
    require(all(line.isprintable() and line.isascii() for line in lines), "a line that a terminal would act on")
    require(len(shown) < 64 * 1024, "a flood of lines")
    require(SIGNATURE not in shown, "the signature is shown")
    require(not any(TOKEN[at : at + 48] in shown for at in range(0, len(TOKEN) - 48, 8)), "the token is shown")


def record(data: bytes) -> None:
    """What a store of replicas holds: sealed, nothing opens that no replica wrote; opened, it is read like AWS's answer."""
    with contextlib.suppress(SealError):
        open_sealed(data, (STORE_KEY,), "identity", b"key", now=NOW.timestamp(), max_seconds=900.0)
        raise BrokenPropertyError("a record that no replica wrote was opened")
    with contextlib.suppress(RecordError):
        identity = decode_identity(data, partition="aws")
        require(
            decode_identity(encode_identity(identity), partition="aws") == identity, "it is not read as it was written"
        )
        require(
            identity.arn.partition == "aws" and len(identity.account) == len(ACCOUNT), "another partition or account"
        )
    with contextlib.suppress(RecordError):
        role = decode_role(data)
        require(decode_role(encode_role(role)) == role, "it is not read as it was written")


def token(data: bytes) -> None:
    """A token whose signature is taken for good: what is read of it is what would be written, and of one kind alone."""
    kinds = set()
    for kind in TokenKind:
        with contextlib.suppress(CredentialError):
            claims = parse_token(text_of(data)).claims
            subject, life = read_claims_of_token(claims, kind, AUDIENCE)
            require(write_claims(subject, life, AUDIENCE) == claims, "it is not what would be written")
            kinds.add(kind)
            require_current(life, NOW)
    require(len(kinds) <= 1, "it is of both kinds")


def key_id(data: bytes) -> None:
    """The hint in a key id: an account's number or nothing."""
    account = account_of_key_id(text_of(data))
    require(account is None or re.fullmatch(r"[0-9]{12}", account, re.ASCII), "no account")


def answer(data: bytes) -> None:
    """What a host sends, in any pieces: one answer or none, the same in whatever pieces it comes, and bounded."""
    size, sent = data[0] + 1 if data else 1, data[1:]
    whole = _exchange([sent])
    require(_exchange([sent[at : at + size] for at in range(0, len(sent), size)]) == whole, "pieces change the answer")
    if whole is not None:
        require(len(whole.body) <= MAX_REPLY_BYTES, "a body beyond its bound")
        require(all(name == name.lower() and b"\n" not in value for name, value in whole.headers.items()), "a header")


def _exchange(pieces: Iterable[bytes]) -> HttpReply | None:
    """Play one exchange without an event loop: what `Connection` waits for is here already."""
    connection = Connection(_LOOP)
    connection.connection_made(_Nowhere())
    exchange = connection.exchange(b"", float("inf"))
    exchange.send(None)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    try:
        exchange.send(None)
    except StopIteration as ended:
        return cast("HttpReply", ended.value)
    except (HttpError, OSError):
        return None
    raise BrokenPropertyError("it goes on waiting")


class _Nowhere(asyncio.Transport):
    """The transport of a connection that nobody is at the other end of."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False

    def write(self, data: Any) -> None:
        """See `asyncio.WriteTransport`."""

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._closed = True

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closed


_LOOP: Final = asyncio.new_event_loop()

TARGETS: Final[dict[str, Target]] = {
    target.__name__: target
    for target in (
        credential,
        presigned,
        jwt_clothes,
        envelope,
        authorization,
        strict_json,
        base64_text,
        sts_document,
        error_code,
        arn,
        role_tags,
        call,
        caller,
        settings,
        shape,
        record,
        key_id,
        answer,
        token,
    )
}
