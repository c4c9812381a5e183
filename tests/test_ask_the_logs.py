"""The queries of the page "Ask the logs": each runs on real lines of the service, and names fields that these lines have."""

import functools
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog

from app.emulator.fault_kinds import FaultKind
from app.service import open_service
from app.telemetry.audit import configure_logging
from tests.conftest import LoadSettings
from tests.support.service import AUTHENTICATE
from tests.support.world import ACCOUNT, PROXY, Aws, recipe_of

PAGE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "ask-the-logs.md"
SECTIONS: Final = dict(
    re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
)
DENIED, FIRST, CLOCKS, ACCOUNTS, SLOW = SECTIONS
_COMMANDS: Final = {"filter", "stats", "fields", "sort", "limit"}
_FUNCTIONS: Final = {"count", "count_distinct", "max", "min", "latest", "earliest", "ispresent"}
_WORDS: Final = {"and", "or", "by", "as", "asc", "desc"}


def block(section: str, language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.+?)^```$", SECTIONS[section], flags=re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def _json_log(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Log as the service does, to `capsys`. Restore the logging of the process after the test."""
    capsys.readouterr()
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("botocore", "boto3", "urllib3", "asyncio")}
    configure_logging("info", "json")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    structlog.configure(**config)


@pytest.fixture
async def log(
    aws: Aws, settings_of: LoadSettings, _json_log: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Path:
    """The standard output of a service with decisions of every kind that the page asks for."""
    allowed, mistagged = aws.add_role(), aws.add_role({"kuma.io/type": "ingress"})
    unreadable = aws.add_role()
    ahead = replace(recipe_of(aws.session_of(allowed)), now=datetime.now(UTC) + timedelta(seconds=90))
    refused = replace(recipe_of(aws.session_of(allowed)), now=datetime.now(UTC) - timedelta(hours=1))
    async with open_service(settings_of(**aws.service_environment())) as service:
        transport = httpx.ASGITransport(app=service.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:

            async def present(credential: str) -> None:
                await client.post(AUTHENTICATE, json={"credential": credential, "proxy": PROXY})

            denied = recipe_of(aws.session_of(mistagged)).credential()
            for credential in (ahead.credential(), denied, denied, refused.credential()):
                await present(credential)
            aws.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED)
            await present(recipe_of(aws.session_of(unreadable)).credential())
            aws.emulator.faults.clear()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    decisions = [line for line in lines if line["event"] == "decision"]
    assert [line["reason"] for line in decisions] == [
        None,
        "proxy_type_mismatch",
        "proxy_type_mismatch",
        "credential_expired",
        "iam_access_denied",
    ]
    for line in decisions:
        line["duration_ms"] = min(line["duration_ms"], 999.0)  # of one second and more if this machine is slow
    slow = {**decisions[0], "duration_ms": 1500.5, "request_id": "slow", "clock_skew_seconds": -1.0}
    yesterday = {**decisions[1], "time": "2026-11-01T00:00:00.000001Z"}
    path = tmp_path / "service.log"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [yesterday, *lines, slow]))
    return path


def ask(section: str, log: Path) -> list[dict[str, Any]]:
    """Run the section's command unchanged, in the folder of the log."""
    if shutil.which("jq") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no jq here; install it: sudo .ci/programs")
    done = subprocess.run(  # noqa: S602 - the command of the page
        block(section, "sh"), shell=True, cwd=log.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def parts(answers: list[dict[str, Any]], *names: str) -> list[list[Any]]:
    return [[answer[name] for name in names] for answer in answers]


async def test_jq_answers_every_question(log: Path, aws: Aws) -> None:
    """One service and one log for all queries, since they only read."""
    allowed, mistagged, unreadable = (role.name for role in aws.roles)
    assert parts(ask(DENIED, log), "account", "role", "reason", "times") == [
        [ACCOUNT, mistagged, "proxy_type_mismatch", 2],
        [None, None, "credential_expired", 1],
    ]
    assert parts(ask(FIRST, log), "first", "role", "times") == [["2026-11-01T00:00:00.000001Z", mistagged, 3]]
    clocks = parts(ask(CLOCKS, log), "role", "reason", "ahead")
    assert [[role, reason, round(ahead, -2)] for role, reason, ahead in clocks] == [
        [None, "credential_expired", -3600],
        [allowed, None, 100],
    ]
    assert parts(ask(ACCOUNTS, log), "account", "roles", "times") == [[ACCOUNT, [unreadable], 1]]
    assert parts(ask(SLOW, log), "request_id", "duration_ms") == [["slow", 1500.5]]


def members(line: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in line.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from members(value, f"{prefix}{name}.")


async def test_insights_reads_fields_that_the_lines_have(log: Path) -> None:
    """The tests cannot run Insights.

    They compare the names of fields and commands, which a change of the service can break.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()]  # noqa: ASYNC240 - a small file
    known = functools.reduce(set.union, (set(members(line)) for line in lines if line["event"] == "decision"))
    for section in SECTIONS:
        query = re.sub(r'"[^"]*"', "", block(section, "insights"))
        assert {command.split()[0] for command in query.split("|")} <= _COMMANDS, section
        assert set(re.findall(r"(\w+)\(", query)) <= _FUNCTIONS, section
        aliases = set(re.findall(r"\bas (\w+)", query))
        words = set(re.findall(r"(?<![@\w.])[a-z_]\w*(?:\.\w+)*", query))
        assert words - _COMMANDS - _FUNCTIONS - _WORDS - aliases <= known, section


def test_each_question_has_a_query_of_each_kind() -> None:
    assert len(SECTIONS) == 5
    assert all(block(section, language) for section in SECTIONS for language in ("sh", "insights"))
