"""Valid and invalid calls, which schemathesis generates from the OpenAPI description, against the real application.

STS and IAM are in memory and say what the example tells them to, so that every documented status comes up. The examples are
the same in every run.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from app.api.application import build_api
from app.api.authenticate import AuthenticateEndpoint
from app.api.known_calls import KnownCalls
from app.api.metrics_page import ScrapeLimits
from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthenticationError, AuthError, AuthorizationError, UpstreamError
from app.core.proxy import ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.decision.authenticator import Authenticator, DecisionPolicy
from app.settings.accounts import FixedAccounts
from app.sts.known_credentials import KnownCredentials
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from tests.support.introductions import new_introductions
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW, Recipe, default_policy
from tests.support.world import DATAPLANE, EGRESS, INGRESS

Case = schemathesis.Case[Any]
Operation = APIOperation[Any, Any, Any, Any]

CANARY: Final = "canary-5b1f0e"
VALID: Final = Recipe(form=CredentialForm.NATIVE).credential()
OPERATIONS: Final = ("POST /v1/authenticate", "GET /healthy", "GET /ready", "GET /metrics")
DECISIONS: Final = OPERATIONS[0]
TAGS: Final = tuple(tuple(tags.items()) for tags in (DATAPLANE, INGRESS, EGRESS, {}))
# The reasons with which STS and IAM can end a decision. None lets it continue.
STS_ENDS: Final = (
    AuthenticationError(Reason.STS_REJECTED, "-"),
    AuthenticationError(Reason.SESSION_EXPIRED, "-"),
    UpstreamError(Reason.STS_THROTTLED, "-"),
    UpstreamError(Reason.STS_UNAVAILABLE, "-"),
)
IAM_ENDS: Final = (
    AuthorizationError(Reason.ROLE_NOT_FOUND, "-"),
    UpstreamError(Reason.IAM_THROTTLED, "-"),
    UpstreamError(Reason.IAM_ACCESS_DENIED, "-"),
    UpstreamError(Reason.OVERLOADED, "-"),
)
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

bounded = hypothesis.settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@dataclass
class Upstreams:
    """STS and IAM in memory. Each example sets their answers."""

    sts: AuthError | None = None
    iam: AuthError | None = None
    tags: tuple[tuple[str, str], ...] = field(default_factory=lambda: TAGS[0])

    async def identify(self, *_: object) -> CallerIdentity:
        if self.sts:
            raise self.sts
        return CallerIdentity(
            arn=parse_arn(PRINCIPAL.arn), user_id=f"{PRINCIPAL.role_id}:{PRINCIPAL.session}", request_id="r-1"
        )

    async def fetch_role(self, *_: object) -> RoleRecord:
        if self.iam:
            raise self.iam
        return RoleRecord(
            arn=f"arn:aws:iam::{PRINCIPAL.account}:role/{PRINCIPAL.role}",
            role_id=PRINCIPAL.role_id,
            name=PRINCIPAL.role,
            tags=self.tags,
            request_id="r-2",
        )


@dataclass
class Stage:
    """The application, its upstreams, and its operations by name."""

    upstreams: Upstreams
    operations: dict[str, Operation]
    seen: Counter[int] = field(default_factory=Counter)

    def call(self, case: Case, *checks: Any) -> str:
        """Make a call, compare the answer with the description, and return the whole answer as one text."""
        response = case.call()
        self.seen[response.status_code] += 1
        case.validate_response(response, checks=[*CHECKS, *checks])
        if response.status_code == 503:  # documented; any other 5xx status is a bug
            assert "retry-after" in response.headers
        else:
            case.validate_response(response, checks=[not_a_server_error])
        return f"{response.headers} {response.text}"


def application(upstreams: Upstreams) -> ASGIApp:
    policy = DecisionPolicy(
        request=default_policy(),
        accounts=FixedAccounts(frozenset({PRINCIPAL.account})),
        enabled_types=frozenset({ProxyType.DATAPLANE, ProxyType.INGRESS}),
    )
    metrics, readiness = Metrics(), Readiness(credentials_obtained=True)
    timer = itertools.count(step=60).__next__  # so no cached denial of STS affects the next call
    known = KnownCredentials(lambda: NOW, timer)
    introductions = new_introductions(upstreams, known, policy.accounts, lambda: NOW, timer=timer)
    authenticator = Authenticator(policy, known, introductions, upstreams, lambda: NOW)
    endpoint = AuthenticateEndpoint(authenticator, KnownCalls(known), metrics, readiness, 10.0)
    return build_api(endpoint, metrics, readiness, with_probes=True, scrape_limits=ScrapeLimits(pause_seconds=0.0))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    upstreams = Upstreams()
    schema = schemathesis.openapi.from_asgi("/openapi.json", application(upstreams))
    with capture_logs():
        operations: list[Operation] = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        yield Stage(upstreams, {operation.label: operation for operation in operations})


@pytest.fixture(autouse=True)
def _count_anew(stage: Stage) -> None:
    stage.seen.clear()


@st.composite
def worlds(draw: st.DrawFn) -> Upstreams:
    """What AWS answers: in most examples the correct role."""
    return Upstreams(
        sts=draw(st.sampled_from([None] * 8 + [*STS_ENDS])),
        iam=draw(st.sampled_from([None] * 8 + [*IAM_ENDS])),
        tags=draw(st.sampled_from(TAGS)),
    )


def set_up(stage: Stage, world: Upstreams) -> None:
    stage.upstreams.sts, stage.upstreams.iam, stage.upstreams.tags = world.sts, world.iam, world.tags


def test_every_operation_of_the_description_is_called(stage: Stage) -> None:
    assert stage.operations.keys() == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_valid_call_is_answered_as_described(stage: Stage, label: str) -> None:
    @bounded
    @hypothesis.given(stage.operations[label].as_strategy(), worlds(), st.booleans())
    def holds(case: Case, world: Upstreams, is_signed: bool) -> None:  # noqa: FBT001 - hypothesis passes it
        set_up(stage, world)
        if label == DECISIONS:
            members = members_of(case)
            if is_signed:
                members["credential"] = VALID
        if breaks_a_rule_between_members(case):
            # JSON Schema cannot express this rule, so such a call counts as valid there.
            stage.call(case)
        else:
            stage.call(case, positive_data_acceptance)

    holds()
    if label == DECISIONS:
        # Otherwise the test would prove nothing.
        assert stage.seen.keys() >= {200, 401, 403, 503}
        assert stage.seen.keys() <= {200, 400, 401, 403, 503}
    else:
        assert stage.seen.keys() == {200}


def members_of(case: Case) -> dict[str, Any]:
    """Return the members of a valid call, which an example changes."""
    assert isinstance(case.body, dict)
    return case.body


def breaks_a_rule_between_members(case: Case) -> bool:
    """A dataplane needs a mesh, and nothing else has listeners."""
    proxy = case.body.get("proxy") if isinstance(case.body, dict) else None
    if not isinstance(proxy, dict):
        return False
    return proxy.get("mesh") is None if proxy.get("type") == "dataplane" else bool(proxy.get("listeners"))


def test_an_invalid_call_is_refused_as_described(stage: Stage) -> None:
    @bounded
    @hypothesis.given(stage.operations[DECISIONS].as_strategy(generation_mode=GenerationMode.NEGATIVE), worlds())
    def holds(case: Case, world: Upstreams) -> None:
        set_up(stage, world)
        stage.call(case)

    holds()
    # schemathesis's own check does not count 413 as a refusal.
    assert stage.seen[400]
    assert stage.seen.keys() <= {400, 413, 415}


# The places of a caller's text in a call. Each function puts a text there.


def _credential(case: Case) -> None:
    members_of(case)["credential"] = CANARY


def _in_the_credential(case: Case) -> None:
    members_of(case)["credential"] = f"{VALID}{CANARY}"


def _member(case: Case) -> None:
    members_of(case)[CANARY] = CANARY


def _proxy(**members: Any) -> Callable[[Case], None]:
    def put(case: Case) -> None:
        members_of(case)["credential"] = VALID
        members_of(case)["proxy"] = {"type": "dataplane", "mesh": "default", **members}

    return put


def _header(case: Case) -> None:
    case.headers.update({f"X-{CANARY}": CANARY, "Cookie": CANARY, "Authorization": CANARY})


def _request_id(case: Case) -> None:
    """A request id with unusual characters. The service echoes only a plain one, as documented."""
    case.headers.update({"X-Request-Id": f"{CANARY} {CANARY}"})


def _query(case: Case) -> None:
    case.query = {CANARY: CANARY}


PLACES: Final[dict[str, Callable[[Case], None]]] = {
    "credential": _credential,
    "in-the-credential": _in_the_credential,
    "member": _member,
    "proxy": lambda case: members_of(case).update(proxy=CANARY),
    "proxy-member": _proxy(**{CANARY: CANARY}),
    "type": _proxy(type=CANARY),
    "mesh": _proxy(mesh=CANARY),
    "long-mesh": _proxy(mesh=CANARY * 30),
    "name": _proxy(name=CANARY),
    "zone": _proxy(zone=CANARY),
    "tag": _proxy(tags={CANARY: [CANARY]}),
    "service": _proxy(tags={"kuma.io/service": [CANARY]}),
    "tags": _proxy(tags=CANARY),
    "tag-without-list": _proxy(tags={CANARY: CANARY}),
    "label": _proxy(labels={CANARY: CANARY}),
    "label-in-a-list": _proxy(labels={CANARY: [CANARY]}),
    "header": _header,
    "request-id": _request_id,
    "query": _query,
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_that_a_caller_says_is_echoed(stage: Stage, place: str) -> None:
    """I24, for every reason with which a call ends."""

    @hypothesis.settings(bounded, max_examples=25)
    @hypothesis.given(stage.operations[DECISIONS].as_strategy(), worlds())
    def holds(case: Case, world: Upstreams) -> None:
        set_up(stage, world)
        PLACES[place](case)
        assert CANARY not in stage.call(case)

    holds()


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label != DECISIONS])
@pytest.mark.parametrize("place", ["header", "query"])
def test_the_probes_echo_nothing(stage: Stage, label: str, place: str) -> None:
    @bounded
    @hypothesis.given(stage.operations[label].as_strategy())
    def holds(case: Case) -> None:
        PLACES[place](case)
        assert CANARY not in stage.call(case)

    holds()


def test_the_statuses_that_are_told_apart_here_are_those_of_the_reasons() -> None:
    assert {EXPLANATIONS[error.reason].status for error in (*STS_ENDS, *IAM_ENDS)} == {401, 403, 503}
