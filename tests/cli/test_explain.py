"""``authenticate --explain``: the shape of whatever comes, offline, and no value of it."""

import json
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from app.cli.shape import explain
from app.core.signed_request import CredentialForm
from tests.cli.conftest import Invoke
from tests.support import mutations as mutate
from tests.support.process import free_address, run_cold
from tests.support.signing import FORMS, NOW, PRESIGNED_FORMS, Recipe, SignedCall, base64, base64url, jwt

CANARY: Final = "canary4canary"
NATIVE: Final = Recipe(form=CredentialForm.NATIVE)
PLAIN: Final = Recipe(form=CredentialForm.PLAIN_ENVELOPE)
VAULT: Final = Recipe(form=CredentialForm.ENVELOPE)


def shape(text: str, now: datetime = NOW) -> dict[str, str]:
    return dict(explain(text, now))


@pytest.mark.parametrize("form", FORMS)
def test_the_shape_of_an_accepted_credential_is_told(form: CredentialForm) -> None:
    recipe = Recipe(form=form)
    found = shape(recipe.credential(), NOW + timedelta(seconds=61))
    assert found["form"].startswith(form.value)
    assert found["host"] == "sts.us-east-1.amazonaws.com (partition aws, region us-east-1)"
    assert (found["path"], found["algorithm"], found["age"]) == ("/", "AWS4-HMAC-SHA256", "61 s")
    assert found["audience header"] == form.audience_header
    assert form.audience_header in found["signed headers"]
    assert found["session token"] == f"{len(recipe.token or '')} characters"
    assert found["method"] == ("GET" if form.is_presigned else "POST")


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (NOW + timedelta(seconds=900), "900 s"),
        (NOW + timedelta(seconds=901), "901 s: over, AWS keeps it for 900 s"),
        (NOW - timedelta(seconds=5), "5 s in the future"),
    ],
)
def test_the_age_is_told(now: datetime, age: str) -> None:
    assert shape(NATIVE.credential(), now)["age"] == age


def test_what_is_missing_is_told() -> None:
    found = shape(replace(PLAIN, audience=None, token=None).credential())
    assert found["audience header"] == "none: it is bound to nobody"
    assert (found["session token"], found["expires"]) == ("none", "not given")


def test_a_credential_of_another_relying_party_shows_its_header() -> None:
    found = shape(replace(PLAIN, audience_header="x-vault-aws-iam-server-id", headers=(("X-Other", "x"),)).credential())
    assert found["audience header"] == "x-vault-aws-iam-server-id"
    assert "x-other" in found["signed headers"]


def test_the_moment_is_this_one_and_nobody_is_asked(invoke: Invoke) -> None:
    credential = replace(NATIVE, now=datetime.now(UTC)).credential()
    result = invoke("authenticate", "--explain", "--service", free_address(), stdin=credential)
    assert result.exit_code == 0
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert lines["form"].strip() == "native (query-signed GET)"
    assert 0 <= int(lines["age"].split()[0]) < 60


# What is signed and left out, or added and not signed.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        pytest.param(PLAIN.sign(), "kept", id="good"),
        pytest.param(
            mutate.set_header(PLAIN.sign(), "X-Consul-IAM-ServerID", "canary"),
            "x-consul-iam-serverid",
            id="two-audiences",
        ),
        pytest.param(mutate.set_header(PLAIN.sign(), "X-Evil", "canary"), "unsigned header", id="an-unsigned-header"),
        pytest.param(mutate.set_header(PLAIN.sign(), "X-Amzn-Trace-Id", "canary"), "kept", id="trace-id"),
        pytest.param(replace(PLAIN, headers=(("X-Other", "x"),)).sign(), "does not belong", id="a-signed-header"),
        pytest.param(replace(PLAIN, content_type=None).sign(), "content-type", id="no-content-type"),
    ],
)
def test_the_header_rules_are_told(call: SignedCall, words: str) -> None:
    found = shape(call.credential())
    assert words in found["header rules"]
    assert "canary" not in str(found)


def test_a_signed_header_that_is_not_given_is_told() -> None:
    """The AWS SDK for Go v2 leaves both to net/http, and the service supplies both."""
    call = mutate.drop_header(replace(PLAIN, headers=(("Content-Length", "43"),)).sign(), "Content-Length")
    found = shape(call.credential())
    assert found["signed, not given"] == "content-length, host"
    assert found["header rules"] == "kept"


def test_a_port_in_the_host_is_told() -> None:
    found = shape(replace(PLAIN, host="sts.us-east-1.amazonaws.com:443").credential())
    assert found["host"].startswith("sts.us-east-1.amazonaws.com with a port")


def test_a_clock_that_is_too_far_ahead_is_told() -> None:
    assert (
        shape(NATIVE.credential(), NOW - timedelta(minutes=6))["age"] == "360 s in the future: over, 300 s are accepted"
    )


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"iam_request_headers": json.dumps(dict(VAULT.sign().headers))}, "JSON text"),
        ({"iam_request_body": base64("Action=GetCallerIdentity&Version=2011-06-15") + "\n"}, "line breaks"),
        ({"iam_http_request_method": "GET", "iam_request_headers": base64("{}")}, "belongs in the native form"),
    ],
)
def test_what_a_vault_would_accept_is_told(members: dict[str, str], words: str) -> None:
    assert words in shape(json.dumps(VAULT.sign().members() | members))["form"]


def test_a_newer_region_is_known_where_it_is_named(invoke: Invoke) -> None:
    text = replace(NATIVE, host="sts.eu-north-7.amazonaws.com", region="eu-north-7").credential()
    unknown = invoke("authenticate", "--explain", stdin=text).stdout
    assert "no known STS host" in unknown
    assert "--extra-regions" in unknown
    known = invoke("authenticate", "--explain", stdin=text, KMESH_AWSIAM_EXTRA_REGIONS="eu-north-7").stdout
    assert "sts.eu-north-7.amazonaws.com (partition aws, region eu-north-7)" in known


# No value is shown, whatever comes.


def _in_every_place(recipe: Recipe) -> dict[str, SignedCall]:
    """One valid call with the canary in one place of its text after the other."""
    call = recipe.sign()
    if recipe.form.is_presigned:
        names = ("Action", "Version", "X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token")
        credential = mutate.parameter(call, "X-Amz-Credential")
        return {
            **{name: mutate.set_parameter(call, name, CANARY) for name in names},
            "key-id": mutate.set_parameter(call, "X-Amz-Credential", CANARY.upper() + "XXXX" + credential[20:]),
            "region": mutate.set_parameter(call, "X-Amz-Credential", credential.replace("us-east-1", CANARY)),
            "signature": mutate.set_parameter(call, "X-Amz-Signature", CANARY),
            "host": mutate.replace_in_url(call, "sts.us-east-1.amazonaws.com", f"{CANARY}.example"),
            "user": mutate.replace_in_url(call, "https://", f"https://{CANARY}@"),
            "path": mutate.replace_in_url(call, ".com/", f".com/{CANARY}"),
            "scheme": mutate.replace_in_url(call, "https://", f"{CANARY}://"),
        }
    headers = ("Content-Type", "X-Amz-Date", "X-Amz-Security-Token", "Authorization")
    return {
        **{name: mutate.set_header(call, name, CANARY) for name in headers},
        "audience": replace(recipe, audience=CANARY).sign(),
        "another-header": mutate.set_header(call, "X-Another", CANARY),
        "user-agent": mutate.set_header(call, "User-Agent", CANARY),
        "method": replace(call, method=CANARY),
        "body": replace(call, body=f"Action={CANARY}"),
        "url": replace(call, url=f"https://{CANARY}.example/{CANARY}?a={CANARY}#{CANARY}"),
    }


CALLS = {f"{form}-{place}": call for form in FORMS for place, call in _in_every_place(Recipe(form=form)).items()}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_value_of_a_credential_is_shown(call: SignedCall) -> None:
    assert CANARY not in str(shape(call.credential())).lower()


@pytest.mark.parametrize("form", FORMS)
def test_no_secret_of_a_good_credential_is_shown(form: CredentialForm) -> None:
    recipe = Recipe(form=form, audience=CANARY)
    shown = str(shape(recipe.credential()))
    call = recipe.sign()
    signature = (call.url + str(call.headers)).partition("Signature=")[2][:64]
    secrets = (recipe.access_key_id, recipe.token or "", signature, CANARY, "20261124")
    assert len(signature) == 64
    assert not [secret for secret in secrets if secret in shown]


GARBAGE = {
    "empty": "",
    "text": CANARY,
    "bearer": f"Bearer {CANARY}",
    "key-and-secret": f"ASIAEXAMPLE:{CANARY}",
    "base64": base64(CANARY),
    "base64-of-base64": base64(base64(base64(CANARY))),
    "jwt": jwt({"alg": "RS256", "kid": CANARY}, {"sub": CANARY, "nested": {"a": CANARY}}, CANARY),
    "jwt-of-text": f"{base64url(CANARY)}.{base64url(CANARY)}.{CANARY}",
    "our-prefix": f"kuma-aws-v1.{base64url(CANARY)}",
    "eks-prefix": f"k8s-aws-v1.{base64url(f'https://{CANARY}/?a={CANARY}')}",
    "url": f"https://{CANARY}:{CANARY}@{CANARY}.example:443/{CANARY}?Action={CANARY}#{CANARY}",
    "url-that-breaks": f"https://[{CANARY}/?a={CANARY}",
    "json": json.dumps({"token": CANARY, "list": [CANARY], "object": {"a": {"b": CANARY}}, "number": 4}),
    "json-within-base64": base64(json.dumps({"iam_request_url": base64(f"https://x/?a={CANARY}")})),
    "json-that-breaks": '{"token": "' + CANARY,
    "json-array": json.dumps([CANARY]),
    "json-deep": '{"a":' * 2000 + f'"{CANARY}"' + "}" * 2000,
    "exec-credential-as-a-list": json.dumps([{"kind": "ExecCredential", "status": {"token": CANARY}}]),
    "header-lines": f"Authorization: AWS4-HMAC-SHA256 Credential={CANARY}\nX-Amz-Security-Token: {CANARY}",
    "not-ascii": f"ä{CANARY}",
    "control-characters": f"\x00\x1b[31m{CANARY}",
    "long": CANARY * 10_000,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_explained_without_a_value_of_it(invoke: Invoke, text: str) -> None:
    shown = str(shape(text))
    assert CANARY not in shown
    assert "none that is accepted" in shape(text)["form"]
    result = invoke("authenticate", "--explain", stdin=text or "x")
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert set(result.output) <= set(string.printable)


def test_names_are_shown_where_they_are_names() -> None:
    text = json.dumps({"iam_request_url": "x", "a name with blanks and more": "x", "x" * 65: "x"})
    members = shape(text)["text: members"]
    assert "iam_request_url" in members
    assert "(a name of 65 characters)" in members
    assert "blanks" not in members


def test_many_names_are_cut() -> None:
    assert shape(json.dumps({f"name-{number}": 1 for number in range(1000)}))["text: members"].endswith("and 960 more")


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_a_prefix_or_a_jwt_is_looked_through(form: CredentialForm) -> None:
    """What Kong's own kuma-dp sends is not public: the shape of something alike must show."""
    call = mutate.append_parameter(Recipe(form=form).sign(), "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
    shown = str(shape(call.credential()))
    assert "X-Amz-Content-Sha256" in shown
    assert "sts.us-east-1.amazonaws.com" in shown


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_bytes_that_are_no_text_are_no_traceback(encoding: str) -> None:
    done = run_cold("authenticate", "--explain", stdin=bytes(range(256)), PYTHONIOENCODING=encoding)
    assert "Traceback" not in done.err
    assert done.status in (0, 1)
