"""``make demo-controller``: what the controller does for a missing, a malformed and an old secret, on moto."""

import sys

from tests.support.process import Done, run_program


def run_demo(before: str = "pass") -> Done:
    """Run the demonstration with wide lines, after some Python code of the test."""
    script = (
        "import runpy; from dataclasses import replace; from demos.controller import play; "
        f"{before}; runpy.run_module('demos.controller', run_name='__main__')"
    )
    return run_program(sys.executable, "-c", script, COLUMNS="300")


def test_the_controller_does_what_each_secret_needs() -> None:
    done = run_demo()
    assert done.status == 0, done.out + done.err
    for row in (
        "none there is none left (secret_missing)",
        "broken 'token=abc', no JSON left (secret_malformed)",
        'old {"token": "a token"} put (half_life_over)',
        'web {"db": "secret"} put (token_missing)',
        "none {} put (token_missing)",
        "accepts it for old",
    ):
        assert row in " ".join(done.out.split()), row
    assert "eyJ" not in done.out + done.err


def test_what_does_not_come_as_it_must_is_a_failure() -> None:
    first = "replace(play.PASSES[0], expected={**play.PASSES[0].expected, 'web': play.Leave.USABLE})"
    done = run_demo(f"play.PASSES = ({first},)")
    assert done.status == 1
    assert "3 met, 1 not" in done.out
