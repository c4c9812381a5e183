"""The page of decisions in a real Chromium: what it runs, what it requests, and that it is accessible.

``make screenshots`` runs the last test so that it writes the pictures of docs/how-to/look-at-decisions.md.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from app.api.decisions_page import DecisionsPage, add_decisions_page
from app.core.errors import AuthError
from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.token_kind import TokenKind
from app.decision.record import DecisionRecord
from app.local.addresses import TcpAddress
from app.local.certificate_dates import Validity
from app.page.recent_decisions import RecentDecisions
from app.page.state import ServiceState
from app.telemetry.states import BudgetState, EndpointState, FileState
from tests.support.browser import REBOUND_HOST, open_browser
from tests.support.decisions_page import Queues, denial, document, recent_decisions, record, state
from tests.support.service import listening

from axe_playwright_python.async_playwright import Axe  # isort: skip - after the check that it is installed
from playwright.async_api import Browser, Page  # isort: skip

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTACK: Final = (
    '"\'></pre></script></style></title><img src=/x onerror="window.attacked=1"><script>window.attacked=1</script>'
)
WIDE: Final[Any] = {"width": 1400, "height": 900}
NARROW: Final[Any] = {"width": 320, "height": 640}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as own:
        yield own


async def serve(recent: RecentDecisions, service: ServiceState) -> AsyncIterator[str]:
    app = FastAPI()
    add_decisions_page(app, DecisionsPage(document(recent, service), TcpAddress("127.0.0.1", 5691)))

    @app.get("/framing", response_class=HTMLResponse)
    def frame_the_page(request: Request) -> str:
        return f"<iframe src='http://127.0.0.1:{request.url.port}/decisions'></iframe>"

    async with listening(app) as (host, port):
        yield f"http://{host}:{port}/decisions"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def page_url() -> AsyncIterator[str]:
    """The URL of a page with the decisions of a mesh of some size."""
    moments = Moments()
    recent = RecentDecisions(moments, moments.timer)
    for trail, error, seconds in a_morning():
        recent.note(trail, error, seconds)
    async for url in serve(recent, a_service()):
        yield url


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def attacked_url() -> AsyncIterator[str]:
    """The URL of a page whose every text contains an attack."""
    recent = recent_decisions()
    recent.note(record(ATTACK, form=ATTACK, request_id=ATTACK), denial(detail=ATTACK), 0.001)
    async for url in serve(recent, state(ATTACK)):
        yield url


@dataclass
class Watched:
    """A page in the browser, and every script and request of it."""

    page: Page
    requested: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))


async def test_the_page_runs_its_script_and_requests_nothing(browser: Browser, page_url: str) -> None:
    page = await browser.new_page()
    watched = Watched(page)
    response = await page.goto(page_url)
    assert response is not None
    assert response.status == 200
    assert await page.get_by_label("Reload every 10 s").is_visible()
    assert await page.evaluate("getComputedStyle(document.querySelector('.denied')).fontWeight") == "600"
    await page.locator("summary").first.click()
    assert await page.locator("details li").first.is_visible()
    assert (watched.requested, watched.said) == ([page_url], [])
    await page.close()


async def test_what_a_client_sent_does_nothing(browser: Browser, attacked_url: str) -> None:
    """The attack is stored in every field, and reflected from the URL."""
    page = await browser.new_page()
    watched = Watched(page)
    for url in (attacked_url, f"{attacked_url}?text=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&role=%22%3E%3Cscript%3E"):
        await page.goto(url)
        assert await page.evaluate("window.attacked") is None
        assert await page.locator("img, iframe, svg").count() == 0
        assert await page.locator("script").count() == 1
    assert watched.said == []
    assert [url.partition("?")[0] for url in watched.requested] == [attacked_url, attacked_url]
    await page.close()


@pytest.mark.parametrize(
    "attack",
    [
        "const each = document.createElement('script'); each.append('window.attacked = 1'); document.body.append(each)",
        "document.body.setAttribute('onclick', 'window.attacked = 1'); document.body.click()",
        "document.body.innerHTML = '<p>'",
        "fetch('/metrics').then(() => { window.attacked = 1 })",
        "const each = new Image(); each.onload = () => { window.attacked = 1 }; each.src = '/metrics'",
    ],
    ids=["script", "handler", "markup", "request", "image"],
)
async def test_the_policy_stops_what_the_escaping_would_miss(browser: Browser, page_url: str, attack: str) -> None:
    """A second defence: even from inside the page, only its own script runs, and nothing is requested."""
    page = await browser.new_page()
    await page.goto(page_url)
    await page.evaluate("() => { document.addEventListener('securitypolicyviolation', () => { window.stopped = 1 }) }")
    await page.evaluate(f"() => {{ try {{ {attack} }} catch (error) {{ window.stopped = 1 }} }}")
    await page.wait_for_function("window.stopped === 1")
    assert await page.evaluate("window.attacked") is None
    await page.close()


async def test_a_name_that_leads_here_gets_nothing(browser: Browser, page_url: str) -> None:
    """DNS rebinding, as a browser does it."""
    page = await browser.new_page()
    response = await page.goto(page_url.replace("127.0.0.1", REBOUND_HOST))
    assert response is not None
    assert response.status == 403
    assert "demo-app" not in await page.content()
    await page.close()


async def test_another_site_cannot_frame_the_page(browser: Browser, page_url: str) -> None:
    page = await browser.new_page()
    async with page.expect_response(page_url) as framed:
        await page.goto(page_url.replace("127.0.0.1", "localhost").replace("decisions", "framing"))
    assert (await framed.value).status == 403
    await page.close()


@pytest.mark.parametrize(("scheme", "size"), [("light", NARROW), ("dark", WIDE)], ids=["light", "dark"])
async def test_axe_finds_no_barrier(browser: Browser, page_url: str, scheme: Any, size: Any) -> None:
    # Only axe-core needs to bypass the policy of the page.
    context = await browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    page = await context.new_page()
    await page.goto(f"{page_url}?role=backend&text=1")
    await page.locator("summary").first.click()
    results = await Axe().run(page)
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in results.response["violations"]] == []
    # WCAG 1.4.10: at a width of 320 pixels only tables scroll sideways.
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    await context.close()


async def test_everything_works_without_javascript(browser: Browser, page_url: str) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(page_url)
    assert not await page.get_by_text("Reload every 10 s").is_visible()
    await page.get_by_label("Role", exact=True).fill("backend")
    await page.get_by_label("Outcome", exact=True).select_option("denied")
    await page.get_by_role("button", name="Filter").click()
    await page.wait_for_url("**role=backend**")
    rows = page.locator("#decisions ~ .wide tbody tr:not(.more)")
    assert {(await row.locator("td").nth(4).inner_text()) for row in await rows.all()} == {"backend"}
    assert {(await row.locator("td").nth(1).inner_text()) for row in await rows.all()} == {"denied"}
    await page.locator("summary").first.click()
    assert await page.locator("ol").first.is_visible()
    await page.get_by_role("link", name="Show all").click()
    await page.get_by_role("link", name="Older").click()
    await page.wait_for_url("**before=**")
    await context.close()


async def test_the_keyboard_reaches_everything_in_order(browser: Browser, page_url: str) -> None:
    page = await browser.new_page()
    await page.goto(page_url)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the decisions"
    assert await page.get_by_text("Skip to the decisions").is_visible()
    await page.get_by_label("Outcome", exact=True).focus()
    await page.keyboard.press("d")  # selects "denied", and does nothing else (WCAG 3.2.2)
    await page.get_by_label("Text", exact=True).focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**outcome=denied**")
    await page.close()


async def test_the_page_reloads_when_it_is_told_to_and_nobody_reads(browser: Browser, page_url: str) -> None:
    page = await browser.new_page()
    await page.clock.install()
    watched = Watched(page)
    await page.goto(page_url)
    await page.clock.run_for(60_000)
    assert len(watched.requested) == 1
    await page.get_by_label("Reload every 10 s").check()
    await page.locator("summary").first.click()
    await page.clock.run_for(60_000)
    assert len(watched.requested) == 1
    await page.locator("summary").first.click()
    async with page.expect_navigation():
        await page.clock.run_for(10_000)
    assert len(watched.requested) == 2
    assert await page.get_by_label("Reload every 10 s").is_checked()  # The tab keeps the setting.
    await page.close()


# A mesh of some size during an incident.


class Moments:
    """A clock that advances by a second with each decision."""

    def __init__(self) -> None:
        self._began = self._now = datetime.now(UTC) - timedelta(seconds=60)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=0.73)
        return self._now

    def timer(self) -> float:
        return (self._now - self._began).total_seconds()


def a_morning() -> list[tuple[DecisionRecord, AuthError | None, float]]:
    kinds: tuple[tuple[str, str, str, AuthError | None], ...] = (
        ("111122223333", "demo-app", "default", None),
        ("111122223333", "demo-app", "default", None),
        ("444455556666", "backend", "payments", denial(detail="the role is for mesh payments")),
        ("111122223333", "gateway", "default", None),
        (
            "777788889999",
            "worker",
            "default",
            denial(Reason.ACCOUNT_NOT_AUTHORIZED, "the account is not in the list"),
        ),
        ("444455556666", "backend", "payments", None),
        ("111122223333", "batch", "default", denial(Reason.IAM_THROTTLED, "IAM answered Throttling")),
        ("111122223333", "demo-app", "default", None),
    )
    return [
        (_trail(number, account, role, mesh, error), error, 0.0004 if error is None else 0.012)
        for number in range(9)
        for account, role, mesh, error in kinds
    ]


def _trail(number: int, account: str, role: str, mesh: str, error: AuthError | None) -> DecisionRecord:
    reason = None if error is None else error.reason
    asserted = "default" if reason is Reason.PROXY_MESH_MISMATCH else mesh
    trail = DecisionRecord(
        f"{number:016x}{role.encode().hex():.16}",
        client=f"10.0.{number}.17",
        asserted=ProxyAssertion(
            type=ProxyType.DATAPLANE,
            mesh=asserted,
            name=f"{role}-{number}",
            tags={"kuma.io/service": frozenset({role})},
        ),
        form="native",  # type: ignore[arg-type]  # a value of the enumeration
        access_key_id="ASIAEXAMPLE000000001",
        key_account=account,
        signed_for={"host": "sts.eu-west-1.amazonaws.com", "region": "eu-west-1"},
        signed_at=datetime.now(UTC),
        skew=-12.0,
        age=12.0,
        principal=Principal(
            partition="aws",
            account=account,
            role=role,
            role_id="AROAEXAMPLEEXAMPLE001",
            session=f"{number:032x}",
            request_id="",
        ),
    )
    trail.sts.cache = "hit"
    if reason is Reason.ACCOUNT_NOT_AUTHORIZED:
        return trail
    trail.iam.cache = "hit" if reason is not Reason.IAM_THROTTLED else "miss"
    if reason is Reason.IAM_THROTTLED:
        return trail
    tags = (("kuma.io/type", "dataplane"), ("kuma.io/mesh", mesh), ("kuma.io/service", role))
    trail.role = RoleRecord(
        arn=f"arn:aws:iam::{account}:role/mesh/{role}", role_id="AROA", name=role, tags=tags, request_id=""
    )
    if error is None:
        trail.granted = ProxyIdentity(type=ProxyType.DATAPLANE, mesh=mesh, service=role, workload=None, zone=None)
    return trail


def a_service() -> ServiceState:
    now = datetime.now(UTC).timestamp()
    day = 86_400.0
    return state(
        queues={
            "sts": Queues(
                [BudgetState(("111122223333", "eu-west-1"), 0, 1, 300.0, False)],
                [EndpointState("sts.eu-west-1.amazonaws.com", False, True, 0, 1)],
            ),
            "iam": Queues(
                [BudgetState("111122223333", 14, 4, 5.0, True), BudgetState("444455556666", 0, 0, 10.0, False)],
                [EndpointState("111122223333", True, False, 4, 0), EndpointState("444455556666", False, True, 0, 0)],
            ),
        },
        files=lambda: [FileState("accounts", ("/etc/kuma-aws-iam/accounts",), now - 3 * day, 0.0)],
        certificates=lambda: {"server": Validity(now - 20 * day, now + 70 * day)},
        keys=lambda: [
            (TokenKind.DATAPLANE, "mesh-2026-11", now - 20 * day),
            (TokenKind.ZONE, "zone-2026-08", now - 90 * day),
        ],
    )


PICTURES: Final[dict[str, tuple[Any, str, str]]] = {
    "decisions": ("light", "?outcome=denied", "#outcome"),
    "state": ("dark", "", "#rates"),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_the_pictures_of_the_docs_can_be_taken(
    browser: Browser, page_url: str, name: str, tmp_path: Path
) -> None:
    scheme, query, place = PICTURES[name]
    context = await browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 760})
    page = await context.new_page()
    await page.goto(f"{page_url}{query}")
    # The first decision, without its audit line.
    await page.locator("details").first.evaluate("each => { each.open = true; each.querySelector('pre').remove() }")
    await page.locator(place).evaluate("each => { if (each.tagName === 'H2') each.scrollIntoView() }")
    picture = await page.screenshot(path=Path(os.environ.get("SCREENSHOTS") or tmp_path) / f"{name}.png")
    assert picture.startswith(b"\x89PNG")
    await context.close()
