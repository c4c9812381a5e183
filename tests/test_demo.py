"""``demo``: what a newcomer runs first."""

import re
import signal
import subprocess
import sys

from app.cli.demo import Table
from app.core.reasons import EXPLANATIONS, Reason
from app.demo.kuma import CHECKS
from app.demo.sidecars import SIDECARS, Sidecar
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, Done, clean_environment, run_program, stop_group


def run_demo(before: str = "pass", *options: str) -> Done:
    """Run the demo in lines long enough to hold each text unbroken, after some Python of the test's own."""
    script = (
        f"from app.cli import main; from app.demo import kuma, sidecars, stage; {before}; main(['demo', *{options!r}])"
    )
    variables = {"COLUMNS": "1000", "AWS_REGION": "mars-1", "KMESH_AWSIAM_TYPO": "x"}  # nobody's business here
    return run_program(sys.executable, "-c", script, **variables)


def test_it_plays_every_sidecar_to_its_expected_end_and_prints_each() -> None:
    done = run_demo()
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
    """The verdict, and why, as they stand behind one another in a row."""
    if sidecar.expected is None:
        return "  allowed    type="
    explanation = EXPLANATIONS[sidecar.expected]
    verdict = "undecided" if explanation.status == 503 else "denied"
    return f"  {verdict:9}  {sidecar.expected.value} ({explanation.status}): {explanation.detail}"


def test_it_plays_what_the_issue_asks_for() -> None:
    accepted = {sidecar.claim["type"] for sidecar in SIDECARS if sidecar.expected is None}
    assert accepted == {"dataplane", "ingress", "egress"}
    assert {sidecar.expected for sidecar in SIDECARS if sidecar.expected} >= {
        Reason.ACCOUNT_NOT_AUTHORIZED,
        Reason.ROLE_TYPE_MISSING,
        Reason.PROXY_MESH_MISMATCH,
        Reason.STS_REJECTED,
        Reason.CREDENTIAL_EXPIRED,
    }
    assert len({sidecar.account for sidecar in SIDECARS if sidecar.expected is None}) == 2


def test_it_is_a_table_of_at_most_the_terminals_width() -> None:
    table = Table(100)
    rows = [*table.head(), *table.row(1, "denied", "who\nwhat " * 40, "why " * 60)]
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", row)) for row in rows) <= 100


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
            # The service writes to the same pipe: it is at its end once both processes are.
            process.communicate(timeout=PATIENCE)
        finally:
            stop_group(process)
    assert process.returncode == 128 + signal.SIGTERM


def run_demo_kuma(before: str = "pass") -> Done:
    return run_demo(before, "--kuma")


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
    # And the configuration, as the control plane reads it.
    for text in ("dpProxy:", "type: dpToken", "zoneProxy:", "type: zoneToken", "-----BEGIN RSA PUBLIC KEY-----"):
        assert text in done.out
    assert "PRIVATE" not in done.out + done.err


def test_it_shows_what_the_issue_asks_for() -> None:
    refused = {check.because for check in CHECKS if check.verdict == "refused"}
    assert {"mesh", "kuma.io/service", "no signing key"} <= refused
    assert {check.verdict for check in CHECKS} == {"allowed", "denied", "accepted", "refused"}


def test_a_check_that_does_not_come_as_it_must_is_a_failure() -> None:
    done = run_demo_kuma(
        "from dataclasses import replace; first, second, *rest = kuma.CHECKS; "
        "kuma.CHECKS = (first, replace(second, verdict='refused'), replace(second, because='something else'))"
    )
    assert done.status == 1
    assert done.out.count("UNEXPECTED, not ") == 2
    assert done.out.endswith("3 checks: 1 as expected, 2 not\n")


def test_a_control_plane_that_knows_another_key_takes_no_token() -> None:
    """Or the validator would accept whatever it is shown."""
    done = run_demo_kuma(
        "from pathlib import Path; make = kuma.make_keys; import tempfile; other = tempfile.mkdtemp(); "
        "from dataclasses import replace; "
        "kuma.make_keys = lambda folder: replace(make(folder), configuration=make(Path(other)).configuration)"
    )
    assert done.status == 1
    assert "UNEXPECTED, not accepted" in done.out
    assert "there is no signing key with KID" in done.out
