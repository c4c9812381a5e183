"""IAM in the service's own account: its answers to GetRole, its failures, and the way to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import AuthorizationError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.emulator import Emulator, FaultKind
from app.emulator.hosts import ServiceName
from app.iam.client import IamRoles
from app.telemetry.metrics import Metrics
from tests.iam.conftest import OpenIam, new_trail, soon
from tests.support.exposition import read_samples, value
from tests.support.passing_time import LONG, let_pass
from tests.support.principals import admitted
from tests.support.service import until
from tests.support.tls import make_certificate
from tests.support.wire import Recorder, answering, closed_port, hang_up, recording_server
from tests.support.world import ACCOUNT, DATAPLANE, OTHER_ACCOUNT, SERVICE_ROLE, Aws


def get_role_xml(policy: str) -> bytes:
    """Return an answer to GetRole about a role of another account."""
    tags = "<member><Key>kuma.io/type</Key><Value>dataplane</Value></member><member><Key>empty</Key><Value/></member>"
    role = (
        f"<Path>/</Path><Arn>arn:aws:iam::{ACCOUNT}:role/x</Arn><RoleName>x</RoleName><RoleId>AROAX</RoleId>"
        f"<AssumeRolePolicyDocument>{policy}</AssumeRolePolicyDocument><Tags>{tags}</Tags>"
    )
    answer = f"<GetRoleResult><Role>{role}</Role></GetRoleResult>"
    namespace = "https://iam.amazonaws.com/doc/2010-05-08/"
    return f'<GetRoleResponse xmlns="{namespace}">{answer}</GetRoleResponse>'.encode()


async def undecided(iam: IamRoles, aws: Aws) -> Reason:
    with pytest.raises(UpstreamError) as raised:
        await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    return raised.value.reason


async def fetch_in_vain(
    iam: IamRoles,
    aws: Aws,
    calls: Callable[[], int],
    attempts: int = 1,
    account: str = ACCOUNT,
    seconds: float = 10 * LONG,
) -> RoleRecord:
    """Read a new role, and let the time of so many attempts pass, each once its call has arrived."""
    fetching = asyncio.create_task(
        iam.fetch_role(admitted(aws.add_role(account=account)), new_trail().iam, soon(seconds))
    )
    for attempt in range(1, attempts + 1):
        await until(lambda attempt=attempt: calls() == attempt)  # type: ignore[misc]
        let_pass(min(seconds, LONG))
    return await fetching


async def test_fetch_role_reads_tags_and_unique_id_of_the_own_account(iam: IamRoles, aws: Aws) -> None:
    role = aws.emulator.world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    trail = new_trail()
    record = await iam.fetch_role(admitted(role), trail.iam, soon())
    assert record.arn == f"arn:aws:iam::{ACCOUNT}:role/workloads/demo-app"
    assert (record.name, record.role_id) == ("demo-app", role.role_id)
    assert record.tags == tuple(DATAPLANE.items())
    own, get_role = aws.emulator.calls
    assert (own.action, own.account) == ("GetCallerIdentity", ACCOUNT)
    assert (get_role.action, get_role.account, get_role.outcome) == ("GetRole", ACCOUNT, "ok")
    assert record.request_id == trail.iam.request_id == get_role.request_id
    assert trail.iam.seconds > 0


async def test_fetch_role_asks_one_question_a_role_once_it_knows_itself(iam: IamRoles, aws: Aws) -> None:
    await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    aws.emulator.calls.clear()
    await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    assert [call.action for call in aws.emulator.calls] == ["GetRole"]


async def test_fetch_role_of_an_untagged_role_has_no_tags(iam: IamRoles, aws: Aws) -> None:
    record = await iam.fetch_role(admitted(aws.add_role({})), new_trail().iam, soon())
    assert record.tags == ()


async def test_fetch_role_keeps_keys_that_differ_in_case_alone(iam: IamRoles, aws: Aws) -> None:
    tags = (*DATAPLANE.items(), ("KUMA.IO/mesh", "payments"))
    record = await iam.fetch_role(admitted(aws.add_role(tags)), new_trail().iam, soon())
    assert record.tags == tags


async def test_fetch_role_denies_a_role_that_is_not_there(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role()
    aws.emulator.world.delete_role(ACCOUNT, role.name)
    with pytest.raises(AuthorizationError) as raised:
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    assert raised.value.reason is Reason.ROLE_NOT_FOUND


FAULTS = {
    FaultKind.THROTTLE: Reason.IAM_THROTTLED,
    FaultKind.ACCESS_DENIED: Reason.IAM_ACCESS_DENIED,
    FaultKind.UNKNOWN_CODE: Reason.IAM_UNAVAILABLE,
    FaultKind.INTERNAL_FAILURE: Reason.IAM_UNAVAILABLE,
    FaultKind.SERVICE_UNAVAILABLE: Reason.IAM_UNAVAILABLE,
    FaultKind.REDIRECT: Reason.IAM_UNAVAILABLE,
    FaultKind.CUT_OFF: Reason.IAM_UNAVAILABLE,
    FaultKind.RESET: Reason.IAM_UNAVAILABLE,
}


TRIED_AGAIN = {FaultKind.INTERNAL_FAILURE, FaultKind.SERVICE_UNAVAILABLE, FaultKind.CUT_OFF, FaultKind.RESET}


@pytest.mark.parametrize("fault", FAULTS)
async def test_fetch_role_takes_a_fault_for_no_decision(iam: IamRoles, aws: Aws, fault: FaultKind) -> None:
    aws.emulator.faults.iam.inject(fault)
    assert await undecided(iam, aws) is FAULTS[fault]
    again = fault in TRIED_AGAIN
    assert len(aws.iam_calls()) == (2 if again else 1)


@pytest.mark.parametrize("fault", [FaultKind.HANG, FaultKind.SLOW_DRIP])
async def test_fetch_role_ends_by_the_decisions_deadline(iam: IamRoles, aws: Aws, fault: FaultKind) -> None:
    await iam.own_account()
    aws.emulator.faults.iam.inject(fault)
    with pytest.raises(UpstreamError) as raised:
        await fetch_in_vain(iam, aws, lambda: len(aws.iam_calls()), seconds=LONG - 1.0)
    assert raised.value.reason is Reason.IAM_UNAVAILABLE
    assert len(aws.iam_calls()) == 1


async def test_a_call_that_had_little_time_left_tells_nothing_about_iam(iam: IamRoles, aws: Aws) -> None:
    """Otherwise a long queue would look like an outage, and open the circuit breaker of IAM."""
    await iam.own_account()
    aws.emulator.faults.iam.inject(FaultKind.HANG)
    with pytest.raises(UpstreamError) as raised:
        await fetch_in_vain(iam, aws, lambda: len(aws.iam_calls()), seconds=LONG - 1.0)
    assert type(raised.value) is OutOfTimeError


async def test_a_call_that_had_its_whole_time_does(iam: IamRoles, aws: Aws) -> None:
    await iam.own_account()
    aws.emulator.faults.iam.inject(FaultKind.HANG)
    with pytest.raises(UpstreamDownError):
        await fetch_in_vain(iam, aws, lambda: len(aws.iam_calls()), attempts=2)


@pytest.mark.parametrize("fault", [FaultKind.HANG, FaultKind.SLOW_DRIP])
@pytest.mark.parametrize(
    ("service", "action"), [("sts", "GetCallerIdentity"), ("sts", "AssumeRole"), ("iam", "GetRole")]
)
async def test_no_call_outlasts_its_attempts(
    iam: IamRoles, aws: Aws, service: ServiceName, action: str, fault: FaultKind
) -> None:
    """Single bytes do not extend a call: each attempt has a deadline for the whole answer."""
    aws.emulator.faults.of(service).inject(fault, action=action, times=2)
    with pytest.raises(UpstreamDownError) as raised:
        await fetch_in_vain(iam, aws, lambda: aws.emulator.calls.count(service, action), 2, OTHER_ACCOUNT)
    assert raised.value.reason is Reason.IAM_UNAVAILABLE
    assert raised.value.detail.startswith(f"no answer of {service.upper()}: ")  # and not the decision's deadline
    assert "did not answer in time" in raised.value.detail
    assert aws.emulator.calls.count(service, action) == 2
    role = aws.add_role(account=OTHER_ACCOUNT)
    assert (await iam.fetch_role(admitted(role), new_trail().iam, soon())).tags == tuple(DATAPLANE.items())


async def test_a_drip_over_tls_ends_too(open_iam: OpenIam, aws: Aws, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with Emulator(aws.emulator.world, ssl_certfile=str(certificate.cert), ssl_keyfile=str(certificate.key)) as tls:
        iam = await open_iam(iam_url=tls.url, ca_file=str(certificate.cert))
        tls.faults.iam.inject(FaultKind.SLOW_DRIP)
        with pytest.raises(UpstreamDownError) as raised:
            await fetch_in_vain(iam, aws, lambda: len(tls.calls), attempts=2)
    assert raised.value.detail.startswith("no answer of IAM: 127.0.0.1:")
    assert "did not answer in time" in raised.value.detail


@pytest.mark.parametrize("fault", [FaultKind.HANG, FaultKind.SLOW_DRIP])
async def test_nothing_runs_on_once_its_decision_is_over(iam: IamRoles, aws: Aws, fault: FaultKind) -> None:
    await iam.own_account()
    aws.emulator.calls.clear()
    aws.emulator.faults.iam.inject(fault, times=1)
    before = asyncio.all_tasks()
    with pytest.raises(UpstreamError) as raised:
        await fetch_in_vain(iam, aws, lambda: len(aws.iam_calls()), seconds=LONG - 1.0)
    assert raised.value.reason is Reason.IAM_UNAVAILABLE
    assert asyncio.all_tasks() == before
    assert (await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())).tags == tuple(DATAPLANE.items())
    assert len(aws.iam_calls()) == 2


async def test_sixty_four_calls_that_hang_hold_up_no_other(iam: IamRoles, aws: Aws) -> None:
    """Once each call used one of 64 threads, and sixteen accounts whose IAM hung blocked all others."""
    await iam.own_account()
    other = aws.add_role(account=OTHER_ACCOUNT)
    await iam.fetch_role(admitted(other), new_trail().iam, soon())
    aws.emulator.faults.iam.inject(FaultKind.HANG, account=ACCOUNT)
    role = aws.add_role()
    hanging = [asyncio.create_task(iam.fetch_role(admitted(role), new_trail().iam, soon())) for _ in range(64)]
    await asyncio.to_thread(aws.emulator.calls.wait_for, len(aws.emulator.calls) + 64 - len(aws.iam_calls()) + 1)
    assert (await iam.fetch_role(admitted(other), new_trail().iam, soon())).arn == other.arn
    assert not any(task.done() for task in hanging)
    aws.emulator.faults.iam.release()
    assert {(await task).arn for task in hanging} == {role.arn}


async def test_an_answer_as_large_as_a_role_can_be_is_read(open_iam: OpenIam, aws: Aws) -> None:
    body = get_role_xml(policy="%7B" * (300 * 1024))
    role = aws.add_role()
    async with recording_server(answering("200 OK", {"Content-Type": "text/xml"}, body)) as somebody:
        record = await (await open_iam(iam_url=somebody.url)).fetch_role(admitted(role), new_trail().iam, soon())
    assert record.tags == (("kuma.io/type", "dataplane"), ("empty", ""))


async def test_an_answer_that_is_too_large_is_no_decision(open_iam: OpenIam, aws: Aws) -> None:
    body = get_role_xml(policy="%7B" * (350 * 1024))
    async with recording_server(answering("200 OK", {"Content-Type": "text/xml"}, body)) as somebody:
        iam = await open_iam(iam_url=somebody.url)
        with pytest.raises(UpstreamError) as raised:
            await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    assert raised.value.detail == "the answer of IAM is not believed: over 1024 KiB"
    assert somebody.connections == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>captive portal</html>", id="another-document"),
        pytest.param(b"<GetRoleResponse><GetRoleResult></GetRoleResult></GetRoleResponse>", id="no-role"),
        pytest.param(
            b"<GetRoleResponse><GetRoleResult><Role><RoleName>x</RoleName></Role></GetRoleResult></GetRoleResponse>",
            id="half-a-role",
        ),
    ],
)
async def test_fetch_role_does_not_believe_half_an_answer(open_iam: OpenIam, aws: Aws, body: bytes) -> None:
    async with recording_server(answering("200 OK", {"Content-Type": "text/xml"}, body)) as somebody:
        assert await undecided(await open_iam(iam_url=somebody.url), aws) is Reason.IAM_UNAVAILABLE


async def test_fetch_role_logs_the_policy_that_mends_a_denial(
    open_iam: OpenIam, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, blind = aws.add_role(), aws.add_named_role(ACCOUNT, "blind", may_get_roles=())
    iam = await open_iam()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", aws.emulator.credentials_uri(ACCOUNT, blind.name))
    with capture_logs() as log, pytest.raises(UpstreamError) as raised:
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    [event] = log
    assert (event["event"], event["log_level"], event["operation"]) == ("iam access denied", "warning", "GetRole")
    assert (event["account"], event["role"], event["denied_by"]) == (ACCOUNT, role.name, "identity-based policy")
    [statement] = event["mending_policy"]["Statement"]
    assert statement == {"Effect": "Allow", "Action": "iam:GetRole", "Resource": f"arn:aws:iam::{ACCOUNT}:role/*"}
    assert "because no identity-based policy allows it; attach a policy that allows iam:GetRole" in raised.value.detail


async def test_a_denial_of_a_vpc_endpoint_is_not_mended_by_a_policy_of_the_role(iam: IamRoles, aws: Aws) -> None:
    aws.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED)
    with capture_logs() as log, pytest.raises(UpstreamError) as raised:
        await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    [event] = log
    assert (event["event"], event["denied_by"]) == ("iam access denied", "VPC endpoint policy")
    assert "in the policy of the VPC endpoint through which the service calls IAM" in event["remedy"]
    assert "mending_policy" not in event
    assert event["remedy"] in raised.value.detail


async def test_a_denied_getcalleridentity_is_not_mended_by_a_policy_on_getrole(iam: IamRoles, aws: Aws) -> None:
    """No IAM policy denies GetCallerIdentity, only that of a VPC endpoint. The log must not mislead the operator."""
    aws.emulator.faults.sts.inject(FaultKind.ACCESS_DENIED, action="GetCallerIdentity")
    with capture_logs() as log, pytest.raises(UpstreamError):
        await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    assert aws.iam_calls() == []
    assert "iam:GetRole" not in str(log)


async def test_fetch_role_is_counted_by_outcome(iam: IamRoles, aws: Aws, metrics: Metrics) -> None:
    await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    role = aws.add_role()
    aws.emulator.world.delete_role(ACCOUNT, role.name)
    with pytest.raises(AuthorizationError):
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    samples = read_samples(metrics.expose().decode())
    calls = "kuma_aws_iam_upstream_calls_total"
    assert value(samples, calls, upstream="iam", outcome="ok", region="global") == 1
    assert value(samples, calls, upstream="iam", outcome="role_not_found", region="global") == 1
    assert value(samples, "kuma_aws_iam_upstream_call_seconds_count", upstream="iam") == 2


# The service's own credentials.


async def test_obtain_credentials_looks_again_until_there_are_some(
    open_iam: OpenIam, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    iam = await open_iam()
    assert await iam.obtain_credentials() is False
    assert await undecided(iam, aws) is Reason.OWN_CREDENTIALS_UNAVAILABLE
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", aws.emulator.credentials_uri(ACCOUNT, SERVICE_ROLE))
    assert await iam.obtain_credentials() is True
    assert await iam.own_account() == ACCOUNT


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("http://credentials.example/role", id="host-that-the-sdk-refuses"),
        pytest.param("credentials", id="no-url"),
    ],
)
async def test_obtain_credentials_never_raises_for_an_endpoint_of_credentials(
    open_iam: OpenIam, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
    assert await (await open_iam()).obtain_credentials() is False


async def test_obtain_credentials_is_false_while_the_endpoint_is_away(
    open_iam: OpenIam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLE01")  # half a pair
    assert await (await open_iam()).obtain_credentials() is False


async def test_own_account_is_none_while_sts_is_away(iam: IamRoles, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.UNKNOWN_CODE, times=1)
    assert await iam.own_account() is None
    assert await iam.own_account() == ACCOUNT
    assert await iam.own_account() == ACCOUNT
    assert len(aws.sts_calls()) == 2


# How it is reached (I9).


@pytest.fixture
async def proxy() -> AsyncIterator[Recorder]:
    async with recording_server(hang_up) as recorder:
        yield recorder


async def test_proxies_of_the_environment_are_not_used(
    iam: IamRoles, aws: Aws, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    assert proxy.connections == 0


async def test_the_one_explicit_proxy_is_used(open_iam: OpenIam, aws: Aws, proxy: Recorder) -> None:
    iam = await open_iam(proxy_url=proxy.url)
    assert await undecided(iam, aws) is Reason.IAM_UNAVAILABLE
    assert proxy.connections > 0
    assert len(aws.emulator.calls) == 0


@pytest.mark.parametrize("variable", [None, "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_trust_is_not_taken_from_the_environment(
    open_iam: OpenIam, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    certificate = make_certificate(tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(certificate.cert))
    with Emulator(aws.emulator.world, ssl_certfile=str(certificate.cert), ssl_keyfile=str(certificate.key)) as tls:
        assert await (await open_iam(sts_url=tls.url, iam_url=tls.url)).own_account() is None
        assert len(tls.calls) == 0


async def test_a_certificate_of_the_ca_file_is_trusted(open_iam: OpenIam, aws: Aws, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with Emulator(aws.emulator.world, ssl_certfile=str(certificate.cert), ssl_keyfile=str(certificate.key)) as tls:
        iam = await open_iam(sts_url=tls.url, iam_url=tls.url, ca_file=str(certificate.cert))
        record = await iam.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
        assert record.tags == tuple(DATAPLANE.items())
        assert [call.action for call in tls.calls] == ["GetCallerIdentity", "GetRole"]


async def test_an_iam_that_is_not_there_is_no_decision(open_iam: OpenIam, aws: Aws) -> None:
    with closed_port() as port:
        assert await undecided(await open_iam(iam_url=f"http://127.0.0.1:{port}"), aws) is Reason.IAM_UNAVAILABLE
