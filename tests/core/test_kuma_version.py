import pytest

from app.core.kuma_version import LABELS_ONLY, VERSION_RULE, KumaVersion, parse_kuma_version


@pytest.mark.parametrize(
    ("text", "version"), [("3.0", (3, 0)), ("3.0.1", (3, 0)), ("2.14", (2, 14)), ("2.7.29", (2, 7)), ("10.2", (10, 2))]
)
def test_a_version_is_read_without_its_patch(text: str, version: tuple[int, int]) -> None:
    assert parse_kuma_version(text) == KumaVersion(*version)


@pytest.mark.parametrize("text", ["", "3", "3.", "v3.0", "3.0-rc1", "3.0.1.2", " 3.0", "3.0\n", "three", "٣.0"])
def test_another_text_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="such as") as raised:
        parse_kuma_version(text)
    assert str(raised.value) == VERSION_RULE


def test_versions_are_compared_by_their_numbers() -> None:
    assert parse_kuma_version("2.14.3") < LABELS_ONLY <= parse_kuma_version("3.0.1")
    assert str(LABELS_ONLY) == "Kuma 3.0"
