"""``tools/lock_file.py`` refuses a lock file unless it pins each distribution to one version and by hash."""

from pathlib import Path

import pytest

from tools.lock_file import LockFileError, pins_of

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_pin_has_a_canonical_name_a_version_its_hashes_and_when_it_holds(tmp_path: Path) -> None:
    lock = write(
        tmp_path / "lock.txt",
        "# made by a tool\n\nSome.Name==1.2 ; sys_platform == 'nowhere' \\\n"
        "    --hash=sha256:bb \\\n    --hash=sha256:aa\nother==3 --hash=sha256:cc\n",
    )
    some, other = pins_of(lock)
    assert (some.name, some.version, some.hashes, some.holds_here) == ("some-name", "1.2", ("aa", "bb"), False)
    assert (other.name, other.version, other.hashes, other.holds_here) == ("other", "3", ("cc",), True)


@pytest.mark.parametrize(
    "line",
    [
        "name==1",
        "name>=1 --hash=sha256:aa",
        "name==1,<2 --hash=sha256:aa",
        "name --hash=sha256:aa",
        "--index-url file:///x",
        "-r other.txt",
        "./folder --hash=sha256:aa",
    ],
)
def test_what_pins_nothing_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(LockFileError):
        pins_of(write(tmp_path / "lock.txt", f"{line}\n"))


@pytest.mark.parametrize("name", ["runtime", "otel", "build", "dev", "installer", "fuzz", "envoy", "browser"])
def test_every_lock_file_of_this_repository_pins_by_hash_and_names_no_address(name: str) -> None:
    path = ROOT / f"requirements/{name}.txt"
    assert pins_of(path)
    assert "://" not in path.read_text("utf-8")


@pytest.mark.parametrize("name", ["runtime", "otel", "build"])
def test_what_the_image_has_is_what_was_tested(name: str) -> None:
    tested = {(pin.name, pin.version): pin.hashes for pin in pins_of(ROOT / "requirements/dev.txt")}
    for pin in pins_of(ROOT / f"requirements/{name}.txt"):
        assert tested[pin.name, pin.version] == pin.hashes
