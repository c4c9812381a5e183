"""The client of STS against correct and faulty answers of the emulator, over loopback."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthenticationError, AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.decision.record import DecisionRecord
from app.emulator import FaultKind
from app.http.network import NetworkOptions, open_pool
from app.sts.client import StsClient
from app.telemetry.metrics import Metrics
from tests.support.exposition import read_samples, value
from tests.support.passing_time import LONG, let_pass
from tests.support.signing import FORMS, SECRET_KEY, judge
from tests.support.world import ACCOUNT, Aws, recipe_of

ONE_OF_EACH_METHOD = (CredentialForm.NATIVE, CredentialForm.PLAIN_ENVELOPE)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def sts(aws: Aws, metrics: Metrics) -> AsyncIterator[StsClient]:
    """A client whose attempts have `LONG`."""
    network = NetworkOptions(connect_timeout=LONG, total_timeout=LONG)
    pool = open_pool(network)
    yield StsClient(pool, network, metrics, aws.emulator.url)
    await pool.close()


def new_trail() -> DecisionRecord:
    return DecisionRecord(request_id="request-1")


async def ask(
    client: StsClient, credential: str, trail: DecisionRecord | None = None, seconds: float = 10 * LONG
) -> CallerIdentity:
    deadline = asyncio.get_running_loop().time() + seconds
    return await client.identify(
        require_fresh(judge(credential), datetime.now(UTC)), (trail or new_trail()).sts, deadline
    )


async def ask_in_vain(
    sts: StsClient, aws: Aws, credential: str, attempts: int, seconds: float = 10 * LONG
) -> CallerIdentity:
    """Do as `ask` does, and let the time of so many attempts pass, each once its call has arrived."""
    asking = asyncio.create_task(ask(sts, credential, seconds=seconds))
    for attempt in range(1, attempts + 1):
        await asyncio.to_thread(aws.emulator.calls.wait_for, attempt)
        let_pass(min(seconds, LONG))
    return await asking


@pytest.mark.parametrize("form", FORMS)
async def test_identify_finds_out_who_signed(sts: StsClient, aws: Aws, form: CredentialForm) -> None:
    """The emulator verifies the signature with the Host that it gets, so the client must send the signed host."""
    role = aws.add_role()
    session = aws.session_of(role)
    trail = new_trail()
    identity = await ask(sts, recipe_of(session, form).credential(), trail)
    assert identity.account == ACCOUNT
    assert str(identity.arn) == session.principal.arn
    assert identity.user_id == f"{role.role_id}:{session.principal.arn.rpartition('/')[2]}"
    [call] = aws.emulator.calls
    assert (call.action, call.region, call.outcome) == ("GetCallerIdentity", "us-east-1", "ok")
    assert identity.request_id == trail.sts.request_id == call.request_id
    assert trail.sts.region == "us-east-1"
    assert trail.sts.seconds > 0


FAULTS: dict[FaultKind, tuple[Reason, int]] = {  # the reason, and how many calls it takes
    FaultKind.THROTTLE: (Reason.STS_THROTTLED, 1),
    FaultKind.INTERNAL_FAILURE: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.SERVICE_UNAVAILABLE: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.ACCESS_DENIED: (Reason.STS_ACCESS_DENIED, 1),
    FaultKind.UNKNOWN_CODE: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.REDIRECT: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.HANG: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.SLOW_DRIP: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.CUT_OFF: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.RESET: (Reason.STS_UNAVAILABLE, 2),
    FaultKind.WRONG_CONTENT_TYPE: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.OVERSIZE_BODY: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.TRUNCATED: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.DTD: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.TWO_DOCUMENTS: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.FORGED_ACTION: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.ACCOUNT_MISMATCH: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.SESSION_MISMATCH: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.OTHER_PARTITION: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.DUPLICATE_ACCOUNT: (Reason.STS_UNAVAILABLE, 1),
    FaultKind.GZIP_BOMB: (Reason.STS_UNAVAILABLE, 1),
}


def test_every_fault_of_the_emulator_is_told_apart_here() -> None:
    assert FAULTS.keys() == set(FaultKind)


@pytest.mark.parametrize("form", ONE_OF_EACH_METHOD)
@pytest.mark.parametrize("fault", FAULTS)
async def test_identify_takes_a_fault_for_no_decision(
    sts: StsClient, aws: Aws, fault: FaultKind, form: CredentialForm
) -> None:
    """Never an identity and never a denial. A transient fault is retried exactly once, any other is not."""
    reason, calls = FAULTS[fault]
    lasting = calls if fault in (FaultKind.HANG, FaultKind.SLOW_DRIP) else 0
    aws.emulator.faults.sts.inject(fault)
    with pytest.raises(UpstreamError) as raised:
        await ask_in_vain(sts, aws, aws.credential(form=form), lasting)
    assert raised.value.reason is reason
    assert [call.outcome for call in aws.emulator.calls] == [fault.value] * calls


@pytest.mark.parametrize("form", ONE_OF_EACH_METHOD)
@pytest.mark.parametrize(
    "fault",
    [FaultKind.INTERNAL_FAILURE, FaultKind.SERVICE_UNAVAILABLE, FaultKind.CUT_OFF, FaultKind.RESET, FaultKind.HANG],
)
async def test_identify_survives_one_transient_fault(
    sts: StsClient, aws: Aws, fault: FaultKind, form: CredentialForm
) -> None:
    aws.emulator.faults.sts.inject(fault, times=1)
    identity = await ask_in_vain(sts, aws, aws.credential(form=form), 1 if fault is FaultKind.HANG else 0)
    assert identity.account == ACCOUNT
    assert [call.outcome for call in aws.emulator.calls] == [fault.value, "ok"]


async def test_identify_does_not_try_again_what_sts_denies(sts: StsClient, aws: Aws) -> None:
    forged = replace(recipe_of(aws.task()), secret_key=SECRET_KEY)
    with pytest.raises(AuthenticationError) as raised:
        await ask(sts, forged.credential())
    assert raised.value.reason is Reason.STS_REJECTED
    assert [call.outcome for call in aws.emulator.calls] == ["SignatureDoesNotMatch"]


async def test_identify_tells_an_expired_session_from_a_wrong_signature(sts: StsClient, aws: Aws) -> None:
    expired = aws.emulator.world.issue_session(ACCOUNT, "demo-app", "task", timedelta(seconds=-1))
    with pytest.raises(AuthenticationError) as raised:
        await ask(sts, recipe_of(expired).credential())
    assert raised.value.reason is Reason.SESSION_EXPIRED
    assert len(aws.emulator.calls) == 1


async def test_identify_does_not_feed_a_throttle_of_any_status(sts: StsClient, aws: Aws) -> None:
    """STS throttles with 400. Other front ends of AWS use 503, which looks transient."""
    aws.emulator.faults.sts.rate = 1 / LONG
    session = aws.task()
    outcomes = []
    for _ in range(3):
        try:
            await ask(sts, recipe_of(session).credential())
            outcomes.append("ok")
        except AuthError as error:
            outcomes.append(error.reason.value)
    assert outcomes == ["ok", "sts_throttled", "sts_throttled"]
    assert len(aws.emulator.calls) == 3


async def test_identify_ends_by_the_decisions_deadline(sts: StsClient, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    with pytest.raises(UpstreamError) as raised:
        await ask_in_vain(sts, aws, aws.credential(), 1, seconds=LONG - 1.0)
    assert raised.value.reason is Reason.STS_UNAVAILABLE
    assert len(aws.emulator.calls) == 1  # no time was left for a second attempt


async def test_a_call_that_had_little_time_left_tells_nothing_about_sts(sts: StsClient, aws: Aws) -> None:
    """Otherwise a long queue would look like an outage, and open the circuit breaker of STS."""
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    with pytest.raises(UpstreamError) as raised:
        await ask_in_vain(sts, aws, aws.credential(), 1, seconds=LONG - 1.0)
    assert type(raised.value) is OutOfTimeError


async def test_a_call_that_had_its_whole_time_does(sts: StsClient, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    with pytest.raises(UpstreamDownError):
        await ask_in_vain(sts, aws, aws.credential(), 2)


async def test_identify_begins_nothing_after_the_deadline(sts: StsClient, aws: Aws) -> None:
    with pytest.raises(UpstreamError) as raised:
        await ask(sts, aws.credential(), seconds=-1.0)
    assert raised.value.reason is Reason.STS_UNAVAILABLE
    assert len(aws.emulator.calls) == 0


async def test_one_callers_end_harms_no_other(sts: StsClient, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG, times=1)
    leaving = asyncio.create_task(ask(sts, aws.credential()))
    await asyncio.to_thread(aws.emulator.calls.wait_for, 1)
    staying = asyncio.create_task(ask(sts, aws.credential()))
    leaving.cancel()
    assert (await staying).account == ACCOUNT
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_many_at_once_get_each_their_own_identity(sts: StsClient, aws: Aws) -> None:
    """Clients never share an answer (I9, and the class of CVE-2025-67490)."""
    roles = [aws.add_role() for _ in range(20)]
    credentials = [recipe_of(aws.session_of(role)).credential() for role in roles]
    identities = await asyncio.gather(*(ask(sts, credential) for credential in credentials))
    assert [identity.user_id.partition(":")[0] for identity in identities] == [role.role_id for role in roles]


async def test_identify_is_counted_by_outcome_and_region(sts: StsClient, aws: Aws, metrics: Metrics) -> None:
    await ask(sts, aws.credential())
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE, times=1)
    with pytest.raises(UpstreamError):
        await ask(sts, aws.credential())
    samples = read_samples(metrics.expose().decode())
    calls = "kuma_aws_iam_upstream_calls_total"
    assert value(samples, calls, upstream="sts", outcome="ok", region="us-east-1") == 1
    assert value(samples, calls, upstream="sts", outcome="sts_throttled", region="us-east-1") == 1
    assert value(samples, "kuma_aws_iam_upstream_throttles_total", upstream="sts") == 1
    assert value(samples, "kuma_aws_iam_upstream_call_seconds_count", upstream="sts") == 2
    assert metrics.last_outcomes()["sts"] == "sts_throttled"
