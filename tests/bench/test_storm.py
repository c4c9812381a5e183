import json
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.emulator.world import World
from bench.processes import cpu_seconds, memory_mb, waiting_seconds
from bench.storm.catalogue import STORMS, Storm
from bench.storm.clients import queue_of
from bench.storm.outcome import Outcome
from bench.storm.plots import admitted_over_time, calls_per_second, write_plots
from bench.storm.promises import Bound, own_bound, promises, quota_bound, rate_needed
from bench.storm.report import COLUMNS, details, table, tables
from bench.storm.sampler import Sample
from bench.storm.shape import Shape
from bench.storm.stage import HandshakeCost, Seen
from bench.storm.tally import Tally
from bench.storm.world import ACCOUNTS, build_world, make_impostors, make_sidecars

# Two sidecars of one role in one account: the budget of IAM needs 4 s.
SETTINGS = {"KMESH_AWSIAM_STS_RATE": "10", "KMESH_AWSIAM_IAM_RATE": "0.25"}
SHAPE = Shape(accounts=1, roles=1, sidecars=2)
STORM = Storm("first", "", "restart", SHAPE)
SMALL = Shape(accounts=3, roles=6, sidecars=14)


def approval(role: str = "app-000", session: str = "task-00000", service: str = "app-000") -> bytes:
    return json.dumps({"identity": {"service": service}, "principal": {"role": role, "session": session}}).encode()


def problem(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


def tally() -> Tally:
    return Tally([["app-000", "task-00000"]], [2], 3)


def seen(*, admitted: list[float], **more: Any) -> Seen:
    clients: dict[str, Any] = {
        "began": 100.0,
        "seconds": 5.0,
        "admitted": admitted,
        "undecided": {},
        "denied": {},
        "impostors": {},
        "errors": {},
        "wrong": 0,
        "p50": 0.1,
        "p99": 0.5,
        "refused_p99": 0.2,
        "refused_slowest": 0.9,
        "gave_up": 0,
        "late": 0.1,
        **more,
    }
    samples = [Sample(100.0 + number / 10, sts=number * 5, iam=number, memory=90.0) for number in range(21)]
    return Seen(clients, samples, cpu=2.0, waited=0.1, emulator=0.2)


def test_a_sidecar_is_admitted_with_its_last_presentation() -> None:
    account = tally()
    assert account.answered(0, 200, approval(), None, at=1.0, took=0.5) is None
    assert account.admitted == []
    assert account.answered(0, 200, approval(), None, at=2.0, took=0.5) is None
    assert account.admitted == [2.0]
    assert account.answered(None, 403, problem("proxy_service_mismatch"), None, at=3.0, took=0.5) is None
    assert (account.left, account.wrong) == (0, 0)
    assert account.impostors == Counter({"proxy_service_mismatch": 1})


def test_after_a_503_it_comes_again_when_it_was_told() -> None:
    account = tally()
    assert account.answered(0, 503, problem("overloaded"), 7.0, at=1.0, took=0.5) == 7.0
    assert account.answered(0, 503, problem("overloaded"), None, at=1.0, took=0.5) == 1.0
    assert (account.left, account.undecided["overloaded"]) == (3, 2)
    assert account.result()["refused_slowest"] == 0.5
    assert account.errors == Counter({"503 without Retry-After": 1})


def test_what_should_not_be_is_counted() -> None:
    account = tally()
    assert account.answered(0, 500, b"", None, at=1.0, took=0.5) == 1.0
    assert account.answered(0, 401, problem("sts_rejected"), None, at=1.0, took=0.5) is None
    account.answered(0, 200, approval(session="task-00001"), None, at=1.0, took=0.5)
    account.answered(None, 200, approval(), None, at=1.0, took=0.5)
    assert account.errors == Counter({"status 500": 1})
    assert account.denied == Counter({"sts_rejected": 1})
    assert account.wrong == 1
    assert account.result()["impostors"] == Counter({"allowed": 1})


def test_the_least_time_is_that_of_the_slower_upstream() -> None:
    bound = Bound(100, 40, sts_rate=50, iam_rate=10)
    assert (bound.sts, bound.iam) == (2.0, 4.0)
    assert bound.of(STORMS["first"]) == 4.0
    assert bound.of(STORMS["prefetch"]) == 2.0
    assert bound.of(STORMS["redis"]) == 0.0


def test_bounds_are_of_the_services_budgets_and_of_awss_quotas() -> None:
    """In a storm, keys that STS has not confirmed may use the whole budget of their account."""
    shape = Shape(accounts=1, roles=60, sidecars=3_000)
    own, aws = own_bound({"KMESH_AWSIAM_STS_RATE": "500", "KMESH_AWSIAM_IAM_RATE": "8"}, shape), quota_bound(shape)
    assert [own.sts, own.iam] == pytest.approx([3_000 / 500, 7.5])
    assert (aws.sts, aws.iam) == (5.0, 6.0)
    assert own_bound({}, shape) == aws


def test_aws_must_answer_all_credentials_within_the_bound() -> None:
    settings = {"KMESH_AWSIAM_STS_RATE": "500", "KMESH_AWSIAM_IAM_RATE": "8"}
    assert rate_needed(STORMS["five-4k"], settings) == pytest.approx(30_000 / 25)
    assert rate_needed(STORMS["known"], settings) == 0.0


def good(**changes: Any) -> Outcome:
    outcome = Outcome(STORM, seen=seen(admitted=[3.0, 4.9]), sts_calls=2, get_role_calls=1, memory=90.0)
    for name, value in changes.items():
        setattr(outcome, name, value)
    return outcome


def broken(outcome: Outcome) -> list[str]:
    return [words for holds, words in promises([outcome], SETTINGS) if not holds]


def test_promises_hold_in_a_good_storm() -> None:
    assert [holds for holds, _ in promises([good()], SETTINGS)] == [True] * 9


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"seen": seen(admitted=[3.0])}, ["1 sidecars never admitted", "not all were admitted"]),
        ({"seen": seen(admitted=[3.0, 5.1])}, ["1.25 times the least of 4.0 s (all admitted after 5.1 s"]),
        ({"seen": seen(admitted=[3.0, 4.0], denied={"sts_rejected": 1})}, ["1 valid sidecars denied"]),
        ({"seen": seen(admitted=[3.0, 4.0], impostors={"allowed": 1})}, ["1 impostors admitted"]),
        ({"seen": seen(admitted=[3.0, 4.0], wrong=1)}, ["1 wrong identities"]),
        ({"seen": seen(admitted=[3.0, 4.0], errors={"status 500": 2})}, ["2 errors"]),
        ({"seen": seen(admitted=[3.0, 4.0], undecided={"overloaded": 9, "sts_unavailable": 3})}, ["3 sts_unavailable"]),
        ({"seen": seen(admitted=[3.0, 4.0], refused_slowest=1.2)}, ["within 1 s (slowest 1.20 s"]),
        ({"memory": 201.0}, ["200 MB of memory (201 MB)"]),
        ({"sts_calls": 3}, ["one STS call a credential (3 for 2)"]),
        ({"get_role_calls": 2}, ["one GetRole a role (2 for 1)"]),
        ({"get_role_calls": 0}, ["one GetRole a role (0 for 1)"]),
        ({"throttled": 1}, ["no throttling is provoked (1 answers"]),
    ],
)
def test_a_broken_promise_is_named(change: dict[str, Any], parts: list[str]) -> None:
    words = broken(good(**change))
    assert len(words) == len(parts)
    assert all(part in sentence for part, sentence in zip(parts, words, strict=True))


@pytest.mark.parametrize("change", [{"gives_up_after": 5.0}, {"comes_again_after": 1.0}])
def test_unruly_callers_may_take_longer(change: dict[str, Any]) -> None:
    storm = replace(STORM, shape=replace(SHAPE, **change))
    assert not broken(good(storm=storm, seen=seen(admitted=[3.0, 5.9])))
    assert broken(good(storm=storm, seen=seen(admitted=[3.0, 6.1])))


def test_of_very_many_callers_that_ignore_retry_after_safety_alone_is_promised() -> None:
    storm = replace(STORM, shape=replace(SHAPE, comes_again_after=1.0, connections=8_000))
    assert not broken(good(storm=storm, seen=seen(admitted=[]), memory=300.0, sts_calls=9))
    assert broken(good(storm=storm, seen=seen(admitted=[], impostors={"allowed": 1})))
    assert broken(good(storm=storm, throttled=1))


def test_over_tls_connections_must_be_reused() -> None:
    cost = HandshakeCost(0.002, 0.0002)
    outcome = good(storm=replace(STORM, shape=replace(SHAPE, tls=True)), calls=100, connections=10, handshake=cost)
    assert not broken(outcome)
    outcome.connections = 11
    assert ["11 handshakes for 100 calls" in words for words in broken(outcome)] == [True]
    assert "2,000 us of the client's processor time with TLS and 200 us without" in details([outcome])[0]


def test_prefetched_roles_may_take_a_call_for_each_page() -> None:
    shape = Shape(accounts=2, roles=800, sidecars=800)
    outcome = good(storm=replace(STORMS["prefetch"], shape=shape), sts_calls=800, get_role_calls=0, page_calls=18)
    outcome.seen = seen(admitted=[1.0] * 800)
    assert not broken(outcome)
    outcome.page_calls = 19
    assert ["a handful of calls to IAM" in words for words in broken(outcome)] == [True]


def test_a_storm_that_was_not_played_promises_nothing() -> None:
    outcome = Outcome(STORMS["redis"], absent="no Redis")
    assert promises([outcome], SETTINGS) == []
    assert " -" in table([outcome], SETTINGS)
    assert details([outcome]) == []


def test_a_storm_for_which_no_time_was_left_is_a_broken_promise() -> None:
    outcome = Outcome(STORM, absent="no time was left", is_late=True)
    assert ["--seconds" in words for words in broken(outcome)] == [True]


def test_the_table_has_a_column_for_each_storm() -> None:
    outcomes = [good(seen=seen(admitted=[3.0, 4.0])), Outcome(STORMS["redis"], absent="no Redis")]
    lines = table(outcomes, SETTINGS).splitlines()
    assert lines[0].split() == ["first", "redis"]
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-2:] for line in lines if line.startswith("all admitted")] == [["4.0", "-"]]


def test_many_storms_take_several_tables() -> None:
    heads = [part.splitlines()[0].split() for part in tables([good()] * (COLUMNS + 1), SETTINGS).split("\n\n")]
    assert [len(head) for head in heads] == [COLUMNS, 1]


def test_plots_are_rates_and_running_numbers() -> None:
    storm = seen(admitted=[2.0, 1.0, 3.0])
    assert admitted_over_time(storm) == [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (3.0, 3.0)]
    assert [rate for _, rate in calls_per_second(storm, "sts")] == pytest.approx([50.0] * 4)
    assert admitted_over_time(seen(admitted=[])) == [(0.0, 0.0)]


def test_each_group_of_storms_has_plots_of_its_own(tmp_path: Path) -> None:
    outcomes = [good(), good(storm=replace(STORMS["one-8k"], shape=SHAPE)), Outcome(STORMS["five-4k"], absent="late")]
    written = {path.name for path in write_plots(outcomes, tmp_path / "plots", SETTINGS)}
    charts = {"admitted.svg", "iam.svg", "sts.svg"}
    assert written == {f"storm-{name}" for name in charts} | {f"storm-one-{name}" for name in charts}
    assert "least by the budgets" in (tmp_path / "plots" / "storm-one-admitted.svg").read_text()


@pytest.mark.parametrize("accounts", [1, 3, 5])
def test_every_account_has_its_share_of_roles_and_sidecars(accounts: int) -> None:
    shape = replace(SMALL, accounts=accounts, roles=2 * accounts)
    world = build_world(shape)
    assert len({sidecar.call for sidecar in make_sidecars(world, shape)}) == 14
    assert all(count_of_roles(world, account) == 2 for account in ACCOUNTS[:accounts])
    assert set(world.accounts()) == set(ACCOUNTS[:accounts])


def test_the_fullest_account_is_the_first_one() -> None:
    assert SMALL.most_in_one_account() == (5, 2)
    assert Shape(accounts=1, roles=200, sidecars=10_000).most_in_one_account() == (10_000, 200)
    assert Shape(accounts=5, roles=1_000, sidecars=3).most_in_one_account() == (1, 1)


def count_of_roles(world: World, account: str) -> int:
    return sum(role.name.startswith("app-") for role in world.roles(account))


def test_an_impostor_presents_anothers_credential_beside_its_own_claim() -> None:
    sidecars = make_sidecars(build_world(SMALL), SMALL)
    for call in make_impostors(sidecars):
        members = json.loads(call)
        own = next(
            one for one in map(json.loads, (s.call for s in sidecars)) if one["credential"] == members["credential"]
        )
        assert own["proxy"]["tags"] != members["proxy"]["tags"]


def test_both_streams_come_together_and_the_third_time_behind_everybodys() -> None:
    setup = {"calls": [str(number) for number in range(50)], "impostors": ["x", "y"]}
    queue = queue_of(setup, [1, 2], random.Random(1))  # noqa: S311
    sidecars = [one for one in queue if one.sidecar is not None]
    assert len(queue) == 50 * 3 + 2
    first, last = sidecars[:100], sidecars[100:]
    assert all(ads.sidecar == hds.sidecar for ads, hds in zip(first[::2], first[1::2], strict=True))
    assert all({ads.port, hds.port} == {1, 2} for ads, hds in zip(first[::2], first[1::2], strict=True))
    assert sorted(one.sidecar or 0 for one in last) == list(range(50))


def test_each_credential_may_be_presented_once() -> None:
    setup = {"calls": [str(number) for number in range(50)], "impostors": []}
    queue = queue_of(setup, [1], random.Random(1), 1)  # noqa: S311
    assert sorted(one.sidecar or 0 for one in queue) == list(range(50))


def test_the_kernel_tells_what_a_process_takes() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(2_000_000))
    assert 0 < cpu_seconds(os.getpid()) - before < 60
    assert memory_mb(os.getpid()) > 1
    assert waiting_seconds(os.getpid()) >= 0
