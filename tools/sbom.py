"""Write the bill of materials of the service in CycloneDX: ``make sbom``.

It joins two bills of cyclonedx-py. The one of the lock file for the image lists each distribution with its version and the
hashes of the files that may be installed. The one of this environment has their licences and what each of them needs;
optional needs count where the lock file has them. The base image's packages are not listed: scan the image for them.

Reproducible: no serial number, and no time unless SOURCE_DATE_EPOCH gives one. The same lock file makes the same bytes.
No address of a registry is in it: a package URL says which distribution it is, and an installer knows where to look.

Usage: python -m tools.sbom [FILE]      (dist/sbom.cdx.json without)
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from app import __version__

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements/runtime.txt"
TARGET: Final = ROOT / "dist/sbom.cdx.json"


class SbomError(Exception):
    """The bill cannot be made; the message is for people."""


def bill(lock: Path) -> dict[str, Any]:
    """Return the bill of a lock file as a JSON object.

    Raises:
        SbomError: what is locked is not installed in that version.
    """
    locked, environment = _bill_of("requirements", str(lock)), _bill_of("environment", sys.executable)
    installed = {each["purl"]: each for each in environment["components"]}
    root = locked["metadata"]["component"] | {"version": __version__}
    purls = {root["bom-ref"]: root["bom-ref"]}
    for component in locked["components"]:
        purl = component["purl"]
        if purl not in installed:
            raise SbomError(f"{purl} is locked and not installed in that version; run make install")
        purls[installed[purl]["bom-ref"]] = component["bom-ref"] = purl
        component |= {key: installed[purl][key] for key in ("description", "licenses")}
        for reference in component["externalReferences"]:
            reference |= {"url": purl, "comment": f"the files that {LOCK.name} admits"}
    for tool in locked["metadata"]["tools"]["components"]:
        tool.pop("externalReferences", None)
    edges = [
        {
            "ref": purls[each["ref"]],
            "dependsOn": sorted(purls[ref] for ref in each.get("dependsOn", ()) if ref in purls),
        }
        for each in environment["dependencies"]
        if each["ref"] in purls
    ]
    locked["metadata"]["component"] = root
    return {key: value for key, value in locked.items() if key != "$schema"} | {"dependencies": edges}


def _bill_of(kind: str, subject: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", kind, "--output-reproducible", "--no-validate", "--sv", "1.6"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), subject]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise SbomError(done.stderr)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def written(content: dict[str, Any]) -> str:
    """Return the bill as text, after its validation.

    Raises:
        SbomError: it breaks the schema.
    """
    # The import takes 2 s, which each of pytest's workers would spend at collection.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SbomError(f"not valid CycloneDX: {error}")
    return text


def main(arguments: list[str]) -> int:
    """Write the bill; return the exit status."""
    target = Path(arguments[0]) if arguments else TARGET
    try:
        content = bill(LOCK)
        text = written(content)
    except SbomError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    print(f"{target.name}: {len(content['components'])} distributions, {len(text) // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
