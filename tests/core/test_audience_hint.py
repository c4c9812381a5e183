"""The audience hint is one printable header value, or it is ignored."""

import pytest

from app.core.audience_hint import AUDIENCE_HINT_HEADER, MAX_HINT_CHARS, read_audience_hint
from app.settings.values import parse_audience

NAME = AUDIENCE_HINT_HEADER.lower().encode()
OTHER = (b"x-other", b"other")
LONGEST = "a" * MAX_HINT_CHARS


@pytest.mark.parametrize("audience", ["prod", "a b", "!", "~", LONGEST])
def test_an_audience_is_a_hint(audience: str) -> None:
    """Every audience that the setting accepts can be sent."""
    assert parse_audience(audience) == audience
    assert read_audience_hint([OTHER, (NAME, audience.encode()), OTHER]) == audience


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="empty"),
        pytest.param([LONGEST.encode() + b"a"], id="too-long"),
        pytest.param(["pröd".encode()], id="not-ascii"),
        pytest.param([b"prod\x7f"], id="control-character"),
        pytest.param([b"prod\n"], id="newline"),
        pytest.param([b"\x1b[31mprod"], id="escape"),
        pytest.param([b"prod", b"prod"], id="two"),
    ],
)
def test_anything_else_is_ignored(values: list[bytes]) -> None:
    assert read_audience_hint([(NAME, value) for value in values]) is None
