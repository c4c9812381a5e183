"""Write the bill of materials of the service in CycloneDX: ``make sbom``.

What is listed is what the lock file for the image names: each distribution with its version, the hashes of the files that
may be installed for it, its licence, and what it brings along. Licences and edges come from the metadata of the installed
distributions, which must be those that are locked. The base image's packages are not listed: scan the image for them.

Reproducible: no serial number, and no time unless SOURCE_DATE_EPOCH gives one. The same lock file makes the same bytes.
No address of a registry is in it: a package URL says which distribution it is, and an installer knows where to look.

Usage: python -m tools.sbom [FILE]      (dist/sbom.cdx.json without)
"""

import importlib.metadata
import json
import os
import sys
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app import __version__
from tools.lock_file import LockFileError, Pin, pins_of

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements/runtime.txt"
TARGET: Final = ROOT / "dist/sbom.cdx.json"
SPECIFICATION: Final = SchemaVersion.V1_6

_LICENCE_CLASSIFIER: Final = "License :: OSI Approved :: "


class SbomError(Exception):
    """No bill can be made; the message is for people."""


def purl(pin: Pin) -> str:
    """Return the package URL of a distribution."""
    return f"pkg:pypi/{pin.name}@{pin.version}"


def bill(lock: Path) -> dict[str, Any]:
    """Return the bill as JSON holds it.

    Raises:
        SbomError: what is locked is not what is installed.
        LockFileError: the lock file pins something badly.
    """
    pins = {pin.name: pin for pin in pins_of(lock)}
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    root = f"pkg:generic/{project['name']}@{__version__}"
    # The image has every extra.
    extras = (each for extra in project["optional-dependencies"].values() for each in extra)
    edges = {root: _edges([*project["dependencies"], *extras], pins)}
    components = []
    for pin in pins.values():
        metadata = _installed(pin)
        components.append(_component(pin, metadata))
        edges[purl(pin)] = _edges(metadata.get_all("Requires-Dist") or (), pins)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION.to_version(),
        "version": 1,
        "metadata": {
            **_time(),
            "tools": {"components": [{"type": "application", "name": "tools/sbom.py", "version": __version__}]},
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": __version__,
                "description": project["description"],
                "licenses": [{"expression": project["license"]}],
                "purl": root,
            },
            "properties": [{"name": "cdx:reproducible", "value": "true"}],
        },
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": edges[ref]} for ref in sorted(edges)],
    }


def _time() -> dict[str, str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return {"timestamp": datetime.fromtimestamp(int(epoch), UTC).isoformat()} if epoch else {}


def _installed(pin: Pin) -> importlib.metadata.PackageMetadata:
    try:
        found = importlib.metadata.distribution(pin.name)
    except importlib.metadata.PackageNotFoundError:
        raise SbomError(f"{pin.name} is locked and not installed; run make install") from None
    if found.version != pin.version:
        raise SbomError(f"{pin.name} is locked at {pin.version} and installed at {found.version}; run make install")
    return found.metadata


def _component(pin: Pin, metadata: importlib.metadata.PackageMetadata) -> dict[str, Any]:
    component = {
        "type": "library",
        "bom-ref": purl(pin),
        "name": pin.name,
        "version": pin.version,
        "scope": "required",
        "licenses": _licences(metadata),
        "purl": purl(pin),
        # Hashes of a component would be those of one file; these are of all files that the lock file admits.
        "externalReferences": [
            {
                "type": "distribution",
                "url": purl(pin),
                "comment": "the files that requirements/runtime.txt admits",
                "hashes": [{"alg": "SHA-256", "content": content} for content in pin.hashes],
            }
        ],
    }
    if pin.marker:
        component["properties"] = [{"name": "kuma-aws-iam:required-when", "value": str(pin.marker)}]
    return component


def _licences(metadata: importlib.metadata.PackageMetadata) -> list[dict[str, Any]]:
    if expression := _field(metadata, "License-Expression"):
        return [{"expression": expression}]
    classifiers = metadata.get_all("Classifier") or []
    names = [name.removeprefix(_LICENCE_CLASSIFIER) for name in classifiers if name.startswith(_LICENCE_CLASSIFIER)]
    return [{"license": {"name": name}} for name in names or _field(metadata, "License").splitlines()[:1]]


def _field(metadata: importlib.metadata.PackageMetadata, name: str) -> str:
    return next(iter(metadata.get_all(name) or ()), "")


def _edges(requirements: Iterable[str], pins: dict[str, Pin]) -> list[str]:
    """Return what is locked of what is required, on any system; extras are nobody's requirement by themselves."""
    parsed = [Requirement(text) for text in requirements]
    names = {canonicalize_name(each.name) for each in parsed if "extra" not in str(each.marker)}
    return sorted(purl(pins[name]) for name in names if name in pins)


def written(content: dict[str, Any]) -> str:
    """Return the bill as text, once it is found to be valid.

    Raises:
        SbomError: it breaks the schema.
    """
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if error := JsonStrictValidator(SPECIFICATION).validate_str(text):
        raise SbomError(f"not valid CycloneDX: {error}")
    return text


def main(arguments: list[str]) -> int:
    """Write the bill; return the exit status."""
    target = Path(arguments[0]) if arguments else TARGET
    try:
        content = bill(LOCK)
        text = written(content)
    except (SbomError, LockFileError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    hashes = sum(len(each["externalReferences"][0]["hashes"]) for each in content["components"])
    print(f"{target.name}: {len(content['components'])} distributions, {hashes} hashes, {len(text) // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
