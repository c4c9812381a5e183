"""The README's path to a proxy with a stock Kuma: its four commands run unchanged, one after the other.

In the places of ``kuma-cp`` and ``kuma-dp`` are programs that keep their arguments; Kuma's rules for tokens are those of
`demos.kuma.validator`. tests/kuma/test_readme.py runs the same commands with a real Kuma.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from demos.kuma.validator import DataplaneResource, KumaValidator
from tests.support.readme import ROLE, STEPS, Host, write_program
from tests.support.world import Aws

KEEPS_ITS_ARGUMENTS: Final = """#!{python}
import json, pathlib, sys
here = pathlib.Path("{folder}") / (pathlib.Path(sys.argv[0]).name + ".json")
here.write_text(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a ``kuma-cp`` and a ``kuma-dp`` that keep their arguments."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("kuma-cp", "kuma-dp"):
        write_program(folder / name, KEEPS_ITS_ARGUMENTS.format(python=sys.executable, folder=folder))
    return folder


def arguments(programs: Path, program: str) -> list[str]:
    """Return the arguments with which a step called one of Kuma's programs."""
    found: list[str] = json.loads((programs / f"{program}.json").read_text())
    return found


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def dataplane(text: str) -> DataplaneResource:
    resource: dict[str, Any] = yaml.safe_load(text)
    return DataplaneResource(mesh=resource["mesh"], name=resource["name"], labels=resource["labels"])


def test_the_steps_lead_from_no_key_to_a_proxy_that_a_stock_control_plane_accepts(
    aws: Aws, tmp_path: Path, programs: Path
) -> None:
    host = Host(tmp_path, aws, programs)
    host.ended("keys")
    with host.step("service") as service:
        service.wait_for('"listening"')
        host.ended("control plane")
        host.ended("proxy", role=ROLE)
    configuration = option(arguments(programs, "kuma-cp"), "--config-file")
    control_plane = KumaValidator(yaml.safe_load((tmp_path / configuration).read_text()), has_only_labels=True)
    proxy = arguments(programs, "kuma-dp")
    token = (tmp_path / option(proxy, "--dataplane-token-file")).read_text()
    resource = dataplane((tmp_path / option(proxy, "--dataplane-file")).read_text())
    control_plane.check_dataplane(token, resource, time.time())


def test_every_step_of_the_readme_is_run_here() -> None:
    assert list(STEPS) == ["keys", "service", "control plane", "proxy"]
