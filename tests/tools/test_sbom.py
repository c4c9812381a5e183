"""``make sbom``: the bill of materials lists the whole lock file, is valid and reproducible, and has no address."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from tests.support.json_schema import import_formats
from tools import sbom

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    import_formats()
    target = tmp_path_factory.mktemp("dist") / "deeper/sbom.cdx.json"
    assert sbom.main([str(target)]) == 0
    return target.read_text("utf-8")


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_it_is_valid_and_other_tools_can_read_it(text: str, bill: dict[str, Any]) -> None:
    # The import takes 2 s, which each of pytest's workers would spend at collection.
    from cyclonedx.model.bom import Bom  # noqa: PLC0415
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert len(Bom.from_json(bill).components) == len(bill["components"])  # type: ignore[attr-defined]


def test_every_pinned_distribution_is_in_it_with_its_version_and_every_hash(bill: dict[str, Any]) -> None:
    """The test reads the lock file with two patterns, independently of the code that makes the bill."""
    lock = (ROOT / "requirements/runtime.txt").read_text("utf-8")
    pinned = {
        (name, version): set(re.findall(r"sha256:([0-9a-f]{64})", rest))
        for name, version, rest in re.findall(r"^([a-z0-9-]+)==(\S+)((?:.*\\\n)*.*)$", lock, re.MULTILINE)
    }
    assert len(pinned) == sum(line[0] not in " #" for line in lock.splitlines())
    listed = {
        (each["name"], each["version"]): {
            content["content"]
            for reference in each["externalReferences"]
            for content in reference["hashes"]
            if content["alg"] == "SHA-256"
        }
        for each in bill["components"]
    }
    assert listed == pinned
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in bill["components"])


def test_the_project_itself_is_what_it_describes(bill: dict[str, Any]) -> None:
    component = bill["metadata"]["component"]
    assert (component["name"], component["version"]) == ("kuma-aws-iam", __version__)
    assert component["licenses"] == [{"license": {"acknowledgement": "declared", "id": "Apache-2.0"}}]


def test_everything_is_there_for_a_reason_and_has_a_licence(bill: dict[str, Any]) -> None:
    edges = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    reached: set[str] = set()
    waiting = [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert reached == set(edges)
    assert set(edges) - {each["bom-ref"] for each in bill["components"]} == {bill["metadata"]["component"]["bom-ref"]}
    assert all(each["licenses"] for each in bill["components"])


def test_it_is_the_same_each_time(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert sbom.main([str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "again.json").read_text("utf-8") == text


def test_it_has_a_time_only_when_it_is_given_one(bill: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {"serialNumber"} & set(bill)
    assert "timestamp" not in bill["metadata"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert sbom.bill(sbom.LOCK)["metadata"]["timestamp"] == "2027-01-15T08:00:00+00:00"


def test_no_address_and_no_path_of_a_machine_is_in_it(text: str) -> None:
    assert "://" not in text
    assert str(ROOT) not in text


def test_what_is_installed_in_another_version_is_not_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    monkeypatch.setattr(sbom, "LOCK", lock)
    lock.write_text(f"certifi==1 --hash=sha256:{'a' * 64}\n")
    assert sbom.main([str(tmp_path / "out")]) == 1
    assert "pkg:pypi/certifi@1 is locked and not installed in that version" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bill_that_breaks_the_schema_is_not_written(text: str) -> None:
    content = json.loads(text)
    content["components"][0]["type"] = "thing"
    with pytest.raises(sbom.SbomError, match="not valid CycloneDX"):
        sbom.written(content)
