"""Record what common signers make of sts:GetCallerIdentity: `make recordings`. README.md explains.

The tools sign by themselves, with this machine's clock and made-up credentials. Nothing of theirs is patched; what is
added to a request is added through their own event hooks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

import by_awscli
import by_boto3
import by_botocore
import by_hvac
import by_others
from capture import clean_environment
from recording import CREDENTIALS, json_file

HERE = Path(__file__).parent
DATA = HERE / "data"
TOOLS = (by_awscli, by_boto3, by_botocore, by_hvac, by_others)


def main() -> None:
    """Write every recording anew, and the credentials that verify them."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # start again in a clean environment
        with tempfile.TemporaryDirectory() as folder:
            everything = {**clean_environment(), **by_others.build(Path(folder))}
            subprocess.run([sys.executable, __file__], env=everything, check=True)  # noqa: S603 - this very script
        return
    recordings = list(chain.from_iterable(tool.recordings() for tool in TOOLS))
    DATA.mkdir(exist_ok=True)
    recorded = {recording.tool for recording in recordings}
    for old in DATA.glob("*.json"):
        if json.loads(old.read_text())["tool"] in recorded:
            old.unlink()
    for recording in recordings:
        (DATA / f"{recording.case}.json").write_text(recording.to_json())
    (HERE / "credentials.json").write_text(json_file({name.lower(): value for name, value in CREDENTIALS.items()}))
    sys.stdout.write(f"{len(recordings)} recordings\n")


if __name__ == "__main__":
    main()
