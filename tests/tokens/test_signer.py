"""Tokens are signed outside of the event loop, reused while they are young, and dropped with their key."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import UpstreamError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.decision.authenticator import Decision
from app.decision.record import DecisionRecord
from app.telemetry.metrics import Metrics
from app.tokens.issued_token import IssuedToken, TokenDecision
from app.tokens.key_files import read_dataplane_key_file
from app.tokens.keys import SigningKeys
from app.tokens.signer import (
    MAX_SIGNING_THREADS,
    MAX_TOKENS_OF_A_SESSION,
    SigningIssuer,
    TokenOptions,
)
from app.tokens.signing import verify
from demos.kuma.validator import DataplaneResource, KumaValidator
from tests.support.exposition import read_samples, value
from tests.support.keys import KeyFiles, public_pem, rsa_key
from tests.support.ports import Time, soon
from tests.support.principals import PRINCIPAL
from tests.support.service import until
from tests.support.signing import AUDIENCE, NOW

IDENTITY = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload=None, zone=None)
DECISION = Decision(identity=IDENTITY, principal=PRINCIPAL, expires_at=NOW)
OPTIONS = TokenOptions(audience=AUDIENCE, validity=3600)


class Stage:
    """An issuer whose keys and clocks the test changes."""

    def __init__(self, folder: Path) -> None:
        self.files = KeyFiles.make(folder)
        self.files.write_key("dp-2.pem", rsa_key(2))
        self.time = Time()
        self.metrics = Metrics()
        self.load("dp-1 * dp-1.pem")
        self.issuer = SigningIssuer(OPTIONS, lambda: self.keys, self.metrics, self.time.clock, self.time.timer)

    def load(self, lines: str) -> None:
        self.files.dataplane.write_text(lines)
        self.keys = SigningKeys(read_dataplane_key_file(str(self.files.dataplane)).keys)

    async def issue(self, decision: Decision = DECISION, claimed: ProxyAssertion | None = None) -> IssuedToken:
        self.trail = DecisionRecord(request_id="request-1")
        return await self.issuer.issue(decision, claimed, self.trail, soon(30))

    def origin(self) -> str | None:
        return None if self.trail.token is None else self.trail.token.origin


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.issuer.close()


async def test_a_token_is_signed_by_its_key_and_noted(stage: Stage) -> None:
    issued = await stage.issue()
    key, claims = verify(issued.token, stage.keys)
    assert (key.kid, issued.kid, issued.kind) == ("dp-1", "dp-1", TokenKind.DATAPLANE)
    assert claims["jti"] == issued.jti
    assert claims["exp"] - NOW.timestamp() == 3600
    note = stage.trail.token
    assert note is not None
    assert (note.jti, note.kid, note.expires_at, note.origin) == (issued.jti, "dp-1", issued.expires_at, "fresh")
    assert issued.token not in repr(issued)


async def test_a_token_is_reused_while_more_than_half_of_its_life_remains(stage: Stage) -> None:
    first = await stage.issue()
    stage.time.passed = 1799
    assert await stage.issue() is first
    assert stage.origin() == "reused"
    stage.time.passed = 1800
    second = await stage.issue()
    assert second.jti != first.jti
    assert stage.origin() == "fresh"
    assert (second.expires_at - first.expires_at).total_seconds() == 1800


async def test_a_token_is_not_reused_beyond_half_of_its_life_when_the_timer_stood_still(tmp_path: Path) -> None:
    """A machine that sleeps stops the timer."""
    stage, still = Stage(tmp_path), Time()
    stage.issuer = SigningIssuer(OPTIONS, lambda: stage.keys, stage.metrics, stage.time.clock, still.timer)
    first = await stage.issue()
    stage.time.passed = 1800
    assert (await stage.issue()).jti != first.jti
    stage.issuer.close()


async def test_another_request_of_sts_is_the_same_subject(stage: Stage) -> None:
    first = await stage.issue()
    assert await stage.issue(replace(DECISION, principal=replace(PRINCIPAL, request_id="another"))) is first


@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(replace(DECISION, identity=replace(IDENTITY, mesh="payments")), id="mesh"),
        pytest.param(replace(DECISION, identity=replace(IDENTITY, service=None)), id="service"),
        pytest.param(replace(DECISION, identity=replace(IDENTITY, workload="demo")), id="workload"),
        *(
            pytest.param(replace(DECISION, principal=replace(PRINCIPAL, **{field: "other"})), id=field)
            for field in ("partition", "account", "role", "role_id", "session")
        ),
    ],
)
async def test_whoever_is_another_or_may_be_another_gets_another_token(stage: Stage, decision: Decision) -> None:
    first = await stage.issue()
    assert (await stage.issue(decision)).jti != first.jti
    assert stage.origin() == "fresh"


async def test_another_name_or_zone_is_another_token(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    options = replace(OPTIONS, with_names=True)
    stage.issuer = SigningIssuer(options, lambda: stage.keys, stage.metrics, stage.time.clock, stage.time.timer)
    names = ["a", "b", "a"]
    issued = [
        await stage.issue(DECISION, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=name))
        for name in names
    ]
    assert len({token.jti for token in issued}) == 2
    assert issued[0] is issued[2]
    stage.issuer.close()


async def test_a_proxy_of_many_names_pushes_out_nobodys_token_but_its_own(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    options = replace(OPTIONS, with_names=True, max_sessions=3)
    stage.issuer = SigningIssuer(options, lambda: stage.keys, stage.metrics, stage.time.clock, stage.time.timer)
    other = replace(DECISION, principal=replace(PRINCIPAL, session="another-task"))
    named = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name="innocent")
    innocent = await stage.issue(other, named)

    async def origin_of(number: int) -> str | None:
        await stage.issue(DECISION, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=f"name-{number}"))
        return stage.origin()

    assert {await origin_of(number) for number in range(30)} == {"fresh"}
    assert await stage.issue(other, named) is innocent
    assert [await origin_of(29), await origin_of(30 - MAX_TOKENS_OF_A_SESSION)] == ["reused", "reused"]
    assert await origin_of(0) == "fresh"
    stage.issuer.close()


async def test_every_reading_of_the_keys_ends_the_reuse(stage: Stage) -> None:
    """Also if the keys are the same: after the revocation of a token, SIGHUP makes the service sign a new one."""
    first = await stage.issue()
    stage.load("dp-1 * dp-1.pem\ndp-2 * dp-2.pem")
    second = await stage.issue()
    assert (second.kid, stage.origin()) == ("dp-1", "fresh")
    assert second.jti != first.jti
    stage.load("dp-2 * dp-2.pem\ndp-1 * dp-1.pem")
    assert (await stage.issue()).kid == "dp-2"
    stage.load("dp-1 * dp-2.pem")  # another key under the old id
    again = await stage.issue()
    assert (again.kid, stage.origin()) == ("dp-1", "fresh")
    verify(again.token, stage.keys)


async def test_those_who_come_at_once_are_signed_for_once(stage: Stage) -> None:
    trails = [DecisionRecord(request_id=f"{n}") for n in range(10)]
    issued = await asyncio.gather(*(stage.issuer.issue(DECISION, None, trail, soon(30)) for trail in trails))
    assert len({token.jti for token in issued}) == 1
    assert sorted(str(trail.token.origin) for trail in trails if trail.token) == ["fresh", *["reused"] * 9]


async def test_a_presented_token_is_handed_back(stage: Stage) -> None:
    """The claims are not signed again, so the token ends when it was to end."""
    presented = await stage.issue()
    decision = TokenDecision(identity=IDENTITY, principal=PRINCIPAL, expires_at=NOW, token=presented)
    stage.load("dp-2 * dp-2.pem")
    assert await stage.issue(decision) is presented
    assert stage.origin() == "presented"


@pytest.mark.parametrize("lines", ["dp-1 payments dp-1.pem", "dp-1 * dp-1.pem"])
async def test_where_no_key_signs_nothing_is_decided(stage: Stage, lines: str) -> None:
    stage.load(lines)
    zone = ProxyIdentity(type=ProxyType.EGRESS, mesh=None, service=None, workload=None, zone="east")
    identity = zone if "*" in lines else IDENTITY
    with pytest.raises(UpstreamError) as raised:
        await stage.issue(replace(DECISION, identity=identity))
    assert raised.value.reason is Reason.SIGNING_KEY_MISSING
    assert stage.trail.token is None


async def test_a_call_whose_time_is_over_waits_for_no_thread(stage: Stage) -> None:
    trail = DecisionRecord(request_id="late")
    with pytest.raises(UpstreamError) as raised:
        await stage.issuer.issue(DECISION, None, trail, soon(-1))
    assert raised.value.reason is Reason.OVERLOADED
    assert (await stage.issue()).kid == "dp-1"


@contextlib.contextmanager
def busy(issuer: SigningIssuer) -> Iterator[None]:
    """While this lasts, no thread is free to sign."""
    released = threading.Event()
    for _ in range(MAX_SIGNING_THREADS):
        issuer._threads.submit(released.wait)
    try:
        yield
    finally:
        released.set()


def signatures(stage: Stage) -> float:
    samples = read_samples(stage.metrics.expose().decode())
    return value(samples, "kuma_aws_iam_token_signing_seconds_count", kind="dataplane")


async def asked(issuing: "asyncio.Future[IssuedToken]") -> None:
    """Wait until a call can make no further progress."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not issuing.done()


def named(name: str) -> ProxyAssertion:
    return ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=name)


@pytest.fixture
async def naming(stage: Stage) -> Stage:
    """With names in tokens, a proxy can request another token with each call."""
    stage.issuer.close()
    options = replace(OPTIONS, with_names=True)
    stage.issuer = SigningIssuer(options, lambda: stage.keys, stage.metrics, stage.time.clock, stage.time.timer)
    return stage


async def test_what_nobody_waits_for_any_more_is_not_signed(stage: Stage) -> None:
    with busy(stage.issuer):
        trail = DecisionRecord(request_id="late")
        with pytest.raises(UpstreamError) as raised:
            await stage.issuer.issue(DECISION, None, trail, soon(0.01))
    assert raised.value.reason is Reason.OVERLOADED
    await until(lambda: not len(stage.issuer._single_flight))
    assert signatures(stage) == 0
    await stage.issue()
    assert (signatures(stage), stage.origin()) == (1, "fresh")


async def test_whoever_joined_one_whose_time_was_over_is_signed_for(stage: Stage) -> None:
    with busy(stage.issuer):
        late = DecisionRecord(request_id="late")
        # The tasks begin in this order, so the second one finds the call of the first.
        first = asyncio.ensure_future(stage.issuer.issue(DECISION, None, late, soon(0.01)))
        second = asyncio.ensure_future(stage.issue())
        with pytest.raises(UpstreamError):
            await first
    assert (await second).kid == "dp-1"


async def test_whoever_comes_when_one_ends_whose_time_was_over_is_signed_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the ended signature would be found again and again, without a wait, and the event loop would stand still."""
    loop = asyncio.get_running_loop()
    made: list[asyncio.Future[Any]] = []
    run_in_executor = loop.run_in_executor

    def run(*arguments: Any) -> asyncio.Future[Any]:
        made.append(run_in_executor(*arguments))
        return made[-1]

    async def come() -> IssuedToken:
        # The first call waits for the thread too, and began to earlier. So it goes on right before this one.
        assert await made[0] is None
        return await stage.issue()

    monkeypatch.setattr(loop, "run_in_executor", run)
    with busy(stage.issuer):
        late = asyncio.ensure_future(stage.issuer.issue(DECISION, None, DecisionRecord(request_id="late"), soon(0.01)))
        await until(lambda: bool(made))
        coming = asyncio.ensure_future(come())
        with pytest.raises(UpstreamError):
            await late
    assert (await coming).kid == "dp-1"
    assert stage.origin() == "fresh"


async def test_one_role_takes_a_part_of_the_signatures_and_leaves_the_rest_to_others(naming: Stage) -> None:
    """The role changes its name in each call. A known credential is decided at once, so it waits for nothing else."""
    other = replace(DECISION, principal=replace(PRINCIPAL, role_id="AROAOTHEROTHEROTHER12"))
    with busy(naming.issuer):
        *calls, one_more = [asyncio.ensure_future(naming.issue(DECISION, named(f"name-{n}"))) for n in range(257)]
        with pytest.raises(UpstreamError) as raised:
            await one_more
        assert raised.value.reason is Reason.OVERLOADED
        joined = asyncio.ensure_future(naming.issue(DECISION, named("name-0")))
        others = asyncio.ensure_future(naming.issue(other, named("name-0")))
        await asked(others)
    tokens = await asyncio.gather(*calls, others)
    assert len({token.jti for token in tokens}) == 257
    assert (await joined).jti == tokens[0].jti
    assert (await naming.issue(DECISION, named("one-more"))).kid == "dp-1"


async def test_signatures_under_way_are_bounded_and_what_is_signed_is_given_all_the_same(naming: Stage) -> None:
    naming.issuer.close()
    options = replace(OPTIONS, with_names=True, max_signatures=2)
    naming.issuer = SigningIssuer(options, lambda: naming.keys, naming.metrics, naming.time.clock, naming.time.timer)
    young = await naming.issue(DECISION, named("young"))
    with busy(naming.issuer):
        calls = [asyncio.ensure_future(naming.issue(DECISION, named(f"name-{n}"))) for n in range(2)]
        await asked(calls[-1])
        other = replace(DECISION, principal=replace(PRINCIPAL, role_id="AROAOTHEROTHEROTHER12"))
        with pytest.raises(UpstreamError) as raised:
            await naming.issue(other, named("another"))
        assert raised.value.reason is Reason.OVERLOADED
        assert await naming.issue(DECISION, named("young")) is young
    await asyncio.gather(*calls)
    assert (await naming.issue(DECISION, named("name-2"))).kid == "dp-1"


@pytest.fixture
def kuma() -> KumaValidator:
    keys: dict[str, Any] = {"publicKeys": [{"kid": "dp-1", "key": public_pem(rsa_key(0))}]}
    return KumaValidator({"dpServer": {"authn": {"dpProxy": {"dpToken": {"validator": keys}}}}})


async def test_a_control_plane_whose_clock_is_behind_takes_it(stage: Stage, kuma: KumaValidator) -> None:
    issued = await stage.issue()
    resource = DataplaneResource(mesh="default", name="x", tags={"kuma.io/service": {"demo-app"}})
    kuma.check_dataplane(issued.token, resource, NOW.timestamp() - 300)
