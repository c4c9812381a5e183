"""The state of the service as tables: rates, STS and IAM, caches, files and keys, agents."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from app.page.agents_seen import Agent, AgentsSeen
from app.page.decision_rows import time_cell
from app.page.markup import Markup, element
from app.page.pace import LOOKED_AT, Pace
from app.page.rates import Rates
from app.page.state import ServiceState
from app.telemetry.states import BudgetState, EndpointState

# The most rows of a table of accounts, endpoints, keys or agents. There can be thousands of them.
MAX_ROWS: Final = 50
WINDOWS: Final = (5, 60)
_DAY_SECONDS: Final = 86_400.0  # no bound: what a day is

_Row = TypeVar("_Row")


def table(caption: str, heads: tuple[str, ...], rows: Iterable[Markup], empty: str) -> Markup:
    """Return a table that can be scrolled by the keyboard, or a sentence if it has no rows."""
    body = list(rows)
    if not body:
        return element("p", f"{caption}: {empty}")
    head = element("thead", element("tr", *(element("th", each, scope="col") for each in heads)))
    whole = element("table", element("caption", caption), head, element("tbody", *body))
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


async def state_section(state: ServiceState, now: datetime, pace: Pace) -> Markup:
    """Return the section about the service and AWS."""
    results = [*state.upstreams.outcomes.items(), ("own credentials", state.upstreams.own_credentials)]
    caches = ", ".join(f"{name} {count()}" for name, count in state.cache_entries.items())
    return element(
        "section",
        element("h2", "State of the service", id="state"),
        element("p", f"Ready: {state.readiness.explain()}."),
        element("p", "Last results: ", "; ".join(f"{name}: {result}" for name, result in results), "."),
        *(element("p", f"{name}: {cause}") for name, cause in state.upstreams.causes.items()),
        element("p", f"Decisions in progress: {state.in_flight()}. Cache entries: {caches}."),
        await _budgets(state, pace),
        await _endpoints(state, pace),
        _files(state, now),
        _certificates(state, now),
        _keys(state, now),
        aria_labelledby="state",
    )


def rates_section(reasons: Rates, caches: Rates) -> Markup:
    """Return the section about how often each reason and each result of a cache occurred."""
    return element(
        "section",
        element("h2", "Rates", id="rates"),
        _rates("Decisions by reason", "Reason", reasons),
        _rates("Look-ups by cache and result", "Cache and result", caches),
        aria_labelledby="rates",
    )


def agents_section(agents: AgentsSeen) -> Markup:
    """Return the section about the tasks that presented credentials."""
    latest = agents.latest()
    heads = ("Last seen (UTC)", "Account", "Role", "Session", "Client", "Last reason", "Decisions")
    return element(
        "section",
        element("h2", "Agents seen", id="agents"),
        element(
            "p",
            f"The {min(len(latest), MAX_ROWS)} tasks that were seen last, of {len(latest)} that are remembered. The session "
            "of an ECS task is its id. The client is the TCP peer: the task, or what stands between it and the service.",
        ),
        table("Tasks", heads, map(_agent, latest[:MAX_ROWS]), "none was seen yet."),
        aria_labelledby="agents",
    )


def _agent(agent: Agent) -> Markup:
    reason = "allowed" if agent.reason is None else agent.reason.value
    cells = (agent.account, agent.role, agent.session, agent.client or "-", reason)
    return element("tr", time_cell(_rfc3339(agent.seen_at)), *_cells(*cells), _number(agent.decisions))


def _rates(caption: str, head: str, rates: Rates) -> Markup:
    windows = [rates.within(minutes) for minutes in WINDOWS]
    heads = (head, *(text for minutes in WINDOWS for text in (f"In {minutes} minutes", "A minute")))
    kinds = sorted(windows[-1].counts, key=lambda kind: -windows[-1].counts[kind])
    rows = (
        element(
            "tr",
            element("th", element("code", kind), scope="row"),
            *(
                cell
                for window in windows
                for cell in (_number(window.counts.get(kind, 0)), _number(f"{window.a_minute(kind):.1f}"))
            ),
        )
        for kind in kinds
    )
    return table(caption, heads, rows, "none in the last 60 minutes.")


async def _budgets(state: ServiceState, pace: Pace) -> Markup:
    def rows() -> Iterator[tuple[str, BudgetState]]:
        for upstream, states in state.queues.items():
            for each in states.budget_states():
                yield upstream.upper(), each

    busiest = await _largest(rows(), lambda row: (row[1].waiting, row[1].is_slowed, row[1].in_flight), pace)
    heads = ("Upstream", "Account", "Region", "Waiting", "In flight", "Calls a second", "Rate")
    return table("Calls by account and region, the busiest first", heads, map(_budget, busiest), "none was made yet.")


def _budget(row: tuple[str, BudgetState]) -> Markup:
    upstream, budget = row
    account, region = budget.key if isinstance(budget.key, tuple) else (budget.key, "global")
    numbers = (_number(budget.waiting), _number(budget.in_flight), _number(f"{budget.rate:.1f}"))
    pace = "slowed down: AWS throttles" if budget.is_slowed else "full"
    return element("tr", *_cells(upstream, str(account), str(region)), *numbers, *_cells(pace))


async def _endpoints(state: ServiceState, pace: Pace) -> Markup:
    def rows() -> Iterator[tuple[str, EndpointState]]:
        for upstream, states in state.queues.items():
            for each in states.endpoint_states():
                yield upstream.upper(), each

    worst = await _largest(rows(), lambda row: (row[1].is_open, row[1].failures, row[1].in_flight), pace)
    heads = ("Upstream", "Endpoint", "Circuit breaker", "Failures in a row", "In flight")
    return table("Circuit breakers, open ones first", heads, map(_endpoint, worst), "no endpoint was called yet.")


def _endpoint(row: tuple[str, EndpointState]) -> Markup:
    upstream, endpoint = row
    if endpoint.is_open:
        circuit = "half-open: a probe is in flight" if endpoint.in_flight else "open"
    else:
        circuit = "closed" if endpoint.is_proven else "closed; the last call has no answer yet"
    cells = _cells(upstream, str(endpoint.key), circuit)
    return element("tr", *cells, _number(endpoint.failures), _number(endpoint.in_flight))


def _files(state: ServiceState, now: datetime) -> Markup:
    heads = ("What", "Files", "Changed", "State")
    rows = (
        element(
            "tr",
            *_cells(
                file.what,
                f"{file.paths[0] if file.paths else '-'}{f' and {len(file.paths) - 1} more' if file.paths[1:] else ''}",
                "-" if file.changed_at is None else _ago(file.changed_at, now),
                f"invalid for {file.bad_for:.0f} s; the last good content is in force" if file.bad_for else "valid",
            ),
        )
        for file in state.files()
    )
    return table("Files that are read again", heads, rows, "none is set.")


def _certificates(state: ServiceState, now: datetime) -> Markup:
    rows = (
        element(
            "tr", *_cells(name, _day(validity.not_before), _day(validity.not_after), _left(validity.not_after, now))
        )
        for name, validity in state.certificates().items()
    )
    return table("Certificates of the listener", ("File", "Valid from", "Valid until", "Left"), rows, "none is set.")


def _keys(state: ServiceState, now: datetime) -> Markup:
    oldest = heapq.nsmallest(MAX_ROWS, state.keys(), key=lambda key: key[2])
    rows = (element("tr", *_cells(kind.value, kid, _ago(changed, now))) for kind, kid, changed in oldest)
    return table("Keys that sign tokens, the oldest first", ("Kind", "Key id", "File changed"), rows, "none is set.")


async def _largest(rows: Iterable[_Row], key: Callable[[_Row], Any], pace: Pace) -> list[_Row]:
    """Return the `MAX_ROWS` largest rows, the largest first, without holding up the event loop."""
    heap: list[tuple[Any, int, _Row]] = []
    for number, row in enumerate(rows):
        entry = (key(row), -number, row)
        if len(heap) < MAX_ROWS:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
        await pace.spend(LOOKED_AT)
    return [row for _, _, row in sorted(heap, key=lambda entry: entry[:2], reverse=True)]


def _cells(*texts: str) -> Iterator[Markup]:
    return (element("td", text) for text in texts)


def _number(value: float | str) -> Markup:
    return element("td", str(value), class_="number")


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _ago(seconds: float, now: datetime) -> str:
    return f"{_day(seconds)} ({_days(now.timestamp() - seconds)} ago)"


def _left(seconds: float, now: datetime) -> str:
    left = seconds - now.timestamp()
    return _days(left) if left > 0 else "expired"


def _days(seconds: float) -> str:
    return f"{seconds / _DAY_SECONDS:.1f} days"
