"""Recordings of botocore's signers, with a request that is written by hand."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from recording import (
    AUDIENCE,
    BODY,
    CREDENTIALS,
    KUMA_HEADER,
    REGION,
    Recording,
    Seen,
    native,
    native_jwt,
    plain_envelope,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST = f"sts.{REGION}.amazonaws.com"
_FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
_AUDIENCE = {KUMA_HEADER: AUDIENCE}
# Headers that a careful caller may set before. botocore signs them, as all headers except User-Agent and a few more.
_ALL_HEADERS = {
    "Content-Length": str(len(BODY)),
    "Host": _HOST,
    "X-Amz-Content-SHA256": sha256(BODY.encode()).hexdigest(),
}


def recordings() -> Iterator[Recording]:
    """Yield POSTs signed in a header, then GETs presigned in the query."""
    slash = f"https://{_HOST}/"
    yield _post("post", slash, {**_FORM_TYPE, **_AUDIENCE})
    yield _post("post-no-path", f"https://{_HOST}", {**_FORM_TYPE, **_AUDIENCE})
    yield _post("post-no-content-type", slash, _AUDIENCE)
    yield _post("post-all-headers", slash, {**_FORM_TYPE, **_AUDIENCE, **_ALL_HEADERS})
    yield _post("post-signed-accept", slash, {**_FORM_TYPE, **_AUDIENCE, "Accept": "application/json"})
    yield _presigned("presigned", slash, "native")
    yield _presigned("presigned-jwt", slash, "native in a JWT's clothes")
    yield _presigned("presigned-no-path", f"https://{_HOST}", "native")


def _post(case: str, url: str, headers: dict[str, str]) -> Recording:
    request = AWSRequest("POST", url, headers=headers, data=BODY)
    SigV4Auth(_credentials(), "sts", REGION).add_auth(request)
    signed = seen(request.prepare())
    return Recording(
        case=f"botocore-{case}",
        tool="botocore",
        how=f"SigV4Auth on AWSRequest('POST', '{url}', headers of {', '.join(headers)}), then prepare()",
        request=signed,
        form="plain envelope, assembled",
        credential=plain_envelope(signed),
    )


def _presigned(case: str, url: str, form: str) -> Recording:
    name = KUMA_HEADER.lower()
    request = AWSRequest("GET", f"{url}?{BODY}", headers={name: AUDIENCE})
    SigV4QueryAuth(_credentials(), "sts", REGION, expires=900).add_auth(request)
    signed = str(request.url)
    return Recording(
        case=f"botocore-{case}",
        tool="botocore",
        how=f"SigV4QueryAuth(expires=900) on AWSRequest('GET', '{url}?{BODY}', headers of {name})",
        request=Seen.of("GET", signed, [(name, AUDIENCE)], ""),
        form=f"{form}, assembled",
        credential=(native if form == "native" else native_jwt)(signed),
    )


def _credentials() -> Credentials:
    return Credentials(
        CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], CREDENTIALS["AWS_SESSION_TOKEN"]
    )
