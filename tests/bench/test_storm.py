import json
import os
import random
from collections import Counter
from typing import Any

import pytest

from app.emulator.world import World
from bench.processes import cpu_seconds, memory_mb, waiting_seconds
from bench.storm.clients import PRESENTATIONS, queue_of
from bench.storm.plots import admitted_over_time, calls_per_second
from bench.storm.promises import Bound, bounds_of, promises
from bench.storm.report import details, table
from bench.storm.sampler import Sample
from bench.storm.scenarios import NAMES, Outcome, with_needed
from bench.storm.stage import Seen
from bench.storm.tally import Tally
from bench.storm.world import ACCOUNTS, build_world, make_impostors, make_sidecars, most_in_one_account

BOUND = Bound(100, 40, sts_rate=50, iam_rate=10)


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
    assert (BOUND.sts, BOUND.iam) == (2.0, 4.0)
    assert BOUND.of(Outcome("first", "")) == 4.0
    assert BOUND.of(Outcome("prefetch", "", cached=True)) == 2.0
    assert BOUND.of(Outcome("redis", "", cached=True)) == 0.0


def test_bounds_are_of_the_services_budgets_and_of_awss_quotas() -> None:
    own, aws = bounds_of({"KMESH_AWSIAM_STS_RATE": "500", "KMESH_AWSIAM_IAM_RATE": "8"}, 3000, 60)
    assert (own.sts, own.iam) == (6.0, 7.5)
    assert (aws.sts, aws.iam) == (5.0, 6.0)
    assert bounds_of({}, 3000, 60)[0] == aws


def test_promises_hold_in_a_good_storm() -> None:
    outcome = Outcome("first", "", seen=seen(admitted=[3.0, 4.9]), sts_calls=2, get_role_calls=1)
    assert [holds for holds, _ in promises([outcome], BOUND, 2, 1)] == [True] * 5


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"seen": seen(admitted=[3.0])}, ["every sidecar is admitted", "1.25 times"]),
        ({"seen": seen(admitted=[3.0, 5.1])}, ["1.25 times"]),
        ({"seen": seen(admitted=[3.0, 4.0], denied={"sts_rejected": 1})}, ["every sidecar is admitted"]),
        ({"seen": seen(admitted=[3.0, 4.0], impostors={"allowed": 1})}, ["nobody else"]),
        ({"seen": seen(admitted=[3.0, 4.0], wrong=1)}, ["wrong identities"]),
        ({"sts_calls": 3}, ["one STS call a credential"]),
        ({"get_role_calls": 2}, ["one GetRole a role"]),
        ({"throttled": 1}, ["no throttling"]),
    ],
)
def test_a_broken_promise_is_named(change: dict[str, Any], broken: list[str]) -> None:
    outcome = Outcome("first", "", seen=seen(admitted=[3.0, 4.0]), sts_calls=2, get_role_calls=1)
    for name, value in change.items():
        setattr(outcome, name, value)
    words = [words for holds, words in promises([outcome], BOUND, 2, 1) if not holds]
    assert len(words) == len(broken)
    assert all(part in sentence for part, sentence in zip(broken, words, strict=True))


def test_a_storm_that_was_not_played_promises_nothing() -> None:
    outcome = Outcome("redis", "", absent="no Redis")
    assert promises([outcome], BOUND, 2, 1) == []
    assert " -" in table([outcome], BOUND, BOUND, 2)
    assert details([outcome]) == []


def test_a_storm_that_is_asked_for_brings_those_that_it_needs() -> None:
    assert with_needed(["redis", "restart"]) == {"pair", "redis", "restart"}
    assert with_needed(NAMES) == set(NAMES)


def test_the_table_has_a_column_for_each_storm() -> None:
    outcomes = [Outcome("first", "", seen=seen(admitted=[3.0, 4.0])), Outcome("redis", "", absent="no Redis")]
    lines = table(outcomes, BOUND, BOUND, 2).splitlines()
    assert lines[0].split() == ["first", "redis"]
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-2:] for line in lines if line.startswith("all admitted")] == [["4.0", "-"]]


def test_plots_are_rates_and_running_numbers() -> None:
    storm = seen(admitted=[2.0, 1.0, 3.0])
    assert admitted_over_time(storm) == [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (3.0, 3.0)]
    assert [rate for _, rate in calls_per_second(storm, "sts")] == pytest.approx([50.0] * 4)
    assert admitted_over_time(seen(admitted=[])) == [(0.0, 0.0)]


def test_every_account_has_its_share_of_roles_and_sidecars() -> None:
    world = build_world(6)
    sidecars = make_sidecars(world, 14, 6)
    assert len({sidecar.call for sidecar in sidecars}) == 14
    assert most_in_one_account(14, 6) == (5, 2)
    assert all(count_of_roles(world, account) == 2 for account in ACCOUNTS)


def count_of_roles(world: World, account: str) -> int:
    return sum(role.name.startswith("app-") for role in world.roles(account))


def test_an_impostor_presents_anothers_credential_beside_its_own_claim() -> None:
    sidecars = make_sidecars(build_world(6), 14, 6)
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
    assert len(queue) == 50 * PRESENTATIONS + 2
    first, last = sidecars[:100], sidecars[100:]
    assert all(ads.sidecar == hds.sidecar for ads, hds in zip(first[::2], first[1::2], strict=True))
    assert all({ads.port, hds.port} == {1, 2} for ads, hds in zip(first[::2], first[1::2], strict=True))
    assert sorted(one.sidecar or 0 for one in last) == list(range(50))


def test_the_kernel_tells_what_a_process_takes() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(2_000_000))
    assert 0 < cpu_seconds(os.getpid()) - before < 60
    assert memory_mb(os.getpid()) > 1
    assert waiting_seconds(os.getpid()) >= 0
