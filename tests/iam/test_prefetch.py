"""Roles that are read in pages from an emulated IAM over HTTP, before a proxy needs them."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.core.errors import AuthorizationError
from app.core.iam_documents import RolePage
from app.core.principal import AdmittedPrincipal
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.emulator import FaultKind, Role
from app.iam.client import PAGE_ROLES, IamRoles
from app.iam.prefetch import DENIED_SECONDS, MAX_PAGES, RolePrefetch
from app.settings.accounts import FixedAccounts
from tests.iam.conftest import new_trail, soon
from tests.support.patience import PATIENCE
from tests.support.principals import PRINCIPAL, admitted
from tests.support.roles import new_roles
from tests.support.world import ACCOUNT, OTHER_ACCOUNT, Aws

ACTION = "GetAccountAuthorizationDetails"
UNPREPARED_ACCOUNT = "222233334444"  # nobody made a reader role there


class Ahead:
    """The cached roles, and the prefetch that reads them."""

    def __init__(self, iam: IamRoles, *accounts: str) -> None:
        self.seconds = 0.0
        listed = FixedAccounts(frozenset(accounts))
        self.roles = new_roles(iam, accounts=listed, rate=1000.0)
        self.prefetch = RolePrefetch(
            self.roles,
            listed,
            partition="aws",
            ttl=300.0,
            timer=lambda: self.seconds,
        )

    async def read(self) -> list[EventDict]:
        with capture_logs() as log:
            await self.prefetch.read_all()
        return [line for line in log if line["event"].startswith("roles")]

    async def is_known(self, role: Role) -> bool:
        trail = new_trail()
        record = await self.roles.fetch_role(admitted(role), trail.iam, soon())
        assert (record.arn, record.role_id) == (role.arn, role.role_id)
        return trail.iam.cache == "hit"


async def test_a_role_of_a_proxy_is_known_before_anybody_asks(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role()
    ahead = Ahead(iam, ACCOUNT)
    [line] = await ahead.read()
    assert (line["event"], line["account"], line["calls"]) == ("roles read ahead", ACCOUNT, 1)
    assert line["roles"] >= 1
    assert await ahead.is_known(role)
    assert aws.emulator.calls.count("iam", "GetRole") == 0


async def test_a_role_that_is_no_proxys_is_not_kept(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role(tags={"team": "payments"})
    ahead = Ahead(iam, ACCOUNT)
    await ahead.read()
    assert not await ahead.is_known(role)


async def test_pages_are_followed_to_the_last_one(iam: IamRoles, aws: Aws) -> None:
    roles = [aws.add_role() for _ in range(2 * PAGE_ROLES + 1)]
    ahead = Ahead(iam, ACCOUNT)
    [line] = await ahead.read()
    assert line["calls"] == aws.emulator.calls.count("iam", ACTION) > 2
    assert all([await ahead.is_known(role) for role in roles])


class Endless:
    """An IAM whose every page leads to a next one."""

    def __init__(self, markers: Iterator[str]) -> None:
        self.markers = markers
        self.calls = 0

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:  # noqa: ARG002
        self.calls += 1
        return RolePage((), next(self.markers))


@pytest.mark.parametrize(
    ("markers", "calls"),
    [
        pytest.param(itertools.repeat("same"), 2, id="the-same-marker"),
        pytest.param(itertools.cycle("abc"), 4, id="a-circle"),
        pytest.param(map(str, itertools.count()), MAX_PAGES, id="always-another"),
    ],
)
async def test_pages_are_not_followed_for_ever(markers: Iterator[str], calls: int) -> None:
    pages = Endless(markers)
    roles = new_roles(pages)
    prefetch = RolePrefetch(roles, FixedAccounts(frozenset({ACCOUNT})), partition="aws", ttl=300.0)
    with capture_logs() as log:
        async with asyncio.timeout(PATIENCE):
            await prefetch.read_all()
    assert pages.calls == calls
    assert [line["event"] for line in log] == ["roles not read ahead"]


async def test_another_account_is_read_through_its_reader_role(iam: IamRoles, aws: Aws) -> None:
    roles = [aws.add_role(), aws.add_role(account=OTHER_ACCOUNT)]
    ahead = Ahead(iam, ACCOUNT, OTHER_ACCOUNT)
    assert [line["event"] for line in await ahead.read()] == ["roles read ahead"] * 2
    assert all([await ahead.is_known(role) for role in roles])


async def test_without_the_permission_roles_are_read_one_by_one_as_before(iam: IamRoles, aws: Aws) -> None:
    """The service tries the permission again after an hour, and not all the time."""
    role = aws.add_role()
    aws.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED, action=ACTION)
    ahead = Ahead(iam, ACCOUNT)
    [line] = await ahead.read()
    assert (line["event"], line["reason"]) == ("roles not read ahead", "iam_access_denied")
    assert "iam:GetAccountAuthorizationDetails" in line["remedy"]
    assert not await ahead.is_known(role)
    assert await ahead.read() == []
    ahead.seconds = DENIED_SECONDS
    aws.emulator.faults.clear()
    assert [each["event"] for each in await ahead.read()] == ["roles read ahead"]


async def test_an_account_that_cannot_be_read_keeps_no_other_from_it(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role()
    ahead = Ahead(iam, ACCOUNT, UNPREPARED_ACCOUNT)
    lines = {line["account"]: line["event"] for line in await ahead.read()}
    assert lines == {ACCOUNT: "roles read ahead", UNPREPARED_ACCOUNT: "roles not read ahead"}
    assert await ahead.is_known(role)


@pytest.mark.parametrize("kind", [FaultKind.THROTTLE, FaultKind.INTERNAL_FAILURE, FaultKind.RESET])
async def test_while_iam_is_away_nothing_is_lost(iam: IamRoles, aws: Aws, kind: FaultKind) -> None:
    aws.emulator.faults.iam.inject(kind, action=ACTION)
    role = aws.add_role()
    ahead = Ahead(iam, ACCOUNT)
    [line] = await ahead.read()
    assert line["event"] == "roles not read ahead"
    aws.emulator.faults.clear()
    assert not await ahead.is_known(role)
    assert [each["event"] for each in await ahead.read()] == ["roles read ahead"]


class Slow:
    """An IAM that answers a page when the test says so. The role of the page is deleted meanwhile."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:  # noqa: ARG002
        self.asked.set()
        await self.answer.wait()
        arn = f"arn:aws:iam::{PRINCIPAL.account}:role/{PRINCIPAL.role}"
        role = RoleRecord(arn=arn, role_id=PRINCIPAL.role_id, name=PRINCIPAL.role, tags=(), request_id="")
        return RolePage((role,), None)

    async def fetch_role(self, *_: object) -> RoleRecord:
        raise AuthorizationError(Reason.ROLE_NOT_FOUND, "seen")


async def test_a_role_that_was_deleted_while_its_page_was_read_is_not_known() -> None:
    """I17: otherwise its sessions would be accepted again, for the whole time to live."""
    slow = Slow()
    roles = new_roles(slow)
    prefetch = RolePrefetch(roles, FixedAccounts(frozenset({PRINCIPAL.account})), partition="aws", ttl=300.0)
    reading = asyncio.create_task(prefetch.read_all())
    await slow.asked.wait()
    for read in (False, True):
        if read:
            slow.answer.set()
            await reading
        with pytest.raises(AuthorizationError) as raised:
            await roles.fetch_role(AdmittedPrincipal(PRINCIPAL), new_trail().iam, soon())
        assert raised.value.reason is Reason.ROLE_NOT_FOUND


async def test_a_role_made_anew_under_its_name_is_another_one(iam: IamRoles, aws: Aws) -> None:
    """I13: the prefetch cached the new role under its own id. The old role is looked up and not found."""
    old = aws.add_role()
    ahead = Ahead(iam, ACCOUNT)
    await ahead.read()
    assert await ahead.is_known(old)
    aws.emulator.world.delete_role(ACCOUNT, old.name)
    new = aws.add_named_role(ACCOUNT, old.name)
    await ahead.read()
    assert new.role_id != old.role_id
    assert await ahead.is_known(old), "its own record is used until its TTL ends, and for no other role"
