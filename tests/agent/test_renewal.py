"""Renewals in sequence. The clock and the random numbers are the test's; credentials and HTTP are real."""

import queue
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.agent.errors import Failure
from app.agent.held import parse_held
from app.agent.renewal import Due, Finished, Renewals, TokenFile
from app.agent.renewal_thread import RenewalThread
from app.agent.service_address import parse_service_url
from app.agent.service_client import ServiceAccess, ServiceClient
from app.agent.sources import CredentialSource, Signer, TokenSource
from app.core.credential import decode_credential
from app.core.signed_request import CredentialForm
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint
from tests.support.patience import PATIENCE
from tests.support.process import free_address
from tests.support.signing import judge, make_policy
from tests.support.token_service import Answer, TokenService, issued, make_token, refusal, token_service
from tests.support.world import ACCOUNT, Aws

AUDIENCE = "mesh-production"
CLAIM = {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}


@dataclass
class Notes:
    """The log lines of an agent, and its clock."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def info(self, event: str, /, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, /, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def last(self) -> tuple[str, str, dict[str, Any]]:
        return self.lines[-1]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def task(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Return the environment of a task on ECS."""
    for name, value in aws.emulator.environment(ACCOUNT, "demo-app").items():
        monkeypatch.setenv(name, value)
    return aws


def signer() -> Signer:
    return Signer(find_endpoint(load_sts_endpoints(), "us-east-1"), AUDIENCE)


Make = Callable[..., Renewals]


@pytest.fixture
def make(task: Aws, notes: Notes, tmp_path: Path) -> Make:
    assert task.emulator.url

    def renewals(service: TokenService | str | None = None, **options: Any) -> Renewals:
        source: Any = CredentialSource(signer())
        if service is not None:
            address = service if isinstance(service, str) else service.address
            source = TokenSource(signer(), ServiceClient(parse_service_url(address), ServiceAccess()), CLAIM)
        return Renewals(
            **{
                "source": source,
                "file": TokenFile(path=tmp_path / "token"),
                "log": notes,
                "clock": lambda: notes.now,
                "chance": lambda: 0.0,
                "patience": timedelta(minutes=10),
                **options,
            }
        )

    return renewals


@pytest.fixture
def service() -> Iterator[TokenService]:
    with token_service() as running:
        yield running


# What is written.


def test_the_credential_is_in_a_jwts_clothes_and_renewed_after_five_minutes(
    make: Make, notes: Notes, tmp_path: Path
) -> None:
    assert make().step() == Due(notes.now + timedelta(minutes=5))
    path = tmp_path / "token"
    request = judge(path.read_text(), make_policy(audience=AUDIENCE))
    assert request.form is CredentialForm.JWT
    assert decode_credential(path.read_text()).url.authority == "sts.us-east-1.amazonaws.com"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_credential_ends_with_the_session_of_its_role(
    make: Make, task: Aws, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent renews a session of twelve minutes after four minutes, not after five."""
    session = task.session_of(task.add_role())
    endings = timedelta(minutes=12)
    monkeypatch.setattr(
        task.emulator.app.container_credentials, "issue", lambda *_: _ending(session, notes.now + endings)
    )
    due = make().step()
    assert isinstance(due, Due)
    # The endpoint reports whole seconds.
    assert abs(due.at - notes.now - endings / 3) < timedelta(seconds=1)


def _ending(session: Any, ends_at: datetime) -> Any:
    from dataclasses import replace  # noqa: PLC0415

    return replace(session, expiration=ends_at)


def test_a_credential_is_exchanged_for_a_token(make: Make, service: TokenService, notes: Notes, tmp_path: Path) -> None:
    token = make_token()
    service.answers = [issued(token)]
    due = make(service).step()
    assert (tmp_path / "token").read_text() == token
    [(path, headers, call)] = service.calls
    assert path == "/v1/token"
    assert call.keys() == {"credential", "proxy"}
    assert judge(call["credential"], make_policy(audience=AUDIENCE)).form is CredentialForm.NATIVE
    assert call["proxy"] == CLAIM
    assert "authorization" not in headers
    life = parse_held(token).ends_at - notes.now
    assert isinstance(due, Due)
    assert abs(due.at - notes.now - life * 2 / 3) < timedelta(milliseconds=1)


def test_the_log_has_moments_and_ids_and_no_secret(make: Make, service: TokenService, notes: Notes) -> None:
    token = make_token()
    identity = {"type": "dataplane", "mesh": "default", "service": "demo-app", "workload": None, "zone": None}
    principal = {"account": ACCOUNT, "role": "demo-app", "roleId": "AROAEXAMPLE", "session": "s", "arn": "a" * 999}
    answer = {"token": token, "kid": "k7", "identity": identity, "principal": principal}
    service.answers = [Answer(200, answer, {"X-Request-Id": "r-1"})]
    make(service).step()
    level, event, fields = notes.last()
    assert (level, event) == ("info", "renewed")
    assert (fields["kid"], fields["jti"], fields["request_id"]) == ("k7", "j", "r-1")
    assert fields["identity"] == {"type": "dataplane", "mesh": "default", "service": "demo-app"}
    assert fields["principal"] == {"account": ACCOUNT, "role": "demo-app", "roleId": "AROAEXAMPLE", "session": "s"}
    assert fields["access_key_id"].startswith("ASIA")
    assert fields["duration_ms"] == 0  # by the test's clock
    [(_, _, call)] = service.calls
    for secret in (token, token.split(".")[1], call["credential"]):
        assert secret not in str(notes.lines)


def test_mode_and_group_are_those_that_were_asked_for(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "token"
    gid = path.parent.stat().st_gid
    make(file=TokenFile(path=path, mode=0o640, gid=gid)).step()
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, gid)


def test_whoever_has_the_old_file_open_keeps_it(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    with path.open() as reader:
        make().step()
        assert reader.read() == "old"
    assert path.read_text() != "old"


# Ends that the agent does not believe.

IN_2100 = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
DAY = timedelta(seconds=86_400)


def test_a_token_of_2100_is_renewed_within_a_day(make: Make, service: TokenService, notes: Notes) -> None:
    service.answers = [issued(make_token(exp=IN_2100))]
    assert make(service).step() == Due(notes.now + DAY * 2 / 3)
    assert notes.last()[2]["ends_at"] == notes.now + DAY


def test_a_file_of_2100_holds_off_no_denial_for_longer_than_a_day(
    make: Make, service: TokenService, notes: Notes, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(make_token(exp=IN_2100))
    service.answers = [refusal(403, "role_type_missing")]
    renewals = make(service)
    assert isinstance(renewals.step(), Due)
    notes.now += DAY - timedelta(seconds=1)
    assert isinstance(renewals.step(), Due)
    notes.now += timedelta(seconds=1)
    assert renewals.step() == Finished(1)


# Wrong clocks.


@pytest.mark.parametrize("answer", [refusal(401, "credential_not_yet_valid"), issued()], ids=["refused", "issued"])
def test_a_clock_that_is_a_day_ahead_is_told_by_the_services(
    make: Make, service: TokenService, notes: Notes, answer: Answer, tmp_path: Path
) -> None:
    notes.now += timedelta(days=1)
    service.answers = [answer]
    make(service).step()
    assert not (tmp_path / "token").exists()
    level, event, fields = notes.last()
    assert (level, event) == ("warning", "not renewed")
    [seconds] = re.findall(
        r"this host's clock is (\d+) s ahead of the service's; set the wrong one by NTP", fields["detail"]
    )
    assert abs(int(seconds) - 86_400) < 60


def test_a_clock_that_is_behind_is_told_too(make: Make, service: TokenService, notes: Notes) -> None:
    notes.now -= timedelta(hours=1)
    service.answers = [refusal(401, "credential_expired")]
    make(service).step()
    assert "s behind the service's; set the wrong one by NTP" in notes.last()[2]["detail"]


@pytest.mark.parametrize(
    ("shift", "date"),
    [
        (timedelta(minutes=4), None),
        (timedelta(minutes=-4), None),
        (timedelta(days=1), ""),
        (timedelta(days=1), "yesterday"),
        (timedelta(days=1), "Mon, 99 Jan 2026 00:00:00 GMT"),
        (timedelta(days=1), "Mon, 01 Jan 2026 00:00:00 +99999999999999999999"),
        (timedelta(days=1), "Mon, 01 Jan 0000 00:00:00 GMT"),
    ],
)
def test_a_clock_that_is_in_order_or_cannot_be_compared_is_not_blamed(
    make: Make, service: TokenService, notes: Notes, shift: timedelta, date: str | None
) -> None:
    notes.now += shift
    service.answers = [refusal(403, "role_type_missing", **({} if date is None else {"Date": date}))]
    make(service).step()
    assert notes.last()[2]["reason"] == "role_type_missing"
    assert "clock" not in notes.last()[2]["detail"]


def test_aws_credentials_that_end_before_they_come_are_told_with_the_clock(
    make: Make, task: Aws, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the clock is a day ahead, the SDK takes a session of six hours for an expired one."""
    session = task.session_of(task.add_role())
    ended = notes.now - timedelta(hours=18)
    monkeypatch.setattr(task.emulator.app.container_credentials, "issue", lambda *_: _ending(session, ended))
    renewals = make()
    for _ in range(2):
        assert isinstance(renewals.step(), Due)
        assert notes.last()[2]["reason"] == "credentials_unavailable"
        [seconds] = re.findall(r"ended (\d+) s ago by this host's clock: is it ahead\?", notes.last()[2]["detail"])
        assert abs(int(seconds) - 64_800) < 60


# Failures.

DENIALS = [
    refusal(401, "sts_rejected"),
    refusal(403, "role_mesh_missing"),
    refusal(404, "not_found"),
    refusal(401, "caller_not_authenticated"),
]
UNDECIDED = [
    refusal(503, "sts_throttled"),
    refusal(500, "internal_error"),
    refusal(429, "slow_down"),
    Answer(302, b"", {"Location": "https://elsewhere.example/"}),
    Answer(200, b"not json"),
    Answer(200, {"token": "x"}),
    Answer(200, {"token": 1}),
    Answer(200, b"[" * 70_000),
    issued(make_token(timedelta(hours=-1))),
    Answer(502, b"bad gateway"),
    # A denial that comes from something between agent and service, which decided nothing about the proxy.
    Answer(403, b"<html>"),
    Answer(404, {"message": "no such route"}),
    Answer(401, {"reason": "Not Yours"}),
    Answer(403, {"reason": 1}),
]


@pytest.mark.parametrize("answer", DENIALS, ids=range(len(DENIALS)))
def test_a_denial_that_lasted_is_given_up(make: Make, service: TokenService, notes: Notes, answer: Answer) -> None:
    service.answers = [answer]
    renewals = make(service)
    assert isinstance(renewals.step(), Due)
    notes.now += timedelta(minutes=9, seconds=59)
    assert isinstance(renewals.step(), Due)
    notes.now += timedelta(seconds=1)
    assert renewals.step() == Finished(1)
    assert notes.last()[:2] == ("error", "gave up")
    assert notes.last()[2]["failure"] is Failure.DENIED


@pytest.mark.parametrize("answer", UNDECIDED, ids=range(len(UNDECIDED)))
def test_what_nobody_decided_is_waited_for(make: Make, service: TokenService, notes: Notes, answer: Answer) -> None:
    service.answers = [answer]
    renewals = make(service)
    for _ in range(3):
        assert isinstance(renewals.step(), Due)
        notes.now += timedelta(days=1)
    assert notes.last()[:2] == ("warning", "not renewed")
    assert notes.last()[2]["failure"] is Failure.UNDECIDED


def test_a_service_that_is_not_there_is_waited_for(make: Make, notes: Notes) -> None:
    address = free_address()
    assert isinstance(make(f"http://{address}").step(), Due)
    assert notes.last()[2]["reason"] == "service_unreachable"
    assert address in notes.last()[2]["detail"]


def test_the_old_file_stays_and_a_denial_is_not_given_up_while_it_holds(
    make: Make, service: TokenService, notes: Notes, tmp_path: Path
) -> None:
    """This also applies after a restart of the agent, which reads the file that exists."""
    token = make_token()
    (tmp_path / "token").write_text(token)
    service.answers = [refusal(403, "role_type_missing")]
    renewals = make(service)
    renewals.step()
    notes.now += timedelta(minutes=30)
    assert isinstance(renewals.step(), Due)
    assert (tmp_path / "token").read_text() == token
    notes.now += timedelta(minutes=31)
    assert renewals.step() == Finished(1)
    assert (tmp_path / "token").read_text() == token


def test_a_success_ends_the_count(make: Make, service: TokenService, notes: Notes) -> None:
    denial = refusal(403, "role_type_missing")
    service.answers = [denial, issued(make_token(timedelta(minutes=2))), denial]
    renewals = make(service)
    renewals.step()
    renewals.step()
    notes.now += timedelta(minutes=11)
    assert isinstance(renewals.step(), Due)


def test_pauses_grow_and_heed_the_service(make: Make, service: TokenService, notes: Notes) -> None:
    service.answers = [
        refusal(503, "overloaded"),
        refusal(503, "overloaded"),
        refusal(503, "overloaded", Retry_After="30"),
    ]
    renewals = make(service)
    dues = [renewals.step() for _ in range(3)]
    assert dues == [Due(notes.now + timedelta(seconds=pause)) for pause in (0.5, 1.0, 30.0)]
    assert notes.last()[2]["retry_seconds"] == 30.0


def test_a_retry_after_is_heeded_for_300_seconds_with_the_jitter(
    make: Make, service: TokenService, notes: Notes
) -> None:
    service.answers = [refusal(503, "overloaded", Retry_After="86400")]
    assert make(service, chance=lambda: 0.999).step() == Due(notes.now + timedelta(seconds=300))


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1e9", "", "²"])
def test_a_retry_after_that_is_no_number_of_seconds_counts_for_nothing(
    make: Make, service: TokenService, notes: Notes, value: str
) -> None:
    service.answers = [refusal(503, "overloaded", Retry_After=value.encode().decode("latin-1"))]
    assert make(service).step() == Due(notes.now + timedelta(seconds=0.5))


def test_a_reason_of_a_stranger_is_not_logged(make: Make, service: TokenService, notes: Notes) -> None:
    service.answers = [Answer(403, {"reason": "a b\n{", "detail": "x" * 5000})]
    make(service).step()
    assert notes.last()[2]["reason"] == "status_403"
    assert len(notes.last()[2]["detail"]) < 400


@pytest.mark.parametrize(
    ("variables", "failure", "words"),
    [
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}, Failure.NO_CREDENTIALS, "give the task a task role"),
        (
            {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE01", "AWS_SECRET_ACCESS_KEY": "x" * 40},
            Failure.NO_CREDENTIALS,
            "assume a role first",
        ),
        ({"AWS_PROFILE": "nobody"}, Failure.UNDECIDED, "nobody"),
    ],
    ids=["no-task-role", "a-users-keys", "cannot-be-fetched"],
)
def test_credentials_that_are_not_there_are_told_from_those_that_cannot_be_fetched(
    make: Make,
    notes: Notes,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str | None],
    failure: Failure,
    words: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    renewals = make()
    renewals.step()
    assert notes.last()[2]["failure"] is failure
    assert words in notes.last()[2]["detail"]
    notes.now += timedelta(minutes=10)
    assert renewals.step() == Finished(3) if failure.is_definite else isinstance(renewals.step(), Due)


def test_the_path_of_the_credentials_endpoint_is_not_logged(
    make: Make, task: Aws, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ECS, whoever knows this path and reaches the endpoint can get the role's credentials."""
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    for url in (f"{task.emulator.url}/ecs/{ACCOUNT}/secret-path", f"http://{free_address()}/v2/secret-path"):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        make().step()
        assert notes.last()[2]["reason"] == "credentials_unavailable"
        assert "secret-path" not in str(notes.lines).replace("role secret-path", "")


def test_a_file_that_cannot_be_written_is_told_and_given_up(make: Make, notes: Notes, tmp_path: Path) -> None:
    renewals = make(file=TokenFile(path=tmp_path / "gone" / "token"))
    renewals.step()
    assert notes.last()[2]["failure"] is Failure.NOT_WRITTEN
    notes.now += timedelta(minutes=10)
    assert renewals.step() == Finished(4)


def test_nothing_is_left_of_a_file_that_cannot_be_put_in_its_place(make: Make, notes: Notes, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    make().step()
    assert notes.last()[2]["failure"] is Failure.NOT_WRITTEN
    assert list(tmp_path.iterdir()) == [tmp_path / "token"]


def test_a_bug_does_not_end_the_agent_nor_tell_a_secret(make: Make, notes: Notes) -> None:
    class Broken:
        def fetch(self, _now: datetime) -> Any:
            raise KeyError("secret")

    renewals = make(source=Broken())
    assert isinstance(renewals.step(), Due)
    assert notes.last()[2]["reason"] == "agent_error"
    assert "secret" not in str(notes.lines)


# In its thread.


@dataclass
class Monotonic:
    """A monotonic clock, which counts how often it is read."""

    now: float = 0.0
    looks: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self) -> float:
        self.looks.release()
        return self.now


def run_in_a_thread(
    renewals: Renewals, monotonic: Callable[[], float] = time.monotonic
) -> tuple[RenewalThread, "queue.Queue[None]"]:
    changes: queue.Queue[None] = queue.Queue()
    thread = RenewalThread(renewals, lambda: changes.put(None), monotonic, look_again_seconds=0.01)
    thread.start()
    changes.get(timeout=PATIENCE)
    return thread, changes


def test_a_clock_that_is_set_forward_is_noticed(make: Make, notes: Notes) -> None:
    """Otherwise a machine that slept would wake up with a file that has expired."""
    thread, changes = run_in_a_thread(make())
    notes.now += timedelta(minutes=6)
    changes.get(timeout=PATIENCE)
    assert [event for _, event, _ in notes.lines] == ["renewed", "renewed"]
    thread.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert thread.finished is None


def test_a_thread_that_is_stopped_between_two_renewals_makes_no_other(
    make: Make, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the agent's end waits a second for it, and the renewal is cut off."""
    resets = 0

    class Event(threading.Event):
        """Stops the thread right before the thread resets the event for its second renewal."""

        def clear(self) -> None:
            nonlocal resets
            resets += 1
            if resets == 2:
                thread.stop()
            super().clear()

    changes: queue.Queue[None] = queue.Queue()
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", Event)
        thread = RenewalThread(make(), lambda: changes.put(None))
    thread.start()
    changes.get(timeout=PATIENCE)
    thread.renew_now()
    changes.get(timeout=PATIENCE)
    thread.stop()
    thread.join(PATIENCE)
    assert (resets, [event for _, event, _ in notes.lines]) == (2, ["renewed"])


@pytest.mark.parametrize(
    ("set_back", "passed"),
    [(timedelta(minutes=4), 300), (timedelta(minutes=5, seconds=1), 0)],
    ids=["a-little-and-the-wait-is-over", "over-the-skew-and-at-once"],
)
def test_a_clock_that_is_set_back_holds_up_no_renewal(
    make: Make, notes: Notes, set_back: timedelta, passed: float
) -> None:
    """Otherwise the credential expires before its renewal, and is refused until then because its date is in the future."""
    monotonic = Monotonic()
    thread, changes = run_in_a_thread(make(), monotonic)
    # Once to compute the length of the wait, and then during the wait.
    assert all(monotonic.looks.acquire(timeout=PATIENCE) for _ in range(2))
    notes.now -= set_back
    monotonic.now += passed
    changes.get(timeout=PATIENCE)
    assert [event for _, event, _ in notes.lines] == ["renewed", "renewed"]
    thread.stop()
    thread.join(PATIENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_breaks_ends_the_agent_and_not_only_itself(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = make()
    monkeypatch.setattr(type(renewals), "step", lambda _renewals: 1 / 0)
    thread, _ = run_in_a_thread(renewals)
    thread.join(PATIENCE)
    assert thread.finished == Finished(5)


# Once.


def test_once_ends_after_the_first_file(make: Make, service: TokenService) -> None:
    assert make(service, once=True).step() == Finished(0)


@pytest.mark.parametrize(("answer", "status"), [(DENIALS[0], 1), (UNDECIDED[0], 5)])
def test_once_gives_up_on_whatever_lasted(
    make: Make, service: TokenService, notes: Notes, tmp_path: Path, answer: Answer, status: int
) -> None:
    """Also if an old file is still valid: whoever runs the agent with `--once` wants a fresh file."""
    (tmp_path / "token").write_text(make_token())
    service.answers = [answer]
    renewals = make(service, once=True)
    assert isinstance(renewals.step(), Due)
    notes.now += timedelta(minutes=10)
    assert renewals.step() == Finished(status)
