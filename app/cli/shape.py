"""Describe any credential, offline and without its values: the output of ``authenticate --explain``.

Unlike the core, this module accepts any text, because it is not public what Kong's closed-source ``kuma-dp`` sends. The
description contains names, lengths, the age and the date of the credential. It contains other values only from closed sets
(STS hosts, regions, algorithm), and never a token or a signature.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from app.cli.token_verdicts import explain_token
from app.cli.verdicts import GRAMMAR, NOT_REACHED, failure, judge_request
from app.core.credential import EKS_PREFIX, NATIVE_PREFIX, decode_credential
from app.core.endpoints import AWS_GLOBAL, StsEndpoint
from app.core.errors import CredentialError
from app.core.header_rules import AUDIENCE_HEADERS
from app.core.request_policy import MAX_FUTURE_SKEW, MAX_LIFETIME, RequestPolicy
from app.core.signed_request import SignedRequest
from app.core.sigv4 import ALGORITHM, STS_SERVICE, Scope, parse_amz_date
from app.settings.values import DEFAULT_AUDIENCE
from app.sts.endpoints import load_sts_endpoints
from app.tokens.codec import looks_like_token
from app.tokens.keys import SigningKeys

Line = tuple[str, str]
Hosts = Mapping[str, StsEndpoint]

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,40}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{8}", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_JWT_PARTS: Final = ("header", "payload", "signature")
_MAX_DEPTH: Final = 6
_MAX_NAMES: Final = 40


def explain(
    text: str,
    now: datetime,
    endpoints: Collection[StsEndpoint] | None = None,
    *,
    audience: str = DEFAULT_AUDIENCE,
    keys: SigningKeys | None = None,
) -> Iterator[Line]:
    """Yield the description of a credential and the verdict of each rule, as pairs of a heading and a text.

    Args:
        text: the credential, or anything else.
        now: the current time.
        endpoints: the known STS endpoints; None for those that botocore knows.
        audience: the audience of the service.
        keys: the keys of the service, which verify a token; None if they are not at hand.
    """
    hosts = {endpoint.host: endpoint for endpoint in endpoints or load_sts_endpoints()}
    yield "size", f"{len(text)} characters"
    try:
        if looks_like_token(text):
            yield from explain_token(text, now, audience, keys)
            return
        request = decode_credential(text)
    except CredentialError as error:
        yield "form", f"none that is accepted: {error.detail}"
        yield from _look_into(text, "text", 0, hosts)
        yield failure(GRAMMAR, error)
        yield NOT_REACHED, "every other rule"
        return
    yield from _explain_decoded(request, now, hosts)
    yield (
        "judged with",
        f"audience {audience}, every known STS host, every form; the service's settings can be stricter",
    )
    yield from judge_request(request, RequestPolicy(endpoints=hosts, audience=audience), now)


def _explain_decoded(request: SignedRequest, now: datetime, hosts: Hosts) -> Iterator[Line]:
    yield "form", f"{request.form} ({'query-signed GET' if request.form.is_presigned else 'header-signed POST'})"
    yield "method", _closed(request.method, ("GET", "POST"))
    yield "host", _host(request.url.authority, hosts)
    yield "path", _closed(request.url.path, ("/",))
    yield "parameters", _names(request.parameters)
    yield "headers", _names(request.headers)
    yield "body", f"{len(request.body)} bytes"
    yield "algorithm", _closed(request.signature.algorithm, (ALGORITHM,))
    yield "scope", _scope(request.signature.scope, hosts)
    signed = request.signature.signed_headers
    yield "signed headers", _names(signed)
    yield "unsigned headers", _names(request.headers.keys() - set(signed))
    if not request.form.is_presigned:
        yield "signed, not given", _names(set(signed) - request.headers.keys())
    yield "audience header", _names(AUDIENCE_HEADERS.intersection(signed)) or "none: it is bound to nobody"
    yield "session token", "none" if request.security_token is None else f"{len(request.security_token)} characters"
    yield "expires", _seconds(request.expires)
    yield "age", _age(request.amz_date, now)


def _scope(scope: Scope, hosts: Hosts) -> str:
    """Describe the date, the region and the service of the signature. Only what everybody knows is shown."""
    regions = {AWS_GLOBAL, *(endpoint.signing_region for endpoint in hosts.values())}
    date = f"{scope.date[:4]}-{scope.date[4:6]}-{scope.date[6:]}" if _DATE.fullmatch(scope.date) else "no date"
    region = scope.region if scope.region in regions else f"no known region ({len(scope.region)} characters)"
    return f"date {date}, region {region}, service {_closed(scope.service, (STS_SERVICE,))}"


def _seconds(text: str | None) -> str:
    if text is None:
        return "not given"
    return f"{text} s" if _SECONDS.fullmatch(text) else f"no number of seconds ({len(text)} characters)"


def _age(amz_date: str, now: datetime) -> str:
    try:
        seconds = (now - parse_amz_date(amz_date)).total_seconds()
    except CredentialError as error:
        return f"unknown: {error.detail}"
    if seconds < 0:
        skew = MAX_FUTURE_SKEW.total_seconds()
        return f"{-seconds:.0f} s in the future{'' if -seconds <= skew else f': over, {skew:.0f} s are accepted'}"
    return f"{seconds:.0f} s{'' if seconds <= MAX_LIFETIME.total_seconds() else ': over, AWS keeps it for 900 s'}"


def _host(authority: str, hosts: Hosts) -> str:
    endpoint = hosts.get(authority)
    if endpoint is None:
        name, colon, _ = authority.partition(":")
        if colon and name in hosts:
            return f"{name} with a port, which is refused: sign for the host alone"
        return f"no known STS host ({len(authority)} characters); --extra-regions makes newer regions known"
    return f"{endpoint.host} (partition {endpoint.partition}, region {endpoint.region})"


def _closed(text: str, known: tuple[str, ...]) -> str:
    return text if text in known else f"another than {' or '.join(known)}"


def _names(names: Any) -> str:
    shown = sorted(name if _NAME.fullmatch(name) else f"(a name of {len(name)} characters)" for name in names)
    return ", ".join(shown[:_MAX_NAMES]) + (f" and {len(shown) - _MAX_NAMES} more" if len(shown) > _MAX_NAMES else "")


def _look_into(text: str, where: str, depth: int, hosts: Hosts) -> Iterator[Line]:
    """Describe what an unknown text contains: a URL, JSON, the parts of a JWT, or base64 of any of these."""
    if depth > _MAX_DEPTH:
        return
    prefix = next((prefix for prefix in (NATIVE_PREFIX, EKS_PREFIX) if text.startswith(prefix)), None)
    if prefix is not None:
        yield where, f"prefix {prefix}"
        yield from _look_into(text.removeprefix(prefix), f"{where} after the prefix", depth + 1, hosts)
    elif text.lstrip()[:1] in ("{", "["):
        yield from _look_into_json(text, where, depth, hosts)
    elif "://" in text[:16]:
        yield from _look_into_url(text, where, hosts)
    elif text.count(".") == len(_JWT_PARTS) - 1:
        for part, name in zip(text.split("."), _JWT_PARTS, strict=True):
            yield f"{where}: {name}", f"{len(part)} characters"
            yield from _look_into(part, f"{where}: {name}", depth + 1, hosts)
    elif (decoded := _any_base64(text)) is not None:
        yield where, f"base64 of {len(decoded)} characters"
        yield from _look_into(decoded, f"{where}, decoded", depth + 1, hosts)


def _look_into_url(text: str, where: str, hosts: Hosts) -> Iterator[Line]:
    try:
        url = urlsplit(text)
        names = [name for name, _ in parse_qsl(url.query, keep_blank_values=True)]
    except ValueError:
        yield where, "a URL that cannot be parsed"
        return
    yield f"{where}: URL", f"{_closed(url.scheme, ('https',))}, host {_host(url.netloc, hosts)}"
    yield f"{where}: parameters", _names(names)


def _look_into_json(text: str, where: str, depth: int, hosts: Hosts) -> Iterator[Line]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield where, "it begins like JSON, but is not valid JSON"
        return
    if not isinstance(value, dict):
        yield where, "JSON, but no object"
        return
    yield f"{where}: members", _names(value)
    for name, member in value.items():
        if isinstance(member, str) and _NAME.fullmatch(name):
            yield from _look_into(member, f"{where}.{name}", depth + 1, hosts)
        elif isinstance(member, dict):
            yield f"{where}.{_names([name])}: members", _names(member)


def _any_base64(text: str) -> str | None:
    padded = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode("ascii") if padded else None
    except (ValueError, binascii.Error):
        return None
