"""Credentials for benchmarks: really signed, some ten times as fast as by botocore's signer.

What is constant for a session is computed once for it; a test holds the outcome to botocore's own.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from botocore.credentials import ReadOnlyCredentials

from app.core.credential import encode_native
from app.emulator import Emulator
from bench.service import ACCOUNT, AUDIENCE

HOST: Final = "sts.us-east-1.amazonaws.com"
REGION: Final = "us-east-1"
LONGEST: Final = 900
# So many different signatures are made of one session; X-Amz-Expires tells them apart.
PER_SESSION: Final = 500

_SIGNED_HEADERS: Final = "host;x-kuma-audience"


class Signer:
    """Signs ``sts:GetCallerIdentity`` for one session at one moment."""

    def __init__(self, session: ReadOnlyCredentials, now: datetime) -> None:
        self._stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        date = self._stamp[:8]
        self._scope = f"{date}/{REGION}/sts/aws4_request"
        key = f"AWS4{session.secret_key}".encode()
        for part in (date, REGION, "sts", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key
        self._before = (
            "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential={quote(f'{session.access_key}/{self._scope}', safe='')}&X-Amz-Date={self._stamp}"
        )
        self._token = f"X-Amz-Security-Token={quote(session.token or '', safe='')}"

    def sign(self, expires: int = LONGEST) -> str:
        """Return a presigned URL that says it lives so many seconds."""
        before = f"{self._before}&X-Amz-Expires={expires}&{self._token}"
        names = f"X-Amz-SignedHeaders={quote(_SIGNED_HEADERS, safe='')}"
        headers = f"host:{HOST}\nx-kuma-audience:{AUDIENCE}\n"
        nothing = hashlib.sha256(b"").hexdigest()
        canonical = f"GET\n/\n{before}&{names}\n{headers}\n{_SIGNED_HEADERS}\n{nothing}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self._stamp}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return f"https://{HOST}/?{before}&{names}&X-Amz-Signature={signature}"


def presigned_urls(
    emulator: Emulator, count: int, role: str = "demo-app", per_session: int = PER_SESSION
) -> Iterator[str]:
    """Yield so many different ones, all of one role; each session signs some of them."""
    for first in range(0, count, per_session):
        signer = Signer(emulator.issue(ACCOUNT, role, f"bench-{first}").frozen(), datetime.now(UTC))
        for index in range(min(per_session, count - first)):
            yield signer.sign(LONGEST - index)


def target_of(url: str) -> str:
    """Return what the service sends to STS for a presigned URL: path and query."""
    return url.removeprefix(f"https://{HOST}")


def claim_of(service: str = "demo-app", mesh: str = "default") -> dict[str, Any]:
    """Return what a data plane proxy of a service says it is."""
    return {"type": "dataplane", "mesh": mesh, "name": f"{service}-1", "tags": {"kuma.io/service": [service]}}


def call_of(url: str, claim: Mapping[str, Any] | None = None) -> bytes:
    """Return the body of a call."""
    return json.dumps({"credential": encode_native(url), "proxy": claim or claim_of()}).encode()
