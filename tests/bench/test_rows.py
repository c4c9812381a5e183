import math

import pytest

from bench.load import Load
from bench.rows import HEAD, Row, line_of, percentile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 6), (0.89, 9), (0.99, 10), (1.0, 10)])
def test_a_percentile_is_a_value_of_the_sequence(share: float, expected: int) -> None:
    assert percentile(list(range(1, 11)), share) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_row_shows_medians_and_ratios_of_processor_time() -> None:
    trivial, go, service = Row("trivial"), Row("go"), Row("service")
    service.rival = go
    for seconds in (1.0, 2.0, 9.0):
        trivial.add(1000, 0.01 * seconds, 1.0)
        go.add(1000, 0.02 * seconds, 1.0)
        service.add(1000, 0.04 * seconds, seconds, Load(seconds, [0.001] * 98 + [0.005] * 2, {200: 100}))
    service.memory = 90.0
    words = line_of(service, trivial).split()
    assert words == ["service", "80.0", "0.25", "0.50", "500", "1.00", "5.00", "90.0"]
    assert len(line_of(service, trivial)) == len(HEAD)


def test_a_load_insists_on_its_status() -> None:
    Load(1.0, [0.1], {200: 1}).require(200)
    with pytest.raises(SystemExit, match="503"):
        Load(1.0, [0.1, 0.1], {200: 1, 503: 1}).require(200)
