"""What a fuzzer starts from: the hostile corpus and the recordings of the tests, so that it need not find the grammars."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from app.core.base64_text import Base64TextError, decode_base64url
from app.store.sealing import NONCE_BYTES, seal
from fuzz.targets import ACCOUNT, AUDIENCE, CALLER_TOKEN, NOW, STORE_KEY
from tests.support.corpus import Scene, every_scene
from tests.support.signing import FORMS, PRESIGNED_FORMS, Recipe
from tests.support.tokens import HOSTILE, MALFORMED

RECORDINGS: Final = Path(__file__).parents[1] / "tests" / "recordings" / "data"
MAX_SEED_BYTES: Final = 16 * 1024

_VALUES: Final = (
    "111122223333",
    "111122223333, 444455556666",
    "111122223333=default|payments,444455556666=*",
    "127.0.0.1:5690",
    "0.0.0.0:80",
    "[::1]:5690",
    "[::ffff:127.0.0.1]:1",
    "localhost:0",
    "unix:/run/kuma-aws-iam/api.sock",
    "https://vpce-0123.sts.us-east-1.vpce.amazonaws.com",
    "https://sts.example:8443/",
    "http://127.0.0.1:4566",
    "http://[::1]:4566/",
    "http://localhost",
    "http://user:secret@proxy.internal:3128",
    "https://x@y/",
    "https://x:99999",
    "https://[::1",
    "https://\uff0f/",
    "us-east-1,aws-global",
    "eu-north-7, ap-south-9",
    "native,jwt,eks,envelope,plain_envelope",
    "kuma-control-plane",
    "mesh/kuma-reader",
)
_ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-RequestId: r\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.0 301 Moved\r\nConnection: close\r\nLocation: http://x\r\n folded\r\n\r\nbody",
    b"HTTP/1.1 204 No Content\r\n\r\n",
)
_SHAPES: Final = (
    "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Security-Token=$T&X-Amz-Signature=$S",
    '{"method":"POST","url":"https://x/?X-Amz-Signature=$S","headers":{"Authorization":"Signature=$S","t":"$T"},"body":""}',
    "eyJhbGciOiJub25lIn0.$T.$S",
    "Bearer $T",
    '[{"token":"$T"}]',
    "kuma-aws-v1.$T",
    "$S",
)


def seeds_of(target: str) -> Iterator[bytes]:
    """Yield the seeds of a target, each once and none too long."""
    yield from dict.fromkeys(seed for seed in _SEEDS[target]() if len(seed) <= MAX_SEED_BYTES)


def words_of(target: str) -> Iterator[str]:
    """Yield words that a mutator should know; libFuzzer finds short ones by itself."""
    yield from (f"kuma.io/{name}" for name in ("type", "mesh", "service", "workload", "zone"))
    yield from ("dataplane", "ingress", "egress", "GetCallerIdentity", "2011-06-15", "AWS4-HMAC-SHA256", "https://")
    yield from (
        "x-kuma-audience",
        "x-k8s-aws-id",
        "X-Vault-AWS-IAM-Server-ID",
        "content-type;host;x-amz-date",
        AUDIENCE,
    )
    yield from ("X-Amz-Expires=", "X-Amz-SignedHeaders=", "host%3Bx-kuma-audience", "us-east-1%2Fsts%2Faws4_request")
    yield from (
        "kuma-aws-v1.",
        "k8s-aws-v1.",
        "eyJhbGciOiJub25lIiwidHlwIjoia3VtYS1hd3MtdjEifQ.",
        "\\ud800",
        "%0A",
        "%2541",
    )
    if target in ("sts_document", "error_code", "arn"):
        yield from (
            "<!DOCTYPE",
            "<![CDATA[",
            "&#49;",
            "<?xml ",
            "<Account>",
            "</Account>",
            "xmlns:x=",
            "<Code>",
            "AROA",
        )
        yield from ("GetCallerIdentityResponse", "GetCallerIdentityResult", "arn:aws:sts::", "assumed-role/", ACCOUNT)
    if target == "settings":
        yield from ("unix:/", "127.0.0.1", "[::1]", "localhost", "http://", "@", "%00", "#")


def _scenes(*areas: str) -> Iterator[Scene]:
    return (scene for case, scene in every_scene() if not areas or case.area in areas)


def _credentials() -> Iterator[bytes]:
    yield from (Recipe(form=form, audience=AUDIENCE).credential().encode() for form in FORMS)
    yield from (scene.credential.encode() for scene in _scenes())
    for path in sorted(RECORDINGS.glob("*.json")):
        recorded = json.loads(path.read_text(encoding="utf-8")).get("credential")
        if isinstance(recorded, str):
            yield recorded.encode()


def _urls() -> Iterator[bytes]:
    yield from (Recipe(form=form, audience=AUDIENCE).sign().url.encode() for form in PRESIGNED_FORMS)
    yield from (scene.url.encode() for scene in _scenes() if "?" in scene.url)


def _jwts() -> Iterator[bytes]:
    """Header and payload out of base64, which hides them from a mutator."""
    for text in _credentials():
        header, *rest = text.split(b".")
        with contextlib.suppress(Base64TextError, UnicodeDecodeError):
            if len(rest) == 2:  # noqa: PLR2004 - a JWT has three parts
                yield decode_base64url(header.decode("ascii")) + b"\n" + decode_base64url(rest[0].decode("ascii"))


def _envelopes() -> Iterator[bytes]:
    return (text for text in _credentials() if text.startswith(b"{"))


def _authorizations() -> Iterator[bytes]:
    for text in _envelopes():
        # Whatever is no envelope has none; the corpus is full of those.
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError, AttributeError):
            yield json.loads(text)["headers"]["Authorization"].encode(errors="surrogatepass")


def _arns() -> Iterator[bytes]:
    for scene in _scenes("principals", "sts_answers"):
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            result = json.loads(scene.sts.body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
            yield f"{result['Arn']}\n{result['UserId']}".encode(errors="surrogatepass")
    yield from (scene.role.arn.encode() for scene in _scenes("role_answers"))


def _sts_answers() -> Iterator[bytes]:
    return (scene.sts.body for scene in _scenes("sts_answers", "principals"))


def _tags() -> Iterator[bytes]:
    claim = "mesh=default\nservices=demo-app\nzone=zone-1\nkuma.io/workload=demo\nkuma.io/service=demo-app"
    for scene in _scenes("tags", "claims"):
        lines = "\n".join(f"{key}={value}" for key, value in scene.role.tags)
        yield f"{lines}\n\n{claim}".encode()
        yield f"{lines}\n\nmesh=default\nzone=zone-1".encode()


def _calls() -> Iterator[bytes]:
    return (scene.call.body for scene in _scenes("api_json", "claims"))


def _callers() -> Iterator[bytes]:
    yield from (b"authorization: " + scheme + CALLER_TOKEN for scheme in (b"Bearer ", b"bearer  ", b"Basic ", b""))
    yield b"x: y\nAuthorization: Bearer x\nauthorization: Bearer " + CALLER_TOKEN


def _records() -> Iterator[bytes]:
    members = {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/task-1", "request_id": "r"}
    yield json.dumps({**members, "account": ACCOUNT, "user_id": "AROAEXAMPLEEXAMPLE001:task-1"}).encode()
    role = {"role_id": "AROAEXAMPLEEXAMPLE001", "name": "demo-app", "tags": [["kuma.io/type", "dataplane"]]}
    yield json.dumps({**members, "arn": f"arn:aws:iam::{ACCOUNT}:role/demo-app", **role}).encode()
    yield seal(
        STORE_KEY,
        "identity",
        b"another key",
        b"{}",
        written_at=0,
        expires_at=NOW.timestamp() + 60,
        nonce=bytes(NONCE_BYTES),
    )


_SEEDS: Final[Mapping[str, Callable[[], Iterable[bytes]]]] = {
    "credential": _credentials,
    "presigned": _urls,
    "jwt_clothes": _jwts,
    "envelope": _envelopes,
    "authorization": _authorizations,
    "strict_json": lambda: (*_envelopes(), *_calls()),
    "base64_text": lambda: (b"", b"-_8", b"+/8=", b"QQ", b"QR", b"QQ==", b"\xff" * 9, b"A\nB="),
    # The first byte picks the media type.
    "sts_document": lambda: (bytes([number]) + body for body in _sts_answers() for number in range(2)),
    "error_code": _sts_answers,
    "arn": _arns,
    "role_tags": _tags,
    "call": _calls,
    "caller": _callers,
    "settings": lambda: (text.encode() for text in _VALUES),
    "record": _records,
    # The first byte says in what pieces it comes.
    "answer": lambda: (bytes([size]) + text for text in _ANSWERS for size in (0, 7, 255)),
    "key_id": lambda: (b"ASIAQNZGKIQY56JQ7WML", b"AKIAIOSFODNN7EXAMPLE", b"ASIA77777777777777777777"),
    "token": lambda: (*(hostile.make().encode() for hostile in HOSTILE), *(text.encode() for _, text in MALFORMED)),
    "shape": lambda: (*(text.encode() for text in _SHAPES), *_credentials()),
}
