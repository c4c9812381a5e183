"""``demo``: the first command that a new user runs."""

import io
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import pytest
from rich.console import Console

from app.core.reasons import EXPLANATIONS, Reason
from app.demo.sidecars import SIDECARS, Sidecar
from app.demo.table import DecisionTable
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, Done, clean_environment, run_program, stop_group

# Lines that are long enough for each text, and variables that the demo must ignore.
VARIABLES: Final = {"COLUMNS": "1000", "AWS_REGION": "mars-1", "KMESH_AWSIAM_TYPO": "x"}


def run_demo(before: str) -> Done:
    """Run the demo after some Python code of the test."""
    script = f"from app.cli import main; from app.demo import sidecars, stage; {before}; main(['demo'])"
    return run_program(sys.executable, "-c", script, **VARIABLES)


def test_it_plays_every_sidecar_to_its_expected_end_and_prints_each() -> None:
    done = run_program(sys.executable, "-m", "app", "demo", **VARIABLES)
    assert done.status == 0
    assert done.out.endswith(f"{len(SIDECARS)} sidecars: {len(SIDECARS)} decided as expected, 0 not\n")
    assert "UNEXPECTED" not in done.out
    lines = done.out.splitlines()
    for number, sidecar in enumerate(SIDECARS, start=1):
        row = next(line for line in lines if re.match(rf" ?{number}  ", line))
        assert sidecar.title in row
        assert sidecar.sent in lines[lines.index(row) + 1]
        assert _verdict(sidecar) in row
    assert "111122223333, 444455556666, 999988887777" in done.err
    assert str(ROOT) not in done.out + done.err


def _verdict(sidecar: Sidecar) -> str:
    """Return the verdict and its reason, which follow each other in a row."""
    if sidecar.expected is None:
        return "  allowed    type="
    explanation = EXPLANATIONS[sidecar.expected]
    verdict = "undecided" if explanation.status == 503 else "denied"
    return f"  {verdict:9}  {sidecar.expected.value} ({explanation.status}): {explanation.detail}"


def test_it_plays_what_the_issue_asks_for() -> None:
    accepted = {sidecar.asserted["type"] for sidecar in SIDECARS if sidecar.expected is None}
    assert accepted == {"dataplane", "ingress", "egress"}
    assert {sidecar.expected for sidecar in SIDECARS if sidecar.expected} >= {
        Reason.ACCOUNT_NOT_AUTHORIZED,
        Reason.ROLE_TYPE_MISSING,
        Reason.PROXY_MESH_MISMATCH,
        Reason.STS_REJECTED,
        Reason.CREDENTIAL_EXPIRED,
    }
    assert len({sidecar.account for sidecar in SIDECARS if sidecar.expected is None}) == 2


def printed_table(variables: Mapping[str, str], *, is_terminal: bool = False) -> str:
    """Print one long row to a console of 80 characters."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=80,
        force_terminal=is_terminal,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={"TERM": "xterm-256color", **variables},
    )
    table = DecisionTable(console)
    table.print_head()
    table.print_row("denied", "who\nwhat [bold] " * 40, "why:smile: " * 30 + "x" * 200)
    return out.getvalue()


def test_it_is_a_table_of_at_most_80_characters_that_loses_none_of_the_text() -> None:
    text = printed_table({})
    assert max(len(line) for line in text.splitlines()) == 80
    assert (text.count("what [bold]"), text.count("x")) == (40, 200)
    assert text.count("why:smile:") == 30


@pytest.mark.parametrize(("variables", "has_colors"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_no_color_is_set(variables: dict[str, str], has_colors: bool) -> None:  # noqa: FBT001
    assert ("\x1b[" in printed_table(variables, is_terminal=True)) is has_colors
    assert "\x1b[" not in printed_table(variables)


def test_a_decision_that_is_not_the_expected_one_is_a_failure() -> None:
    done = run_demo(
        "from dataclasses import replace; sidecars.SIDECARS = (replace(sidecars.SIDECARS[0], expected='sts_rejected'),)"
    )
    assert done.status == 1
    assert "UNEXPECTED, not sts_rejected" in done.out
    assert done.out.endswith("1 sidecars: 0 decided as expected, 1 not\n")


def test_a_service_that_does_not_start_is_told_with_what_it_printed() -> None:
    done = run_demo("stage.AUDIENCE = ' no audience '")
    assert done.status == 1
    assert "the service did not become ready" in done.err
    assert "KMESH_AWSIAM_AUDIENCE" in done.err
    assert "Traceback" not in done.err


def test_sigterm_ends_the_service_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "app", "demo", "--verbose"],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any("listening" in line for line in process.stdout)
            process.terminate()
            # The service writes to the same pipe, which ends when both processes have ended.
            process.communicate(timeout=PATIENCE)
        finally:
            stop_group(process)
    assert process.returncode == 128 + signal.SIGTERM
