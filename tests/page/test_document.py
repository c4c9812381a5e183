"""The page of decisions: what it shows, that it runs no text, and that it is rendered in small pieces."""

import asyncio
import re

import pytest

from app.core.reasons import EXPLANATIONS, Reason
from app.page import pace
from app.page.document import MAX_SHOWN
from app.page.state_tables import MAX_ROWS
from app.telemetry.states import BudgetState, EndpointState
from tests.support.decisions_page import Queues, Structure, denial, document, recent_decisions, record, state

ATTACKS = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</pre></details></td></tr></table><iframe srcdoc=x>",
    "</title></style></script><svg onload=alert(1)>",
    "javascript:alert(1)",
    "<!--",
    "\u202e<b>\x00",
)


async def shown(text: str, query: dict[str, str]) -> Structure:
    """Render the page with a text in every place that a client, IAM, an operator or a reader can fill."""
    recent = recent_decisions()
    recent.note(record(text, form=text, request_id=text), denial(detail=text), 0.001)
    recent.note(record(text, form=text, request_id=text), None, 0.001)
    return Structure(await document(recent, state(text)).render(query))


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_text_becomes_markup(attack: str) -> None:
    """Stored in every field of a decision and of the state, it gives the same elements as a harmless text."""
    harmless, attacked = await shown("demo", {}), await shown(attack, {})
    assert attacked.tags == harmless.tags
    assert attacked.open == []
    assert attacked.text.count("\\u202e" if "\u202e" in attack else attack) >= 15


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_value_of_the_filter_becomes_markup(attack: str) -> None:
    """Reflected texts: the form and the links contain the values."""
    harmless = await shown("demo", dict.fromkeys(("outcome", "reason", "account", "text", "before"), "nothing"))
    attacked = await shown("demo", dict.fromkeys(("outcome", "reason", "account", "text", "before"), attack))
    assert attacked.tags == harmless.tags


async def test_a_decision_has_its_steps_its_remedy_and_its_audit_line() -> None:
    recent = recent_decisions()
    recent.note(record(), denial(), 0.0123)
    text = Structure(await document(recent).render({})).text
    explanation = EXPLANATIONS[Reason.PROXY_MESH_MISMATCH]
    for part in (
        explanation.title,
        explanation.detail,
        "The service saw: the role is for mesh default",
        "docs/reference/reasons.md",
        "(cache: miss, 5.0 ms, STS's request id demo)",
        '"request_id": "request-1"',
        "12.3 ms",
    ):
        assert part in text
    assert re.search(r"match - the proxy is what the role grants: ended here", text)


async def test_the_state_of_the_service_is_shown() -> None:
    recent = recent_decisions()
    recent.note(record(), denial(), 0.001)
    text = Structure(await document(recent).render({})).text
    for part in (
        "Ready: ready.",
        "sts: ok; iam: iam_throttled; own credentials: none.",
        "iam: demo",
        "Decisions in progress: 4. Cache entries: identity 7, role 8.",
        "slowed down: AWS throttles",
        "invalid for 9 s",
        "identity miss",
        "open",
    ):
        assert part in text


async def test_an_open_circuit_with_a_call_is_half_open() -> None:
    endpoints = [EndpointState("a", True, False, 3, 1), EndpointState("b", False, False, 1, 0)]
    service = state(queues={"sts": Queues([], endpoints)})
    text = Structure(await document(recent_decisions(), service).render({})).text
    assert "half-open: a probe is in flight" in text
    assert "closed; the last call has no answer yet" in text


async def test_an_empty_page_says_so() -> None:
    text = Structure(await document(recent_decisions(), state(queues={}, files=list, keys=list)).render({})).text
    assert "Decisions, the newest first: none matches." in text
    assert "Keys that sign tokens, the oldest first: none is set." in text


async def test_a_filter_selects_and_stays_in_the_form() -> None:
    recent = recent_decisions()
    recent.note(record("payments"), denial(), 0.001)
    recent.note(record("shop"), None, 0.001)
    html = (await document(recent, state("")).render({"mesh": "shop", "outcome": "allowed"})).decode()
    assert "1 of 1 decisions that match." in html
    assert "Steps, remedy and audit line of" in html
    assert '"mesh": "payments"' not in html.replace("&quot;", '"')
    assert '<input type="text" id="mesh" name="mesh" value="shop" maxlength="256">' in html
    assert '<option value="allowed" selected>' in html


async def test_a_link_leads_to_the_older_decisions_and_back() -> None:
    recent = recent_decisions()
    for number in range(MAX_SHOWN + 5):
        recent.note(record(request_id=f"request-{number}"), None, 0.001)
    first = (await document(recent).render({"outcome": "allowed"})).decode()
    assert f"{MAX_SHOWN} of {MAX_SHOWN + 5} decisions" in first
    [query] = re.findall(r'href="/decisions\?outcome=allowed&amp;before=(\d+)" rel="next"', first)
    # A new decision does not move the older ones.
    recent.note(record(), None, 0.001)
    second = (await document(recent).render({"outcome": "allowed", "before": query})).decode()
    assert [f"request-{number}<" in second for number in (5, 4, 0)] == [False, True, True]
    assert 'href="/decisions?outcome=allowed">Newest' in second
    assert 'rel="next"' not in second


async def test_a_decision_that_is_missing_is_said() -> None:
    recent = recent_decisions()
    recent.note(record(request_id="\ud800"), None, 0.001)
    assert "1 could not be recorded, because of a bug." in Structure(await document(recent).render({})).text


async def test_the_busiest_of_many_accounts_are_shown() -> None:
    budgets = [BudgetState((f"{account:012}", "eu-west-1"), account, 0, 100.0, False) for account in range(500)]
    service = state(queues={"sts": Queues(budgets)})
    text = Structure(await document(recent_decisions(), service).render({})).text
    assert f"{499:012}" in text
    assert f"{499 - MAX_ROWS:012}" not in text


async def turns_while(rendering: "asyncio.Task[bytes]") -> int:
    turns = 0
    while not rendering.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_the_document_is_made_in_small_pieces() -> None:
    """So a decision waits for one piece at most: every turn of the event loop between two pieces can serve it."""
    recent = recent_decisions()
    for _ in range(1000):
        recent.note(record(), None, 0.001)
    budgets = [BudgetState((str(account), ""), 0, 0, 100.0, False) for account in range(1000)]
    page = document(recent, state(queues={"sts": Queues(budgets)}))
    turns = await turns_while(asyncio.create_task(page.render({"text": "demo"})))
    work = 2000 * pace.LOOKED_AT + MAX_SHOWN * pace.SHOWN
    assert turns >= work // pace.PIECE_UNITS


def test_the_browser_may_run_only_the_script_of_the_page_and_request_nothing() -> None:
    policy = dict(
        each.strip().split(" ", 1) for each in document(recent_decisions()).content_security_policy.split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[name])
    assert policy.keys() <= {
        "default-src",
        "script-src",
        "style-src",
        "form-action",
        "base-uri",
        "frame-ancestors",
        "require-trusted-types-for",
        "trusted-types",
    }
