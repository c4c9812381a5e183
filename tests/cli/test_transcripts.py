"""The transcripts of docs/how-to/check-a-deployment.md: each command runs again, in the environment that the page sets."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

from app.emulator import Emulator
from tests.cli.conftest import Invoke
from tests.support.process import ROOT, free_address

PAGE: Final = ROOT / "docs" / "how-to" / "check-a-deployment.md"
# The page's addresses. Those of the test have as many characters, so no line breaks elsewhere.
AWS: Final = "127.0.0.1:14599"
LISTEN: Final = "127.0.0.1:15690"
_BLOCK: Final = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_ROLE_ID: Final = re.compile(r"AROA[A-Z2-7]{17}")


def transcripts() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each command with its output, and the variables that the page has set by then."""
    variables: dict[str, str] = {}
    for block in _BLOCK.finditer(PAGE.read_text("utf-8")):
        if block["kind"] == "sh":
            words = shlex.split(block["text"], comments=True)
            variables |= dict(word.split("=", 1) for word in words if word != "export")
        elif block["text"].startswith("$ kuma-aws-iam "):
            command, _, output = block["text"].partition("\n")
            yield command, output, dict(variables)


TRANSCRIPTS: Final = [*transcripts()]


@pytest.mark.parametrize(
    ("command", "output", "variables"),
    TRANSCRIPTS,
    ids=[f"{number} {command}" for number, (command, _, _) in enumerate(TRANSCRIPTS, start=1)],
)
def test_a_transcript_is_what_the_command_prints(
    invoke: Invoke, command: str, output: str, variables: dict[str, str]
) -> None:
    with Emulator() as emulator:
        aws, listen = emulator.url.removeprefix("http://"), free_address()
        assert len(aws) == len(AWS)
        given = {name: value.replace(AWS, aws).replace(LISTEN, listen) for name, value in variables.items()}
        printed = invoke(*shlex.split(command)[2:], **given).output.replace(aws, AWS).replace(listen, LISTEN)
    printed = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    wanted = "".join(map(_pattern_of, _ROLE_ID.sub("AROA", output).splitlines(keepends=True)))
    assert re.fullmatch(wanted, _ROLE_ID.sub("AROA", printed)), printed


def _pattern_of(line: str) -> str:
    """``…`` stands for any number of lines."""
    return r"(?:.*\n)*" if line == "…\n" else re.escape(line)


def test_the_page_has_a_transcript_of_each_command() -> None:
    assert {command.split()[2] for command, _, _ in TRANSCRIPTS} == {"doctor", "explain-role"}
