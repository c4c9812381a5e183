import shutil
from pathlib import Path

import pytest

from app.emulator import Emulator
from bench import golang
from bench.service import NotThereError, effective_settings, service_environment, without_unknown


def test_effective_settings_are_the_services_own() -> None:
    settings = effective_settings(service_environment(Emulator(), 5690))
    assert settings["KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"] == "111122223333"
    assert settings["KMESH_AWSIAM_LISTEN"] == "127.0.0.1:5690"


def test_a_variable_that_the_service_does_not_know_is_left_out() -> None:
    environment = service_environment(Emulator(), 5690)
    with pytest.raises(NotThereError, match="KMESH_AWSIAM_TELEPATHY"):
        effective_settings({**environment, "KMESH_AWSIAM_TELEPATHY": "1"})
    wanted = {"KMESH_AWSIAM_TELEPATHY": "1", "KMESH_AWSIAM_DECISION_TIMEOUT": "5"}
    assert without_unknown(environment, wanted) == {"KMESH_AWSIAM_DECISION_TIMEOUT": "5"}


def test_another_problem_of_the_environment_is_shown() -> None:
    with pytest.raises(SystemExit, match="KMESH_AWSIAM_DECISION_TIMEOUT"):
        effective_settings({**service_environment(Emulator(), 5690), "KMESH_AWSIAM_DECISION_TIMEOUT": "never"})


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go toolchain")
def test_the_go_equivalent_builds(tmp_path: Path) -> None:
    program = golang.build(str(tmp_path))
    assert program is not None
    assert Path(program).is_file()
