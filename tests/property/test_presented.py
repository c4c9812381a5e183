"""With any text in any place of a call, the service makes a decision and can write its audit line."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.signed_request import CredentialForm
from tests.conftest import LoadSettings
from tests.support.keys import KeyFiles, rsa_key
from tests.support.service import RunningService, running_service
from tests.support.signing import AUDIENCE, NOW, Recipe
from tests.support.tokens import DATAPLANE_CLAIMS, DATAPLANE_HEADER, ZONE_CLAIMS, ZONE_HEADER, base64url, sign_parts
from tests.support.world import PROXY, Aws

Json = dict[str, Any]
Build = Callable[[Json], str]

# Characters that JSON can escape and UTF-8 cannot encode, and characters with a meaning in headers, lines or
# patterns.
odd_texts = st.text(max_size=4) | st.sampled_from(
    ["\ud800", "\udfff", "\udc00\ud800", "\n", "\r\n", "\0", "\x7f", "\u2028", "\u212a", "\U0010ffff", "%", "%00", "\\"]
)
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def vault(members: Json) -> str:
    """The envelope whose members are base64. Parts that are not text stay unchanged."""
    headers = members["iam_request_headers"]
    encoded = {**members, "iam_request_headers": dumped(headers) if isinstance(headers, dict) else headers}
    return dumped(
        {
            name: base64.b64encode(raw(value)).decode() if name.startswith("iam_request_") else value
            for name, value in encoded.items()
        }
    )


def vault_members() -> Json:
    call = Recipe(form=CredentialForm.ENVELOPE).sign()
    return {
        "iam_http_request_method": call.method,
        "iam_request_url": call.url,
        "iam_request_headers": dict(call.headers),
        "iam_request_body": call.body,
        "role": "demo-app",
    }


def jwt_clothes(parts: Json) -> str:
    return f"{base64url(dumped(parts['header']).encode())}.{base64url(dumped(parts['payload']).encode())}."


def token(number: int) -> Build:
    """Tokens with any header and claims, and a valid signature."""
    return lambda parts: sign_parts(dumped(parts["header"]), dumped(parts["claims"]), rsa_key(number))


SHAPES: Final[dict[str, tuple[Json, Build]]] = {
    "native": (
        {"url": Recipe(form=CredentialForm.NATIVE).sign().url},
        lambda parts: f"kuma-aws-v1.{base64url(raw(parts['url']))}",
    ),
    "eks": (
        {"url": Recipe(form=CredentialForm.EKS).sign().url},
        lambda parts: f"k8s-aws-v1.{base64url(raw(parts['url']))}",
    ),
    "jwt": (
        {
            "header": {"alg": "none", "typ": "kuma-aws-v1"},
            "payload": {"url": Recipe(form=CredentialForm.JWT).sign().url},
        },
        jwt_clothes,
    ),
    "envelope": (vault_members(), vault),
    "plain_envelope": (Recipe(form=CredentialForm.PLAIN_ENVELOPE).sign().members(), dumped),
    "dataplane-token": ({"header": dict(DATAPLANE_HEADER), "claims": dict(DATAPLANE_CLAIMS)}, token(0)),
    "zone-token": ({"header": dict(ZONE_HEADER), "claims": dict(ZONE_CLAIMS)}, token(1)),
}
CALL: Final[Json] = {
    "credential": "",
    "proxy": {**PROXY, "zone": "east", "labels": {"kuma.io/workload": "demo"}},
}


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every text, also of names of members."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, (name,))
            yield from paths_of(member, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from paths_of(item, (*path, number))
    elif isinstance(value, str):
        yield path


def with_text(value: Any, path: tuple[Any, ...], odd: str, at: float) -> Any:
    """Return a copy with a text at a path. A path that ends in a tuple means the name of a member."""
    if not path:
        cut = round(len(value) * at)
        return value[:cut] + odd + value[cut:]
    step, *rest = path
    if isinstance(step, tuple):
        return {(with_text(step[0], (), odd, at) if name == step[0] else name): item for name, item in value.items()}
    items = dict(value) if isinstance(value, dict) else list(value)
    items[step] = with_text(value[step], tuple(rest), odd, at)
    return items


@st.composite
def credentials(draw: st.DrawFn) -> str:
    """Credentials of any form, correct or with an unusual text somewhere."""
    members, build = SHAPES[draw(st.sampled_from(sorted(SHAPES)))]
    path = draw(st.sampled_from([None, *paths_of(members)]))
    if path is None:
        return build(members)
    try:
        return build(with_text(members, path, draw(odd_texts), draw(st.floats(0, 1))))
    except KeyError:  # the name of a part of the shape itself, which the credential does not contain
        return build(members)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of a call with an unusual text somewhere."""
    call = {**CALL, "credential": draw(credentials())}
    path = draw(st.sampled_from([None, *paths_of(call)]))
    return dumped(call if path is None else with_text(call, path, draw(odd_texts), draw(st.floats(0, 1)))).encode()


@pytest.fixture
async def at_now(aws: Aws, settings_of: LoadSettings, tmp_path: Path) -> AsyncIterator[RunningService]:
    files = KeyFiles.make(tmp_path)
    wanted = {**aws.service_environment(), **files.settings(), "KMESH_AWSIAM_AUDIENCE": AUDIENCE}
    async with running_service(aws, settings_of(**wanted), lambda: NOW) as service:
        yield service


def assert_decided(service: RunningService, answer: httpx.Response) -> None:
    """A decision has one reason at most, and an audit line that is valid JSON. A 500 would be a bug."""
    assert answer.status_code != 500
    assert len(service.log) == 1
    assert orjson.dumps(service.log[0], default=repr)
    service.log.clear()


@bounded
@given(body=bodies())
async def test_a_call_is_decided_whatever_text_is_in_it(at_now: RunningService, body: bytes) -> None:
    at_now.log.clear()
    for path in ("/v1/authenticate", "/v1/token"):
        answer = await at_now.client.post(path, content=body, headers={"content-type": "application/json"})
        assert_decided(at_now, answer)


@bounded
@given(credential=credentials() | odd_texts, prefix=st.just("") | odd_texts)
async def test_envoys_call_is_decided_whatever_text_is_in_it(
    at_now: RunningService, credential: str, prefix: str
) -> None:
    at_now.log.clear()
    # As bytes: a client can put any bytes into a header.
    headers = [(b"authorization", raw(prefix + credential))]
    assert_decided(at_now, await at_now.client.post("/v1/ext-authz/x", headers=headers))


@pytest.mark.parametrize("name", sorted(SHAPES))
async def test_the_shapes_are_read(at_now: RunningService, name: str) -> None:
    """Otherwise unusual texts in these shapes would prove nothing."""
    members, build = SHAPES[name]
    answer = await at_now.present(build(members))
    assert answer.status_code == 200 or answer.json()["reason"] not in {"credential_malformed", "token_rejected"}
