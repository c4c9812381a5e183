"""``make demo-kuma``: a stock control plane accepts an agent's file only from the agent's own proxy."""

import io
import re
import sys

from rich.console import Console

from app.demo.table import DecisionTable
from demos.kuma.checks import CHECKS
from tests.support.process import Done, run_program


def run_demo_kuma(before: str = "pass") -> Done:
    """Run the demonstration with lines that are long enough for each text, after some Python code of the test."""
    script = (
        "import runpy; from dataclasses import replace; from demos.kuma import checks, play; "
        f"{before}; runpy.run_module('demos.kuma', run_name='__main__')"
    )
    return run_program(sys.executable, "-c", script, COLUMNS="1000")


def test_a_stock_control_plane_takes_what_an_agent_wrote_for_its_own_proxy_alone() -> None:
    done = run_demo_kuma()
    assert done.status == 0, done.out + done.err
    assert done.out.endswith(f"{len(CHECKS)} checks: {len(CHECKS)} as expected, 0 not\n")
    assert "UNEXPECTED" not in done.out
    lines = done.out.splitlines()
    for number, check in enumerate(CHECKS, start=1):
        row = next(line for line in lines if re.match(rf" ?{number}  ", line))
        assert check.title in row
        assert f"  {check.verdict:9}  " in row
        assert check.because in row
    # Below the table the configuration follows as the control plane reads it, without wrapped lines.
    configuration = lines[lines.index("dpServer:") :]
    assert next(line for line in lines if "21  agent of an ingress" in line) not in configuration
    assert [line for line in configuration if len(line) > 80] == []
    for text in ("dpProxy:", "type: dpToken", "zoneProxy:", "type: zoneToken", "-----BEGIN RSA PUBLIC KEY-----"):
        assert text in done.out
    assert "PRIVATE" not in done.out + done.err


def test_its_rows_fit_80_columns() -> None:
    out = io.StringIO()
    table = DecisionTable(Console(file=out, width=80, markup=False, emoji=False, highlight=False))
    table.print_head()
    for check in CHECKS:
        table.print_row(check.verdict, f"{check.title}\n{check.sent}", check.because)
    assert [line for line in out.getvalue().splitlines() if len(line) > 80] == []


def test_it_shows_what_the_issue_asks_for() -> None:
    refused = {check.because for check in CHECKS if check.verdict == "refused"}
    assert {"mesh", "workload", "no signing key"} <= refused
    assert {check.verdict for check in CHECKS} == {"allowed", "denied", "accepted", "refused"}


def test_a_control_plane_that_knows_another_key_takes_no_token_and_each_surprise_is_a_failure() -> None:
    """Otherwise the validator might accept every token.

    A refusal for another reason than the expected one counts too.
    """
    done = run_demo_kuma(
        "from pathlib import Path; make = play.make_keys; import tempfile; other = tempfile.mkdtemp(); "
        "play.make_keys = lambda folder: replace(make(folder), configuration=make(Path(other)).configuration); "
        "first, _, third, *_ = checks.CHECKS; "
        "checks.CHECKS = (first, third, replace(third, verdict='refused', because='something else'))"
    )
    assert done.status == 1
    assert "UNEXPECTED, not accepted" in done.out
    assert "UNEXPECTED, not refused (something else)" in done.out
    assert done.out.count("there is no signing key with KID") == 2
    assert done.out.endswith("3 checks: 1 as expected, 2 not\n")
