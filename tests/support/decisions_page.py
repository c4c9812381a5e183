"""Decisions and a service state for the page of decisions, without a service; and the structure of a document."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, Final, cast

from app.core.errors import AuthError, AuthorizationError
from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.token_kind import TokenKind
from app.decision.record import FRESH, DecisionRecord, PresentedForm, TokenNote
from app.local.certificate_dates import Validity
from app.page.document import DecisionsDocument
from app.page.recent_decisions import RecentDecisions
from app.page.state import ServiceState
from app.telemetry.readiness import Readiness
from app.telemetry.states import BudgetState, EndpointState, FileState
from app.telemetry.upstream_states import UpstreamStates
from tests.support.signing import NOW

VOID: Final = frozenset({"input", "meta"})


def recent_decisions(most: int = 1000) -> RecentDecisions:
    return RecentDecisions(lambda: NOW, lambda: 0.0, most)


def record(text: str = "demo", *, form: str = "native", request_id: str = "request-1") -> DecisionRecord:
    """Return the record of a complete decision, with the text in every field that can contain any text."""
    made = DecisionRecord(
        request_id,
        client=text,
        asserted=ProxyAssertion(
            type=ProxyType.DATAPLANE,
            mesh=text,
            name=text,
            zone=text,
            tags={"kuma.io/service": frozenset({text})},
            labels={"kuma.io/service": text, "kuma.io/workload": text},
        ),
        form=cast("PresentedForm", form),
        access_key_id=text,
        key_account=text,
        signed_for={"host": text, "region": text},
        signed_at=NOW,
        skew=-1.0,
        age=1.0,
        principal=Principal(
            partition=text, account=text, role=text, role_id=text, session=text, request_id="request-of-sts"
        ),
        role=RoleRecord(
            arn=f"arn:aws:iam::111122223333:role/{text}",
            role_id=text,
            name=text,
            tags=(("kuma.io/type", "dataplane"), ("kuma.io/mesh", text), ("kuma.io/service", text)),
            request_id=text,
        ),
        granted=ProxyIdentity(type=ProxyType.DATAPLANE, mesh=text, service=text, workload=text, zone=text),
        token=TokenNote(jti=text, kid=text, expires_at=NOW, origin=FRESH, name=text),
    )
    made.sts.cache, made.sts.request_id, made.sts.seconds = "miss", text, 0.005
    made.iam.cache, made.iam.request_id = "hit", text
    return made


def denial(reason: Reason = Reason.PROXY_MESH_MISMATCH, detail: str = "the role is for mesh default") -> AuthError:
    return AuthorizationError(reason, detail)


@dataclass(frozen=True)
class Queues:
    """The given states of a queue."""

    budgets: list[BudgetState] = field(default_factory=list)
    endpoints: list[EndpointState] = field(default_factory=list)

    def budget_states(self) -> Iterator[BudgetState]:
        return iter(self.budgets)

    def endpoint_states(self) -> Iterator[EndpointState]:
        return iter(self.endpoints)


def state(text: str = "demo", **changes: Any) -> ServiceState:
    """Return a state with a row in every table, and the text wherever a text can be."""
    upstreams = UpstreamStates()
    upstreams.called("sts", "ok", "")
    upstreams.called("iam", "iam_throttled", text)
    members: dict[str, Any] = {
        "readiness": Readiness(credentials_obtained=True),
        "upstreams": upstreams,
        "queues": {
            "sts": Queues([BudgetState((text, text), 3, 2, 100.0, False)], [EndpointState(text, True, False, 3, 0)]),
            "iam": Queues([BudgetState(text, 0, 1, 5.0, True)], [EndpointState(text, False, True, 0, 1)]),
        },
        "in_flight": lambda: 4,
        "cache_entries": {"identity": lambda: 7, "role": lambda: 8},
        "files": lambda: [FileState("accounts", (text, text), NOW.timestamp(), 9.0)],
        "certificates": lambda: {"server": Validity(NOW.timestamp(), NOW.timestamp() + 864_000)},
        "keys": lambda: [(TokenKind.DATAPLANE, text, NOW.timestamp() - 86_400)],
        **changes,
    }
    return ServiceState(**members)


def document(recent: RecentDecisions, service: ServiceState | None = None) -> DecisionsDocument:
    return DecisionsDocument(recent, state() if service is None else service, lambda: datetime.now(UTC))


class Structure(HTMLParser):
    """The tags of a document with the names of their attributes, and its text outside of style and script."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
