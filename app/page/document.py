"""The whole document: the form, the decisions that its filter matches, and the sections about the service."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import orjson

from app import __version__
from app.core.reasons import EXPLANATIONS
from app.local.clock import Clock
from app.page.decision_rows import COLUMNS, decision_rows
from app.page.filters import MAX_FILTER_CHARS, Filter, read_filter, read_number
from app.page.markup import Markup, constant, element
from app.page.pace import LOOKED_AT, SHOWN, Pace
from app.page.recent_decisions import RecentDecisions
from app.page.state import ServiceState
from app.page.state_tables import agents_section, rates_section, state_section, table

PATH: Final = "/decisions"
# The decisions of one page, with some 4 KB of HTML each. A link leads to the older ones.
MAX_SHOWN: Final = 50
OUTCOMES: Final = ("allowed", "denied", "error")


@dataclass(frozen=True, slots=True)
class Found:
    """The decisions to show.

    Attributes:
        rows: the rows of the table.
        matching: the number of decisions that match the filter, on this page and on older ones.
        older: the number before which the older ones begin; None if there are none.
    """

    rows: list[Markup]
    matching: int
    older: int | None


class DecisionsDocument:
    """Makes the document for one reader at a time."""

    def __init__(self, recent: RecentDecisions, state: ServiceState, clock: Clock) -> None:
        self._recent = recent
        self._state = state
        self._clock = clock
        folder = files("app.page")
        self._style = constant(folder.joinpath("decisions.css").read_text(encoding="utf-8"))
        self._script = constant(folder.joinpath("decisions.js").read_text(encoding="utf-8"))

    @property
    def content_security_policy(self) -> str:
        """The policy of the document. The browser runs exactly its script, applies its style, and requests nothing else."""
        return (
            f"default-src 'none'; script-src {_source(self._script)}; style-src {_source(self._style)}; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )

    async def render(self, query: Mapping[str, str]) -> bytes:
        """Return the document for the query of its URL, in small pieces of work."""
        pace = Pace()
        wanted = read_filter(query)
        found = await self._find(wanted, read_number(query.get("before", "")), pace)
        sections = [self._header(), _form(wanted)]
        await pace.rest()
        sections.append(self._decisions(found, wanted, has_newer=bool(query.get("before"))))
        await pace.rest()
        sections.append(rates_section(self._recent.reasons, self._recent.caches))
        sections.append(await state_section(self._state, self._clock(), pace))
        await pace.rest()
        sections.append(agents_section(self._recent.agents))
        await pace.rest()
        return self._whole(*sections)

    async def _find(self, wanted: Filter, before: int | None, pace: Pace) -> Found:
        rows: list[Markup] = []
        matching, last, older = 0, 0, None
        for number, line in self._recent.lines():
            if before is not None and number >= before:
                continue
            decision: dict[str, Any] = orjson.loads(line)
            await pace.spend(LOOKED_AT)
            if not wanted.matches(decision):
                continue
            matching += 1
            if len(rows) < MAX_SHOWN:
                rows.append(decision_rows(decision))
                await pace.spend(SHOWN)
                last = number
            else:
                older = last
        return Found(rows, matching, older)

    def _whole(self, header: Markup, *sections: Markup) -> bytes:
        skip = element("a", "Skip to the decisions", href="#decisions", class_="skip")
        body = element("body", skip, header, element("main", *sections), element("script", self._script))
        return f"<!doctype html>\n{element('html', self._head(), body, lang='en')}\n".encode()

    def _head(self) -> Markup:
        return element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", "Decisions - kuma-aws-iam"),
            element("style", self._style),
        )

    def _header(self) -> Markup:
        links = (("#decisions", "Decisions"), ("#rates", "Rates"), ("#state", "State"), ("#agents", "Agents"))
        return element(
            "header",
            element("h1", "Decisions"),
            element("p", f"kuma-aws-iam {__version__}, {self._clock():%Y-%m-%d %H:%M:%S} UTC", class_="quiet"),
            element(
                "nav",
                element("ul", *(element("li", element("a", text, href=href)) for href, text in links)),
                aria_label="Sections",
            ),
        )

    def _decisions(self, found: Found, wanted: Filter, *, has_newer: bool) -> Markup:
        recent = self._recent
        counted = f"{len(found.rows)} of {found.matching} decisions{'' if wanted.is_empty else ' that match'}. "
        kept = f"The service keeps the last {len(recent.lines())} of {recent.count} since its start."
        lost = f" {recent.unrecorded} could not be recorded, because of a bug." if recent.unrecorded else ""
        newest = element("a", "Newest", href=_url(wanted)) if has_newer else Markup("")
        older = (
            Markup("")
            if found.older is None
            else element("a", "Older", href=_url(wanted, before=str(found.older)), rel="next")
        )
        return element(
            "section",
            element("h2", "Latest decisions", id="decisions"),
            element("p", counted, kept, lost),
            table("Decisions, the newest first", COLUMNS, found.rows, "none matches."),
            element("p", newest, " ", older),
            aria_labelledby="decisions",
        )


def _form(wanted: Filter) -> Markup:
    tick = element(
        "label", element("input", type="checkbox", id="refresh"), "Reload every 10 s", class_="tick", hidden=True
    )
    return element(
        "form",
        _select("Outcome", "outcome", OUTCOMES, wanted.outcome),
        _select("Reason", "reason", sorted(reason.value for reason in EXPLANATIONS), wanted.reason),
        _input("Account", "account", wanted.account),
        _input("Role", "role", wanted.role),
        _input("Mesh", "mesh", wanted.mesh),
        _input("Text", "text", wanted.text),
        element("button", "Filter", type="submit"),
        element("a", "Show all", href=PATH),
        tick,
        method="get",
        action=PATH,
        role="search",
        aria_label="Filter the decisions",
    )


def _select(label: str, name: str, values: tuple[str, ...] | list[str], selected: str) -> Markup:
    options = (element("option", each, value=each, selected=each == selected) for each in values)
    select = element("select", element("option", "any", value=""), *options, id=name, name=name)
    return _field(label, name, select)


def _input(label: str, name: str, value: str) -> Markup:
    text = element("input", type="text", id=name, name=name, value=value, maxlength=str(MAX_FILTER_CHARS))
    return _field(label, name, text)


def _field(label: str, name: str, control: Markup) -> Markup:
    return element("div", element("label", label, for_=name), control, class_="field")


def _url(wanted: Filter, **others: str) -> str:
    query = wanted.query(**others)
    return f"{PATH}?{query}" if query else PATH


def _source(text: str) -> str:
    """Return the source expression that allows exactly this text (https://www.w3.org/TR/CSP3/#hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
