from xml.etree import ElementTree as ET

import pytest

from bench.svg import HEIGHT, WIDTH, Series, line_chart, ticks

NAMESPACE = "{http://www.w3.org/2000/svg}"
CHART = line_chart(
    "a < b & c",
    "seconds",
    "calls a second",
    [Series("one", [(0, 0), (5, 50), (10, 100)]), Series("bound", [(0, 80), (10, 80)], dashed=True)],
)


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def lines() -> list[ET.Element]:
    return list(parse(CHART).iter(f"{NAMESPACE}polyline"))


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_axes_are_labelled_and_text_is_escaped() -> None:
    texts = [element.text for element in parse(CHART).iter(f"{NAMESPACE}text")]
    assert {"a < b & c", "seconds", "calls a second", "one", "bound"} <= set(texts)


def test_points_grow_to_the_right_and_upwards_within_the_picture() -> None:
    line = points(lines()[0])
    assert line == sorted(line, key=lambda point: (point[0], -point[1]))
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in line)
    assert line[1] == pytest.approx(((line[0][0] + line[2][0]) / 2, (line[0][1] + line[2][1]) / 2))


def test_a_bound_is_dashed_and_a_measured_line_is_not() -> None:
    assert ["stroke-dasharray" in line.attrib for line in lines()] == [False, True]


def test_it_is_readable_on_a_dark_page() -> None:
    assert "prefers-color-scheme:dark" in CHART


def test_an_empty_chart_is_a_picture_all_the_same() -> None:
    parse(line_chart("nothing", "x", "y", []))
    parse(line_chart("nothing", "x", "y", [Series("flat", [(0, 0), (1, 0)])]))


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (10_000, list(range(0, 10_001, 2_000))),
        (31.8, [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round_and_reach_the_most(most: float, expected: list[float]) -> None:
    assert ticks(most) == pytest.approx(expected)
