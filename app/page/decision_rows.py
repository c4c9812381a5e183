"""One decision as two rows of a table: what it was, and below it its steps, its remedy and its audit line."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from app.core.reasons import EXPLANATIONS, Reason
from app.page.filters import accounts_of, meshes_of
from app.page.markup import Markup, element, join
from app.page.steps import AFTER, BEFORE, STEPS, Step, ended_at, steps_of

COLUMNS: Final = ("Time (UTC)", "Outcome", "Reason", "Account", "Role", "Mesh", "Proxy", "Client", "Duration")
_TIME_CHARS: Final = 23  # with milliseconds

Decision = Mapping[str, Any]


def decision_rows(decision: Decision) -> Markup:
    """Return the two rows of a decision."""
    cells = (
        time_cell(str(decision.get("time"))),
        element("td", _outcome(decision)),
        element("td", element("code", str(decision.get("reason") or "-"))),
        element("td", ", ".join(accounts_of(decision)) or "-"),
        element("td", str(_part(decision, "principal").get("role") or "-")),
        element("td", ", ".join(meshes_of(decision)) or "-"),
        element("td", _proxy(decision)),
        element("td", str(decision.get("client") or "-")),
        element("td", f"{decision.get('duration_ms')} ms", class_="number"),
    )
    return join(
        element("tr", *cells),
        element("tr", element("td", _details(decision), colspan=str(len(COLUMNS))), class_="more"),
    )


def time_cell(text: str) -> Markup:
    """Return a cell with a time, from its text in RFC 3339."""
    return element("td", element("time", text[:_TIME_CHARS].replace("T", " ").rstrip("Z"), datetime=text))


def _outcome(decision: Decision) -> Markup:
    outcome = str(decision.get("outcome"))
    return element("span", outcome, class_=f"outcome {outcome}")


def _proxy(decision: Decision) -> str:
    claimed = _part(decision, "claimed")
    return " ".join(str(claimed[name]) for name in ("type", "name") if claimed.get(name)) or "-"


def _details(decision: Decision) -> Markup:
    summary = element("summary", "Steps, remedy and audit line of ", element("code", str(decision.get("request_id"))))
    # A <pre> that scrolls must be reached by the keyboard.
    line = element("pre", orjson.dumps(dict(decision), option=orjson.OPT_INDENT_2).decode(), tabindex="0")
    return element("details", summary, _explanation(decision), _steps(decision), line)


def _explanation(decision: Decision) -> Markup:
    reason = decision.get("reason")
    if reason is None:
        return element("p", "Every step ended well.")
    explanation = EXPLANATIONS[Reason(reason)]
    return join(
        element("p", element("strong", f"{explanation.title}."), " ", explanation.detail),
        element("p", "The service saw: ", str(decision.get("detail") or "-")),
        element("p", "More about ", element("code", reason), " is in docs/reference/reasons.md."),
    )


def _steps(decision: Decision) -> Markup:
    end = ended_at(decision)
    steps = element("ol", *(_step(step, decision) for step in steps_of(decision)))
    if end == BEFORE:
        return join(element("p", "The call ended before a decision began."), steps)
    if end == AFTER:
        return join(element("p", f"All {len(STEPS)} steps ended well, and the answer could not be made."), steps)
    return steps


def _step(step: Step, decision: Decision) -> Markup:
    seen = {3: _upstream("STS", decision.get("sts")), 6: _upstream("IAM", decision.get("iam"))}.get(step.number, "")
    return element(
        "li",
        element("strong", step.name),
        f" - {step.checks}: ",
        element("span", step.verdict, class_="ended" if step.verdict == "ended here" else None),
        seen if step.verdict in ("done", "ended here") else "",
    )


def _upstream(name: str, call: object) -> str:
    if not isinstance(call, Mapping) or call.get("cache") in (None, "none"):
        return ""
    request_id = call.get("request_id")
    named = f", {name}'s request id {request_id}" if request_id else ""
    return f" (cache: {call.get('cache')}, {call.get('duration_ms')} ms{named})"


def _part(decision: Decision, name: str) -> Mapping[str, Any]:
    value = decision.get(name)
    return value if isinstance(value, Mapping) else {}
