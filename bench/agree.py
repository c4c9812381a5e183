"""What is compared does the same: the service and its Go equivalent decide alike about good and bad calls."""

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from app.emulator import Emulator
from bench.credentials import Signer, call_of, claim_of
from bench.load import PATH
from bench.service import ACCOUNT

_JSON = "application/json"


def require_agreement(emulator: Emulator, service: int, rival: int) -> int:
    """Ask both about every case; return the number of cases.

    Raises:
        SystemExit: they differ.
    """
    cases = list(_cases(emulator))
    for name, media_type, body in cases:
        answers = [_ask(port, media_type, body) for port in (service, rival)]
        if answers[0] != answers[1]:
            raise SystemExit(f"the Go equivalent is none: {name}: {answers[0]} from the service, {answers[1]} from Go")
    return len(cases)


def _cases(emulator: Emulator) -> Iterator[tuple[str, str, bytes]]:
    now = datetime.now(UTC)
    session = emulator.issue(ACCOUNT, "demo-app", "agreement").frozen()
    url = Signer(session, now).sign()
    stranger = emulator.issue("444455556666", "backend", "agreement").frozen()
    untagged = emulator.issue(ACCOUNT, "untagged", "agreement").frozen()
    good = json.loads(call_of(url))
    yield "a good call", _JSON, call_of(url)
    yield "the same again", _JSON, call_of(url)
    yield "the identity alone", _JSON, json.dumps({"credential": good["credential"]}).encode()
    yield "another service", _JSON, call_of(url, claim_of("backend"))
    yield "another mesh", _JSON, call_of(url, claim_of(mesh="payments"))
    yield "another type", _JSON, call_of(url, {"type": "ingress"})
    yield "an account that is not listed", _JSON, call_of(Signer(stranger, now).sign())
    yield "a role without tags", _JSON, call_of(Signer(untagged, now).sign())
    last = "0" if url[-1] != "0" else "1"
    yield "an altered signature", _JSON, call_of(url[:-1] + last)
    yield "expired", _JSON, call_of(Signer(session, now - timedelta(minutes=16)).sign())
    yield "of the future", _JSON, call_of(Signer(session, now + timedelta(minutes=6)).sign())
    for name, old, new in (
        ("bound to nobody", "host%3Bx-kuma-audience", "host"),
        ("bound to somebody else", "x-kuma-audience", "x-k8s-aws-id"),
        ("a header too many", "x-kuma-audience", "x-kuma-audience%3Bx-other"),
        ("another host", "sts.us-east-1.amazonaws.com", "sts.us-east-1.evil.com"),
        ("another region", "sts.us-east-1.amazonaws.com", "sts.us-east-2.amazonaws.com"),
        ("another action", "GetCallerIdentity", "AssumeRole"),
        ("another service of AWS", "%2Fsts%2F", "%2Fiam%2F"),
        ("a parameter twice", "&X-Amz-Date", "&Version=2011-06-15&X-Amz-Date"),
        ("a parameter missing", "&Version=2011-06-15", ""),
        ("too long a life", "X-Amz-Expires=900", "X-Amz-Expires=901"),
        ("plain http", "https://", "http://"),
        ("a path", "amazonaws.com/?", "amazonaws.com/x?"),
        ("half an escape", "X-Amz-Expires=900", "X-Amz-Expires=9%0"),
    ):
        yield name, _JSON, call_of(url.replace(old, new))
    yield "no base64url", _JSON, json.dumps({"credential": good["credential"] + "="}).encode()
    yield "over 12 KiB", _JSON, json.dumps({"credential": "kuma-aws-v1." + "A" * 12_300}).encode()
    yield "no JSON", _JSON, b"{"
    yield "an unknown member", _JSON, json.dumps({**good, "more": 1}).encode()
    yield "a data plane without mesh", _JSON, json.dumps({**good, "proxy": {"type": "dataplane"}}).encode()
    yield "something behind it", _JSON, call_of(url) + b"{}"
    yield "another type of body", "text/plain", call_of(url)


def _ask(port: int, media_type: str, body: bytes) -> tuple[int, Any]:
    """Return the status, and the identity or the reason; reasons of a malformed call differ in their words alone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", PATH, body, {"Content-Type": media_type})
        answer = connection.getresponse()
        members = json.loads(answer.read())
    finally:
        connection.close()
    return answer.status, members.get("reason") or {
        name: members[name] for name in ("identity", "principal", "expiresAt")
    }
