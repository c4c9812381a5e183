"""The command line as a whole: its commands, and its exit status for invalid usage."""

import sys

import pytest

from app import __version__
from app.cli import LazyCommands, main
from tests.cli.conftest import Invoke
from tests.support.process import run_cold, run_program

COMMANDS = [
    "agent",
    "authenticate",
    "check-config",
    "controller",
    "credential",
    "demo",
    "doctor",
    "emulator",
    "explain-role",
    "health",
    "keys",
    "preview",
    "serve",
]


def test_the_commands_are_those_of_the_contract() -> None:
    assert sorted(main.commands) == COMMANDS


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_every_command_and_the_exit_statuses(invoke: Invoke, word: str) -> None:
    result = invoke(word)
    assert result.exit_code == 0
    assert all(f"  {command} " in result.output for command in COMMANDS)
    assert "0 done or allowed, 1 denied or failed, 2 usage or settings" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_option(invoke: Invoke, command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    for parameter in main.commands[command].params:
        assert parameter.opts[0] in result.output
        assert getattr(parameter, "help", None)
    assert main.commands[command].short_help


def test_a_command_is_loaded_when_it_is_asked_for() -> None:
    script = "import sys, app.cli; print(*sorted(name for name in sys.modules if name.startswith('app.')))"
    assert run_program(sys.executable, "-c", script).out.split() == ["app.cli"]


def test_a_command_can_be_added_and_taken_away() -> None:
    commands = LazyCommands()
    assert (len(commands), commands["health"].name) == (len(COMMANDS), "health")
    commands["more"] = commands["health"]
    assert [*commands][-1] == "more"
    del commands["more"]
    assert "more" not in commands


@pytest.mark.parametrize(
    "arguments",
    [[], ["frobnicate"], ["--frobnicate"], ["serve", "--frobnicate"], ["health", "more"]],
    ids=["nothing", "no-command", "no-option", "no-option-of-it", "an-argument"],
)
def test_usage_errors_end_with_2(invoke: Invoke, arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_the_version_is_told(invoke: Invoke) -> None:
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"kuma-aws-iam, version {__version__}\n")


def test_the_module_is_the_command() -> None:
    assert run_cold("--version").out == f"kuma-aws-iam, version {__version__}\n"


def test_the_command_line_does_not_load_the_service() -> None:
    """Commands run every few minutes beside every proxy. Importing FastAPI and uvicorn would triple their start time."""
    script = (
        "import sys, app.cli; print(sorted({'fastapi', 'uvicorn', 'aiohttp', 'moto', 'awscli'} & set(sys.modules)))"
    )
    assert run_program(sys.executable, "-c", script).out == "[]\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])  # for bash, click runs the installed bash to find its version
def test_a_shell_completes_commands_options_and_values(shell: str) -> None:
    assert "kuma-aws-iam" in run_cold(_KUMA_AWS_IAM_COMPLETE=f"{shell}_source").out
    for words, last, expected in (
        ("kuma-aws-iam ag", "ag", "agent"),
        ("kuma-aws-iam agent --dataplane-f", "--dataplane-f", "--dataplane-file"),
        ("kuma-aws-iam keys generate --kind b", "b", "both"),
    ):
        position = str(words.count(" ")) if shell == "zsh" else last
        done = run_cold(_KUMA_AWS_IAM_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=position)
        assert expected in done.out, done.err
