"""The hostile corpus (`tests/corpus`), case by case through the whole decision.

The endpoint, the authenticator and the rules are real. STS and IAM are counted: in memory, where STS verifies the signature
over what is sent; over loopback and the real clients where what they answer is the case.
"""

import asyncio
import contextlib
import functools
import io
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from typing import Any, Final, cast

import pytest
import structlog
from starlette.types import ASGIApp, Message

from app.api.application import HotPath
from app.api.authenticate import PATH, AuthenticateEndpoint
from app.api.known_calls import KnownCalls
from app.api.schemas import AuthenticateCall, ProxyMember, parse_call
from app.core import header_rules, request_policy
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.credential import decode_credential
from app.core.endpoints import select_endpoints
from app.core.errors import AuthError
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal, admit, read_principal
from app.core.proxy import ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.request_policy import RequestPolicy, require_fresh, validate
from app.core.role_grant import match
from app.core.role_tags import RoleRecord, read_grant
from app.core.signed_request import CredentialForm, SignedRequest
from app.decision.authenticator import Authenticator, DecisionPolicy, IdentitySource, RoleSource
from app.decision.record import UpstreamCall
from app.http.network import NetworkOptions, open_pool
from app.iam.client import IamRoles
from app.settings.accounts import FixedAccounts
from app.sts.client import StsClient
from app.sts.endpoints import make_sts_endpoints
from app.sts.known_credentials import KnownCredentials
from app.telemetry.audit import configure_logging
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from fuzz.seeds import seeds_of, words_of
from fuzz.targets import TARGETS
from tests.support.corpus import (
    AUDIENCE,
    CORPUS,
    OPS,
    Case,
    Scene,
    WireAnswer,
    every_scene,
    identity_of,
    identity_xml,
    load_cases,
)
from tests.support.iam_client import iam_options, open_roles
from tests.support.introductions import new_introductions
from tests.support.signing import every_endpoint, signature_holds
from tests.support.tokens import token_verdicts
from tests.support.wire import Respond, answering, hang_up, recording_server
from tests.support.world import ACCOUNT, DATAPLANE

TESTS: Final = Path(__file__).parent
CORE: Final = TESTS.parent / "app" / "core"
# The code that reads presented tokens is pure too.
PURE: Final = (
    *sorted(CORE.glob("*.py")),
    *(CORE.parent / "tokens" / f"{name}.py" for name in ("claims", "codec", "reading", "subject")),
)
THREAT_MODEL: Final = TESTS.parent / "docs" / "explanation" / "threat-model.md"
CASES: Final = load_cases()
ROWS: Final = tuple(dict.fromkeys(case.row for case in CASES))

# Reasons that no signed request and no answer of AWS causes, and invariants that need more than one: tested
# elsewhere.
ELSEWHERE: Final = frozenset(
    {
        Reason.NOT_FOUND,
        Reason.CALLER_NOT_AUTHENTICATED,
        Reason.ACCOUNTS_UNAVAILABLE,
        # Reasons of tokens (tokens/test_tokens.py).
        Reason.TOKEN_REJECTED,
        Reason.ROLE_ZONE_MISSING,
        Reason.PROXY_NAME_MISMATCH,
        Reason.PROXY_NAME_MISSING,
        Reason.SIGNING_KEY_MISSING,
        Reason.OVERLOADED,
        Reason.INTERNAL_ERROR,
    }
)
INVARIANTS_ELSEWHERE: Final = frozenset({"I16", "I17", "I19"})
INVARIANT: Final = re.compile(r"I\d+")
HEADERS: Final = {
    "content-type",
    "content-length",
    "cache-control",
    "x-content-type-options",
    "x-request-id",
    "retry-after",
    "allow",
    "connection",
}
FIELDS: Final = {"credential", "proxy", *AuthenticateCall.model_fields, *ProxyMember.model_fields}


def policy_of(case: Case) -> DecisionPolicy:
    """Return the settings of the service that the case asks for."""
    given = case.given
    extra = (endpoint for region in given.get("extra_regions", ()) for endpoint in make_sts_endpoints(region))
    endpoints = select_endpoints(
        (*every_endpoint(), *extra),
        partition=given.get("partition", "aws"),
        regions=frozenset(given.get("regions", ())),
    )
    meshes = given.get("account_meshes")
    return DecisionPolicy(
        request=RequestPolicy(
            endpoints=endpoints,
            audience=AUDIENCE,
            allow_unbound=given.get("allow_unbound", False),
            forms=frozenset(map(CredentialForm, given.get("forms", list(CredentialForm)))),
        ),
        accounts=FixedAccounts(frozenset(given.get("accounts", [ACCOUNT]))),
        enabled_types=frozenset(map(ProxyType, given.get("enabled", list(ProxyType)))),
        require_service=given.get("require_service", False),
        require_workload=given.get("require_workload", False),
        allow_unbound_workloads=given.get("unbound_workloads", False),
        role_path_prefix=given.get("role_path_prefix"),
        zone=given.get("zone"),
        account_meshes=None if meshes is None else {name: frozenset(entry) for name, entry in meshes.items()},
    )


# STS and IAM.


def answer_of(scene: Scene, request: ForwardableRequest) -> WireAnswer:
    """Return STS's answer to what is really sent: it names the signer only if the signature is valid."""
    validated = request.request
    signed_for = scene.recipe.__class__(form=validated.form, region=validated.endpoint.signing_region)
    if signature_holds(validated, signed_for):
        return scene.sts
    return WireAnswer(status=403, body=b'{"Error":{"Code":"SignatureDoesNotMatch"}}')


@dataclass
class Upstreams:
    """STS and IAM in memory, for one scene. They count their calls."""

    scene: Scene
    calls: list[str] = field(default_factory=list)

    async def identify(self, request: ForwardableRequest, _seen: UpstreamCall, _deadline: float) -> CallerIdentity:
        self.calls.append("sts")
        answer = answer_of(self.scene, request)
        reply = StsReply(
            status=answer.status, content_type=answer.content_type, body=answer.body, request_id="request-of-sts"
        )
        return read_caller_identity(reply, request.request.endpoint)

    async def fetch_role(self, _admitted: AdmittedPrincipal, _seen: UpstreamCall, _deadline: float) -> RoleRecord:
        self.calls.append("iam")
        return self.scene.role


def respond_with(answer: WireAnswer) -> Respond:
    return hang_up if answer.ends else answering(f"{answer.status} -", dict(answer.headers), answer.body)


@dataclass
class StsWire:
    """The real client of STS, and a loopback server with the answer of the case."""

    client: StsClient
    requests: list[Any]
    answer: WireAnswer = field(default_factory=WireAnswer)


@asynccontextmanager
async def sts_wire(metrics: Metrics) -> AsyncIterator[StsWire]:
    wire: StsWire | None = None

    async def respond(writer: asyncio.StreamWriter) -> None:
        assert wire
        await respond_with(wire.answer)(writer)

    async with recording_server(respond) as recorder:
        network = NetworkOptions()
        pool = open_pool(network)
        wire = StsWire(StsClient(pool, network, metrics, recorder.url), recorder.requests)
        try:
            yield wire
        finally:
            await pool.close()


class IamServer(ThreadingHTTPServer):
    """A loopback IAM with the answer of the case, and an STS that tells the service its own account."""

    daemon_threads = True
    answer = WireAnswer()
    requests = 0


class _IamHandler(BaseHTTPRequestHandler):
    server: IamServer

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        answer = WireAnswer(headers={"Content-Type": "text/xml"}, body=identity_xml(identity_of("aws")).encode())
        if b"Action=GetCallerIdentity" not in asked:
            self.server.requests += 1
            answer = self.server.answer
        self.close_connection = answer.ends
        if not answer.ends:
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class IamWire:
    """The real client of IAM, and its server."""

    client: IamRoles
    server: IamServer


@pytest.fixture(scope="module")
def iam_server() -> Iterator[IamServer]:
    with IamServer(("127.0.0.1", 0), _IamHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@asynccontextmanager
async def iam_wire(server: IamServer) -> AsyncIterator[IamWire]:
    own_keys = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLEOFOURSELF", "AWS_SECRET_ACCESS_KEY": "own", "AWS_SESSION_TOKEN": "own"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_keys.items():
            patch.setenv(name, value)
        async with open_roles(iam_options(f"http://127.0.0.1:{server.server_port}")) as client:
            assert await client.own_account() == ACCOUNT
            yield IamWire(client, server)


# The log as the process writes it, at the most verbose level.


@pytest.fixture(scope="module")
def log() -> Iterator[io.TextIOWrapper]:
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("botocore", "boto3", "urllib3", "aiohttp", "asyncio")}
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(written):
        configure_logging("debug", "json")
    logging.getLogger().setLevel(logging.DEBUG)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    structlog.configure(**config)


# Playing a case.


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


async def send(app: ASGIApp, scene: Scene) -> Answer:
    """Send one HTTP request, without a client that would correct it."""
    call = scene.call
    sent: list[Message] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": call.method,
        "path": PATH,
        "query_string": b"",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in call.headers],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": call.body, "more_body": False}

    async def keep(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, keep)
    start, end = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert len(headers) == len(start["headers"])
    return Answer(start["status"], headers, end["body"].decode())


def secrets_of(scene: Scene) -> set[str]:
    """Return every text of a scene that must not be seen again: the keys, and pieces of the presented credential."""
    recipe, text = scene.recipe, scene.credential
    pieces = {text[at : at + 32] for at in range(0, len(text) - 31, 32)}
    named = {recipe.access_key_id, recipe.secret_key, AUDIENCE, str(recipe.token)[:32], str(recipe.token)[-32:]}
    return named | {piece for piece in pieces if len(set(piece)) > 4}


def assert_one_fixed_answer(case: Case, answer: Answer) -> None:
    """I24: the reason alone determines every byte of an answer."""
    assert answer.headers.keys() <= HEADERS
    assert answer.headers["cache-control"] == "no-store"
    assert case.reason
    explanation = EXPLANATIONS[case.reason]
    problem = json.loads(answer.body)
    assert (problem["reason"], answer.status) == (case.reason.value, explanation.status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (answer.status == 503)
    detail = problem["detail"]
    if case.reason is Reason.MALFORMED_REQUEST:
        found = re.fullmatch(r"(?:At fault: ([a-z. ]+)\. )?(.*)", detail)
        assert found
        names = set((found[1] or "the body").replace("an unknown member", "").split(".")) - {"", "the body"}
        assert names <= FIELDS
        detail = found[2]
    assert problem == {
        "type": "about:blank",
        "title": explanation.title,
        "status": explanation.status,
        "detail": problem["detail"],
        "reason": case.reason.value,
        "requestId": answer.headers["x-request-id"],
    }
    assert detail == explanation.detail


def assert_what_the_tags_say(scene: Scene, answer: Answer) -> None:
    """An approval has the values of the role's tags, and nothing of what the client asserted."""
    tags = dict(scene.role.tags)
    names = ("mesh", "service", "workload") if tags["kuma.io/type"] == "dataplane" else ("zone",)
    if (json.loads(scene.call.body).get("proxy") or {}).get("listeners"):
        names = ("mesh", "workload", "zone")
    assert answer.status == 200
    assert json.loads(answer.body)["identity"] == {
        "type": tags["kuma.io/type"],
        **dict.fromkeys(("mesh", "service", "workload", "zone")),
        **{name: tags.get(f"kuma.io/{name}") for name in names},
        "labels": {key.removeprefix("kuma.io/label/"): tags[key] for key in tags if key.startswith("kuma.io/label/")},
    }


def assert_one_quiet_line(case: Case, scene: Scene, written: str) -> None:
    """I22, I23: one line for a decision, whatever text it speaks of, and nothing secret of the credential in it.

    The key id, the host and the audience are no secrets, but each has its own field.
    """
    events = [json.loads(line) for line in written.split("\n") if line]
    decisions = [event for event in events if event["event"] == "decision"]
    assert len(decisions) == (0 if case.reason is Reason.METHOD_NOT_ALLOWED else 1)
    for line in decisions:
        assert line["reason"] == (case.reason and case.reason.value)
        assert line["detail"] is None or not re.search("evil|canary", line["detail"])
        key, place, audience = line.pop("access_key"), line.pop("signed_for"), line.pop("audience")
        assert key is None or re.fullmatch("[A-Z0-9]{16,128}", key["id"])
        assert place is None or all(re.fullmatch("[A-Za-z0-9.:-]+", text) for text in place.values() if text)
        assert audience is None or audience["expected"] == AUDIENCE
    assert not [secret for secret in secrets_of(scene) if secret in json.dumps(events)]


@functools.cache
def scenes_by_row() -> dict[str, list[tuple[Case, Scene]]]:
    return {row: list(scenes) for row, scenes in groupby(every_scene(), lambda pair: pair[0].row)}


@dataclass
class Counted:
    """The metrics of all cases that ran, and the case of each secret."""

    metrics: Metrics = field(default_factory=Metrics)
    secrets: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def counted() -> Iterator[Counted]:
    """Check at the end that no metric has a secret of a case: rendering the page takes as long as running a case."""
    counted = Counted()
    yield counted
    exposed = counted.metrics.expose().decode()
    assert not re.search("evil|canary", exposed)
    assert {case for secret, case in counted.secrets.items() if secret in exposed} == set()


@pytest.mark.parametrize("row", ROWS)
async def test_a_case_ends_as_its_row_says(
    row: str, log: io.TextIOWrapper, counted: Counted, request: pytest.FixtureRequest
) -> None:
    metrics = counted.metrics
    async with AsyncExitStack() as stack:
        area = row.partition("/")[0]
        sts = await stack.enter_async_context(sts_wire(metrics)) if area == "sts_answers" else None
        iam = None
        if area == "role_answers":
            iam = await stack.enter_async_context(iam_wire(request.getfixturevalue("iam_server")))
        for case, scene in scenes_by_row()[row]:
            counted.secrets |= dict.fromkeys(secrets_of(scene), case.id)
            await assert_it_ends_as_it_should(case, scene, metrics, log, sts, iam)


async def assert_it_ends_as_it_should(
    case: Case, scene: Scene, metrics: Metrics, log: io.TextIOWrapper, sts: StsWire | None, iam: IamWire | None
) -> None:
    memory = Upstreams(scene)
    identities: IdentitySource = memory
    roles: RoleSource = memory
    if sts:
        identities, sts.answer = sts.client, scene.sts
        sts.requests.clear()
    if iam:
        roles, iam.server.answer, iam.server.requests = iam.client, scene.iam, 0
    known = KnownCredentials(lambda: scene.now)
    policy = policy_of(case)
    introductions = new_introductions(identities, known, policy.accounts, lambda: scene.now)
    authenticator = Authenticator(policy, known, introductions, roles, lambda: scene.now)
    endpoint = AuthenticateEndpoint(authenticator, KnownCalls(known), metrics, Readiness(), 10.0)
    begin = log.tell()
    answer = await send(HotPath(cast("Any", None), endpoint), scene)
    log.seek(begin)
    written = log.read()
    calls = (
        len(sts.requests) if sts else memory.calls.count("sts"),
        iam.server.requests if iam else memory.calls.count("iam"),
    )
    try:
        if case.reason is None:
            assert_what_the_tags_say(scene, answer)
        else:
            assert_one_fixed_answer(case, answer)
            assert not [secret for secret in secrets_of(scene) if secret in answer.body]
        assert calls == case.calls
        assert_one_quiet_line(case, scene, written)
    except AssertionError as error:
        error.add_note(f"{case.id} ({case.op}): {answer.status} {answer.body}\n{written}")
        raise


# The corpus is complete.


def test_every_case_has_a_name_of_its_own() -> None:
    ids = [case.id for case in CASES]
    assert sorted({name for name in ids if ids.count(name) > 1}) == []
    assert tuple(scenes_by_row()) == ROWS


def test_every_word_of_a_change_is_used() -> None:
    assert {case.op for case in CASES} == OPS


def test_the_baseline_of_each_form_is_allowed() -> None:
    """Otherwise every refusal would prove nothing."""
    allowed = {(case.form, case.op) for case in CASES if case.reason is None}
    assert {form for form, op in allowed if op == "as_it_is"} == {case.form for case in CASES}


def test_every_reason_has_a_case_or_a_test_elsewhere() -> None:
    given = {case.reason for case in CASES if case.reason}
    assert given | ELSEWHERE == set(Reason)
    assert not given & ELSEWHERE
    assert {reason for reason in ELSEWHERE if not is_tested(reason.value, f"Reason.{reason.name}")} == set()


def test_every_invariant_has_a_case_or_a_test_elsewhere() -> None:
    held = {name for case in CASES for name in case.origin}
    assert {f"I{number}" for number in range(1, 28)} == {name for name in held if INVARIANT.fullmatch(name)} | (
        INVARIANTS_ELSEWHERE
    )
    assert {name for name in INVARIANTS_ELSEWHERE if not is_tested(name)} == set()


def is_tested(*words: str) -> bool:
    """Return whether another test file names it."""
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path.name != Path(__file__).name)
    pattern = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in words))
    return any(map(pattern.search, texts))


# The advisories of the threat model.


def advisories() -> dict[str, str]:
    read: dict[str, str] = json.loads((CORPUS / "advisories.json").read_text(encoding="utf-8"))
    return read


def test_every_origin_is_an_invariant_or_an_advisory() -> None:
    origins = {name for case in CASES for name in case.origin if not INVARIANT.fullmatch(name)}
    assert origins <= advisories().keys()
    assert {name for name, held in advisories().items() if held == "corpus"} <= origins


@pytest.mark.parametrize("name", advisories())
def test_every_advisory_is_held_by_the_corpus_or_by_a_test_or_does_not_apply(name: str) -> None:
    held = advisories()[name]
    if held == "corpus" or held.startswith("does not apply: "):
        return
    path, _, test = held.partition("::")
    assert f"def {test}(" in (TESTS / path).read_text(encoding="utf-8")


def test_every_advisory_of_the_threat_model_is_known_here() -> None:
    text = THREAT_MODEL.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:CVE|GO)-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}|SECVULN-\d+", text))
    assert named <= advisories().keys()


# Each rule has a case that only this rule refuses.


def core_verdict(case: Case, scene: Scene) -> str | None:
    """Return how the core judges a case by itself: the reason and the detail."""
    policy = policy_of(case)
    try:
        text, claim = parse_call(scene.call.body)
        forwardable = require_fresh(validate(decode_credential(text, policy.request.forms), policy.request), scene.now)
        answer = answer_of(scene, forwardable)
        reply = StsReply(status=answer.status, content_type=answer.content_type, body=answer.body, request_id="r")
        principal = read_principal(read_caller_identity(reply, forwardable.request.endpoint))
        admitted = admit(principal, policy.accounts.current())
        match(read_grant(admitted, scene.role, policy, claim), claim, policy)
    except AuthError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def refused() -> list[tuple[SignedRequest, RequestPolicy, Reason]]:
    """Return the requests that the rules of step 2 refuse, the settings for which they do, and the reasons."""
    found = []
    for case, scene in every_scene():
        if case.is_local and case.reason and EXPLANATIONS[case.reason].status == 401:
            with contextlib.suppress(AuthError):
                request, policy = decode_credential(scene.credential), policy_of(case).request
                if (reason := verdict(request, policy)) is not None:
                    found.append((request, policy, reason))
    return found


@pytest.mark.parametrize("rule", [*request_policy.RULES, *header_rules.HEADER_RULES], ids=lambda rule: rule.__name__)
def test_every_rule_has_a_case_that_it_alone_refuses(
    rule: Any, refused: list[tuple[SignedRequest, RequestPolicy, Reason]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rule, a request that it refused is accepted, or gets another reason."""
    for module, name in ((request_policy, "RULES"), (header_rules, "HEADER_RULES"), (request_policy, "HEADER_RULES")):
        monkeypatch.setattr(module, name, tuple(other for other in getattr(module, name) if other is not rule))
    assert any(verdict(request, policy) is not reason for request, policy, reason in refused)


def verdict(request: SignedRequest, policy: RequestPolicy) -> Reason | None:
    try:
        validate(request, policy)
    except AuthError as error:
        return error.reason
    except (LookupError, ValueError, OverflowError):  # the rule would have ensured this
        return None
    return None


# Details that nobody sees: a later step has its own words, or only a bug of the service could cause the error.
UNHEARD: Final = (
    "not canonical base64url without padding",
    "not an error document",
    "a request policy needs",
    "a grant has the mesh that its type needs",
    # About AWS's answers to the service itself (core/test_iam_documents.py, core/test_sts_documents.py).
    "a list holds something else than members",
    "the answer is a part of one",
    "a field is no time",
    "a field is a time without a time zone",
    # About a record that replicas share, which then counts as missing (core/test_records.py).
    "a member is missing, or is one too many",
    "a member is no text",
    "the tags are no list",
    "a tag is no pair of texts",
    # About a token with claims that the service does not write (tokens/test_reading.py).
    "a token names its mesh or its zone, and no claim of it is empty",
    "not a text",
    "not whole seconds since the epoch",
)
_RAISES: Final = re.compile(
    r"""(?:_malformed|_not_believed|DocumentError|StrictJsonError|Base64TextError|ArnError|\w+Error)\(\s*"""
    r"""(?:Reason\.\w+,\s*)?f?"([^"{]{8,})""",
    re.VERBOSE,
)


@pytest.fixture(scope="module")
def verdicts() -> str:
    """Return how the core judges every case, and every hostile token."""
    said = {str(core_verdict(case, scene)) for case, scene in every_scene()}
    return "\n".join(said | {str(verdict) for verdict in token_verdicts()})


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_every_refusal_of_the_core_has_a_case(path: Path, verdicts: str) -> None:
    """Each sentence of a ``raise`` occurs: no grammar and no rule lacks a hostile case."""
    sentences = set(_RAISES.findall(path.read_text(encoding="utf-8")))
    assert {text for text in sentences if text not in verdicts and not text.startswith(UNHEARD)} == set()


def test_what_is_unheard_is_said_somewhere() -> None:
    said = [text for path in PURE for text in _RAISES.findall(path.read_text(encoding="utf-8"))]
    assert {words for words in UNHEARD if not any(text.startswith(words) for text in said)} == set()


def test_the_baseline_is_what_the_readme_says() -> None:
    assert (ACCOUNT, dict(DATAPLANE)) == (
        "111122223333",
        {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "demo-app"},
    )


# The seeds of the fuzzer, without a fuzzer.


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_a_property_of_the_fuzzer(target: str) -> None:
    seeds = list(seeds_of(target))
    assert seeds
    for seed in seeds:
        TARGETS[target](seed)


def test_every_target_of_the_fuzzer_has_words_that_libfuzzer_can_read() -> None:
    for target in TARGETS:
        words = list(words_of(target))
        assert words
        assert all(word.isascii() and word.isprintable() for word in words)
