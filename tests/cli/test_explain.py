"""``authenticate --explain``: the structure of any credential, offline, without its values."""

import json
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from app.cli.shape import explain
from app.cli.verdicts import FAILED, NOT_REACHED, OK
from app.core.credential import decode_credential
from app.core.errors import CredentialError
from app.core.reasons import EXPLANATIONS, Reason
from app.core.request_policy import RequestPolicy, require_fresh, validate
from app.core.signed_request import CredentialForm
from app.tokens.key_files import read_dataplane_key_file, read_zone_key_file
from app.tokens.keys import SigningKeys
from tests.cli.conftest import Invoke
from tests.support import mutations as mutate
from tests.support.keys import DATAPLANE_KID, KeyFiles
from tests.support.process import free_address, run_cold
from tests.support.signing import (
    AUDIENCE,
    FORMS,
    NOW,
    PRESIGNED_FORMS,
    Recipe,
    SignedCall,
    base64,
    base64url,
    every_endpoint,
    jwt,
)
from tests.support.tokens import DATAPLANE_CLAIMS, HOSTILE, OURS, Hostile, make_token
from tests.test_docs import page, tables

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


@pytest.mark.parametrize("padding", ["\n", "\r\n", " "])
def test_a_newline_at_the_end_is_a_failed_rule(invoke: Invoke, padding: str) -> None:
    """The service and gRPC refuse such a file, which looks right in every editor."""
    text = NATIVE.credential()
    whole = invoke("authenticate", "--explain", stdin=f"{text}{padding}").stdout
    assert "failed:            no blanks around it: a blank or a newline" in whole
    assert "no blanks around it" not in invoke("authenticate", "--explain", stdin=text).stdout
    assert "no blanks around it" not in invoke("authenticate", "--explain", stdin=f"{PLAIN.credential()}\n").stdout


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


# The rules.


def verdicts(text: str, now: datetime = NOW, **options: Any) -> dict[str, str]:
    """Return the verdict of each rule, and the reason of each failed one."""
    found = {}
    for verdict, said in explain(text, now, **options):
        if verdict in (OK, FAILED, NOT_REACHED):
            name, _, why = said.partition(": ")
            found[name] = f"{verdict} {why.partition(':')[0]}" if verdict == FAILED else verdict
    return found


def documented_rules() -> list[str]:
    rows = tables(page("credential.md"), "#")
    return list(dict.fromkeys(name for row in rows for name in row["In `--explain`"].split(", ")))


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_rule_has_its_verdict_in_the_documented_order(form: CredentialForm) -> None:
    assert verdicts(Recipe(form=form).credential(), audience=AUDIENCE) == dict.fromkeys(documented_rules(), OK)


BROKEN: dict[str, tuple[str, str]] = {
    "host": (replace(NATIVE, host="sts.example.org").credential(), "known host"),
    "scheme": (mutate.replace_in_url(NATIVE.sign(), "https://", "http://").credential(), "https"),
    "path": (replace(NATIVE, path="/other").credential(), "root path"),
    "method": (replace(PLAIN, method="PUT").credential(), "method"),
    "action": (replace(NATIVE, action="GetSessionToken").credential(), "action"),
    "unsigned-audience": (
        mutate.set_header(replace(PLAIN, audience=None).sign(), "X-Kuma-Audience", "a").credential(),
        "no unsigned audience",
    ),
    "audience": (replace(PLAIN, audience="other").credential(), "audience"),
    "expires": (replace(NATIVE, expires=901).credential(), "time grammar"),
    "region": (replace(NATIVE, region="eu-west-3").credential(), "scope"),
    "service": (replace(NATIVE, service="iam").credential(), "scope"),
    "length": (mutate.set_parameter(NATIVE.sign(), "X-Amz-Security-Token", "/" * 5_000).credential(), "length for STS"),
    "age": (replace(NATIVE, now=NOW - timedelta(hours=1)).credential(), "age"),
}


@pytest.mark.parametrize(("text", "rule"), BROKEN.values(), ids=BROKEN)
def test_the_first_rule_that_fails_is_the_one_that_the_service_names(text: str, rule: str) -> None:
    """The verdicts are those of the service's own functions, so both must give one reason."""
    policy = RequestPolicy(endpoints={each.host: each for each in every_endpoint()}, audience=AUDIENCE)
    with pytest.raises(CredentialError) as raised:
        require_fresh(validate(decode_credential(text), policy), NOW)
    found = verdicts(text, audience=AUDIENCE)
    failed = [(name, verdict) for name, verdict in found.items() if verdict.startswith(FAILED)]
    assert failed[0] == (rule, f"{FAILED} {raised.value.reason}")
    assert list(found) == documented_rules()


def test_rules_behind_a_failed_one_are_judged_where_they_can_be() -> None:
    found = verdicts(
        replace(PLAIN, host="sts.example.org", content_type=None, now=NOW - timedelta(hours=1)).credential()
    )
    assert [name for name, verdict in found.items() if verdict.startswith(FAILED)] == [
        "known host",
        "known signed headers",
        "age",
    ]
    assert [name for name, verdict in found.items() if verdict == NOT_REACHED] == [
        "content headers",
        "scope",
        "length for STS",
    ]


def test_a_failed_rule_has_the_remedy_of_its_reason() -> None:
    said = dict(explain(replace(NATIVE, host="sts.example.org").credential(), NOW))["failed"]
    assert said.endswith(EXPLANATIONS[Reason.HOST_NOT_ALLOWED].detail)


def test_a_text_that_cannot_be_decoded_fails_the_first_rule() -> None:
    assert verdicts("x") == {"grammar": "failed credential_malformed", "every other rule": "not reached"}


@pytest.mark.parametrize("form", FORMS)
def test_what_only_sts_can_check_is_said(form: CredentialForm) -> None:
    """A presigned URL does not contain its audience, so a good verdict does not confirm the audience."""
    said = shape(Recipe(form=form).credential())["not checked"]
    assert ("audience" in said) == form.is_presigned


@pytest.mark.parametrize(
    ("change", "scope"),
    [
        ({}, "date 2026-11-24, region us-east-1, service sts"),
        ({"region": "mars-1"}, "date 2026-11-24, region no known region (6 characters), service sts"),
        ({"service": "iam"}, "date 2026-11-24, region us-east-1, service another than sts"),
    ],
)
def test_the_scope_is_told(change: dict[str, str], scope: str) -> None:
    assert shape(replace(NATIVE, **change).credential())["scope"] == scope  # type: ignore[arg-type]


# Tokens of this service.

LATER = NOW + timedelta(minutes=5)


def test_a_token_is_told_with_its_claims_its_key_and_its_times() -> None:
    found = dict(explain(make_token(), LATER, audience=AUDIENCE))
    assert (found["kid"], found["jti"]) == (DATAPLANE_KID, OURS["jti"])
    assert found["identity"] == "type=dataplane mesh=default service=demo-app"
    assert found["role"] == "demo-app (AROAEXAMPLEEXAMPLE001) of account 111122223333"
    assert found["issued"] == "2026-11-24T05:15:00Z, 300 s ago"
    assert found["expires"] == "2026-11-24T06:15:00Z, 3300 s from now"


def test_the_signature_of_a_token_is_checked_with_the_keys_alone(invoke: Invoke, files: KeyFiles) -> None:
    token = make_token()
    without = invoke("authenticate", "--explain", "--audience", AUDIENCE, stdin=token)
    assert "not checked:       signature" in without.stdout
    keys = ("--dataplane-keys-file", str(files.dataplane), "--zone-keys-file", str(files.zone))
    for text, verdict in ((token, "ok:"), (token[:-8] + "AAAAAAAA", "failed:")):
        result = invoke("authenticate", "--explain", "--audience", AUDIENCE, *keys, stdin=text)
        assert f"{verdict:18} signature" in result.stdout
        assert text.rpartition(".")[2] not in result.stdout
    files.dataplane.write_text("garbage\n")
    assert invoke("authenticate", "--explain", *keys, stdin=token).exit_code == 2
    gone = str(files.folder / "gone")
    assert invoke("authenticate", "--explain", "--zone-keys-file", gone, stdin=token).exit_code == 2


def test_a_token_for_another_audience_is_told_with_its_claims() -> None:
    found = list(explain(make_token(), LATER, audience="other"))
    assert ("jti", OURS["jti"]) in found
    assert verdicts(make_token(), LATER, audience="other")["claims"] == "failed audience_mismatch"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_token_fails_a_rule_with_the_reason_of_the_service(hostile: Hostile, files: KeyFiles) -> None:
    keys = SigningKeys([*read_dataplane_key_file(str(files.dataplane)).keys, *read_zone_key_file(str(files.zone)).keys])
    token = hostile.make()
    failed = [said for verdict, said in explain(token, NOW, audience=AUDIENCE, keys=keys) if verdict == FAILED]
    assert hostile.reason in failed[0]
    assert token.rpartition(".")[2] not in str(failed)


def test_a_token_that_ends_after_all_dates_is_no_traceback() -> None:
    last = 253_402_300_799
    token = make_token({**DATAPLANE_CLAIMS, "iat": last, "nbf": last, "exp": last})
    assert "after the year 9999" in dict(explain(token, NOW, audience=AUDIENCE))["issued"]


# Headers that are signed and left out, or added and not signed.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        pytest.param(PLAIN.sign(), "", id="good"),
        pytest.param(
            mutate.set_header(PLAIN.sign(), "X-Consul-IAM-ServerID", "canary"),
            "x-consul-iam-serverid",
            id="two-audiences",
        ),
        pytest.param(mutate.set_header(PLAIN.sign(), "X-Evil", "canary"), "unsigned header", id="an-unsigned-header"),
        pytest.param(mutate.set_header(PLAIN.sign(), "X-Amzn-Trace-Id", "canary"), "", id="trace-id"),
        pytest.param(replace(PLAIN, headers=(("X-Other", "x"),)).sign(), "does not belong", id="a-signed-header"),
        pytest.param(replace(PLAIN, content_type=None).sign(), "content-type", id="no-content-type"),
    ],
)
def test_the_header_rules_are_told(call: SignedCall, words: str) -> None:
    verdicts = list(explain(call.credential(), NOW))
    failed = [said for verdict, said in verdicts if verdict == "failed"]
    assert [words in said for said in failed[:1]] == ([True] if words else [])
    assert "canary" not in str(verdicts)


def test_a_signed_header_that_is_not_given_is_told() -> None:
    """The AWS SDK for Go v2 leaves both headers to net/http, and the service supplies both."""
    call = mutate.drop_header(replace(PLAIN, headers=(("Content-Length", "43"),)).sign(), "Content-Length")
    found = shape(call.credential())
    assert found["signed, not given"] == "content-length, host"
    assert "failed" not in found


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


# No value is printed, for any input.


def _in_every_place(recipe: Recipe) -> dict[str, SignedCall]:
    """Yield one valid call for each place in its text, with the canary there."""
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
    """The format of Kong's own kuma-dp is not public, so the command must show the structure of similar texts."""
    call = mutate.append_parameter(Recipe(form=form).sign(), "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
    shown = str(shape(call.credential()))
    assert "X-Amz-Content-Sha256" in shown
    assert "sts.us-east-1.amazonaws.com" in shown


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_bytes_that_are_no_text_are_no_traceback(encoding: str) -> None:
    done = run_cold("authenticate", "--explain", stdin=bytes(range(256)), PYTHONIOENCODING=encoding)
    assert "Traceback" not in done.err
    assert done.status in (0, 1)
