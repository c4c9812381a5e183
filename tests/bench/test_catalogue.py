import pytest

from bench.storm.catalogue import STORMS, chosen, with_needed
from bench.storm.options import changes_of, read_options
from bench.storm.promises import own_bound
from bench.storm.shape import Shape

DEFAULTS = {"KMESH_AWSIAM_STS_RATE": "500", "KMESH_AWSIAM_IAM_RATE": "8"}


def names(words: list[str]) -> list[str]:
    options = read_options(words, "")
    return [storm.name for storm in chosen(options.only, everything=options.all, changes=changes_of(options))]


def shapes(words: list[str]) -> set[Shape]:
    options = read_options(words, "")
    return {storm.shape for storm in chosen(options.only, everything=options.all, changes=changes_of(options))}


def test_a_storm_that_is_asked_for_brings_those_that_it_needs() -> None:
    assert set(with_needed(["redis", "restart"])) == {"pair", "redis", "restart"}
    assert with_needed(STORMS) == list(STORMS)


def test_a_storm_comes_behind_those_that_it_needs() -> None:
    order = list(STORMS)
    assert all(order.index(needed) < order.index(name) for name, storm in STORMS.items() for needed in storm.needs)


def test_the_matrix_holds_each_world_with_each_number_of_connections() -> None:
    """A world is a number of accounts, of roles and of sidecars, and how often each sidecar presents its credential."""
    worlds = {(s.accounts, s.roles, s.sidecars, s.presentations) for s in shapes(["--all"])}
    assert worlds == {(1, 200, 10_000, 3), (3, 200, 10_000, 3), (5, 1_000, 30_000, 1)}
    for world in ("one", "three", "five"):
        for short, connections in {"1k": 1_000, "4k": 4_000, "8k": 8_000}.items():
            assert STORMS[f"{world}-{short}"].shape.connections == connections
            assert STORMS[f"{world}-{short}-quits"].shape.gives_up_after == 5.0
        assert STORMS[f"{world}-4k-rude"].shape.comes_again_after == 1.0
        assert not STORMS[f"{world}-4k-rude"].shape.is_reported_only
        assert STORMS[f"{world}-8k-rude"].shape.is_reported_only
        assert STORMS[f"{world}-4k-tls"].shape.tls


@pytest.mark.parametrize(("name", "seconds"), [("one-4k", 25.0), ("three-4k", 67 / 8), ("five-4k", 25.0)])
def test_the_bounds_of_the_matrix_are_those_of_the_fullest_account(name: str, seconds: float) -> None:
    storm = STORMS[name]
    assert own_bound(DEFAULTS, storm.shape).of(storm) == pytest.approx(seconds)


def test_the_usual_storms_end_within_six_minutes() -> None:
    """The sum of their bounds and of some seconds for each start and stop."""
    usual = [STORMS[name] for name in names([])]
    seconds = sum(own_bound(DEFAULTS, s.shape).of(s) * s.shape.most_ratio + 8 for s in usual)
    assert seconds < read_options([], "").seconds == 360


def test_options_of_the_shape_alone_change_the_restarts() -> None:
    assert names(["--sidecars", "500"]) == [name for name, storm in STORMS.items() if storm.group == "restart"]
    assert shapes(["--sidecars", "500", "--accounts", "5", "--tls"]) == {Shape(sidecars=500, accounts=5, tls=True)}


def test_options_of_the_shape_change_the_storms_that_are_asked_for() -> None:
    words = [
        "--only",
        "one-8k",
        "--roles",
        "40",
        "--presentations",
        "1",
        "--gives-up-after",
        "2",
        "--comes-again-after",
        "1",
    ]
    expected = Shape(accounts=1, roles=40, presentations=1, connections=8_000, gives_up_after=2, comes_again_after=1)
    assert shapes(words) == {expected}


def test_a_storm_with_another_shape_is_described_by_it() -> None:
    (usual,) = chosen(["one-4k"], everything=False, changes={})
    (changed,) = chosen(["one-4k"], everything=False, changes={"roles": 7})
    assert usual.described() == "one account, 4,000 connections"
    assert changed.described() == "10,000 x 3, 7 roles, 1 account, 4,000 connections (fresh)"


@pytest.mark.parametrize(
    "words",
    [
        ["--accounts", "0"],
        ["--accounts", "6"],
        ["--presentations", "2"],
        ["--roles", "0"],
        ["--gives-up-after", "0"],
        ["--comes-again-after", "inf"],
        ["--only", "none"],
        ["--all", "--only", "first"],
    ],
)
def test_a_wrong_option_ends_the_command(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(words, "")


def test_the_help_lists_every_storm(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--help"], "")
    told = capsys.readouterr().out
    assert all(f" {name} " in told for name in STORMS)
