"""The reference pages and the code agree in both directions, and every link has a target."""

import functools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from app.agent.errors import EXIT_STATUSES, Failure
from app.agent.runner import FORWARDED
from app.agent.state import RenewalState
from app.cli import main
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import Call, Leave, PutReason, Skip
from app.controller.reasons import Failure as Failure_
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.role_tags import RoleRecord
from app.decision.record import FRESH, AudienceNote, CandidateNote, DecisionRecord, TokenNote
from app.emulator.fault_kinds import LIES, FaultKind
from app.settings.environment import Settings
from app.telemetry.audit import decision_fields
from app.telemetry.metrics import Metrics, outcome_of
from tests.conftest import LoadSettings
from tests.support.principals import PRINCIPAL
from tests.support.signing import HOST, NOW, endpoint_of
from tests.support.world import NEW_GENERATION, OLD_GENERATION
from tools import kuma_table, limits_tables, settings_tables
from tools.generated_tables import write_tables

ROOT: Final = Path(__file__).parents[1]
REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "config" / "README.md"])

_CELL: Final = re.compile(r"(?<!\\)\|")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

Row = dict[str, str]
RowsOf = Callable[[str], list[tuple[str, ...]]]


@functools.cache
def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def tables(text: str, first_column: str) -> Iterator[Row]:
    """Yield every row of the tables whose first column has this header, with its cells by column header."""
    heads: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip())[1:-1]]
        if heads is None:
            heads = cells if cells[0] == first_column else []
        elif heads and not re.fullmatch(r":?-+:?", cells[0]):
            yield dict(zip(heads, cells, strict=True))


def code(cell: str) -> str:
    """Return the text of a cell that consists of code."""
    assert re.fullmatch(r"`[^`]+`", cell), f"{cell!r} is not written as code"
    return cell.strip("`")


def unique(names: list[str]) -> set[str]:
    assert len(set(names)) == len(names), "a row stands twice"
    return set(names)


# Configuration.


def settings_rows() -> dict[str, Row]:
    rows = list(tables(page("configuration.md"), "Variable"))
    unique([row["Variable"] for row in rows])
    return {code(row["Variable"]): row for row in rows}


def test_every_setting_is_documented_and_no_other() -> None:
    assert settings_rows().keys() == {str(field.validation_alias) for field in Settings.model_fields.values()}


@pytest.mark.parametrize("generation", [OLD_GENERATION, NEW_GENERATION], ids=["2.0-2.6", "2.7"])
def test_documented_defaults_are_the_codes(settings_of: LoadSettings, generation: dict[str, str]) -> None:
    """As ``check-config`` prints them. A value from the environment is not a default."""
    shown = {variable: value for variable, value, is_set in settings_of(**generation).effective() if not is_set}
    documented = {variable: code(row["Default"]) for variable, row in settings_rows().items()}
    assert shown == {variable: documented[variable] for variable in shown}


def test_every_setting_has_a_meaning() -> None:
    assert all(row["Meaning"] for row in settings_rows().values())


GENERATED: Final[dict[str, RowsOf]] = {
    "configuration.md": settings_tables.rows_of,
    "limits.md": limits_tables.rows_of,
    "../explanation/compatibility.md": kuma_table.rows_of,
}


@pytest.mark.parametrize(("name", "rows_of"), GENERATED.items())
def test_generated_tables_are_up_to_date(name: str, rows_of: RowsOf) -> None:
    """If this fails after a change of a setting or of a bound, run ``make docs``."""
    assert write_tables(page(name), rows_of) == page(name)


@pytest.mark.parametrize(
    ("name", "first_column"), [("configuration.md", "Variable"), ("limits.md", "What"), ("limits.md", "Reason")]
)
def test_every_table_of_this_kind_is_generated(name: str, first_column: str) -> None:
    emptied = re.sub(r"^\|.*\n", "", page(name), flags=re.MULTILINE)
    written = write_tables(emptied, GENERATED[name])
    assert list(tables(written, first_column)) == list(tables(page(name), first_column))


def test_a_table_of_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        write_tables("<!-- make docs: Nothing -->\n\n", limits_tables.rows_of)


def test_settings_that_pages_name_exist() -> None:
    """Decisions, the changelog and code blocks may name misspelt or removed settings."""
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    for path in PAGES:
        if path.parent.name != "decisions" and path.name != "CHANGELOG.md":
            text = _FENCE.sub("", path.read_text(encoding="utf-8"))
            assert set(re.findall(r"KMESH_AWSIAM_[A-Z_]*[A-Z]", text)) <= known, path.name


# Reasons.


def reason_rows() -> dict[str, Row]:
    rows = list(tables(page("reasons.md"), "Reason"))
    unique([row["Reason"] for row in rows])
    return {code(row["Reason"]): row for row in rows}


def test_every_reason_is_documented_and_no_other() -> None:
    assert reason_rows().keys() == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_a_reasons_status_title_and_remedy_are_the_codes(reason: Reason) -> None:
    row, explanation = reason_rows()[reason.value], EXPLANATIONS[reason]
    assert row["Status"] == str(explanation.status)
    assert row["Title"] == explanation.title
    assert row["What to do"]
    if explanation.retry_after is not None:
        assert f"Retry after {explanation.retry_after} s" in row["What to do"]


def test_outcomes_are_documented_with_their_statuses() -> None:
    rows = {row["Outcome"]: row["Statuses"] for row in tables(page("reasons.md"), "Outcome")}
    for name in ("denied", "error"):
        statuses = {
            EXPLANATIONS[reason].status
            for reason in Reason
            if outcome_of(reason) == name and reason not in (Reason.NOT_FOUND, Reason.METHOD_NOT_ALLOWED)
        }
        assert {int(status) for status in rows[name].split(", ")} == statuses
    assert rows["allowed"] == "200"


# Metrics.


def exposed() -> dict[str, tuple[str, set[str]]]:
    """Return type and labels of each metric, as a scraper sees them."""
    metrics = Metrics()
    found = {}
    for family in metrics._registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        collector = metrics._registry._names_to_collectors.get(family.name)
        found[name] = (family.type, set(getattr(collector, "_labelnames", ())))
    return found


def test_every_metric_is_documented_with_type_and_labels_and_no_other() -> None:
    rows = list(tables(page("metrics.md"), "Name"))
    unique([row["Name"] for row in rows])
    documented = {code(row["Name"]): (row["Type"], set(re.findall(r"`([a-z_]+)`", row["Labels"]))) for row in rows}
    assert documented == exposed()
    assert all(row["Meaning"] for row in rows)


def test_every_label_is_explained_and_no_other() -> None:
    labels = {row["Label"].partition(" ")[0] for row in tables(page("metrics.md"), "Label")}
    assert labels == set().union(*(labels for _, labels in exposed().values())) - {"version", "python"}


# The audit line.


def audit_fields() -> set[str]:
    """Return every field of a line with all fields, dotted."""
    claim = ProxyAssertion(type=ProxyType.DATAPLANE)
    identity = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service=None, workload=None, zone=None)
    note = TokenNote(jti="jti", kid="kid", expires_at=NOW, origin=FRESH)
    role = RoleRecord(arn="", role_id="", name="", tags=(), request_id="")
    trail = DecisionRecord(
        "request-1",
        asserted=claim,
        access_key_id="",
        signed_for=endpoint_of(HOST).signed_for,
        audience=AudienceNote(expected=""),
        principal=PRINCIPAL,
        role=role,
        granted=identity,
        token=note,
    )
    names = {"event", "time", "level"}
    trail.candidate = CandidateNote("allowed")
    for name, value in decision_fields(trail, None, 0.0).items():
        names.add(name)
        if isinstance(value, dict):
            names |= {f"{name}.{member}" for member in value}
    return names


def test_every_audit_field_is_documented_and_no_other() -> None:
    rows = list(tables(page("audit-log.md"), "Field"))
    assert unique([code(row["Field"]) for row in rows]) == audit_fields()
    assert all(row["Type"] and row["Meaning"] for row in rows)


def test_other_lines_are_those_that_the_code_writes() -> None:
    for name, paths in (
        ("audit-log.md", set((ROOT / "app").rglob("*.py")) - AGENT - CONTROLLER),
        ("agent.md", AGENT),
        ("controller.md", CONTROLLER),
    ):
        documented = {(row["Event"], row["Level"]) for row in tables(page(name), "Event")}
        written = set()
        for path in paths:
            text = path.read_text(encoding="utf-8")
            calls = re.findall(r"(?:log|get_logger\(\))\.(debug|info|warning|error|exception)\(\s*\"([^\"]+)\"", text)
            written |= {(event, level) for level, event in calls}
        assert documented == written, name


# The agent.

CONTROLLER: Final = {*(ROOT / "app" / "controller").glob("*.py"), ROOT / "app" / "cli" / "controller.py"}
AGENT: Final = {*(ROOT / "app" / "agent").glob("*.py"), ROOT / "app" / "cli" / "agent.py"}


def test_every_failure_of_the_agent_is_documented_with_its_exit_status() -> None:
    rows = {code(row["`failure`"]) for row in tables(page("agent.md"), "`failure`")}
    assert rows == {failure.value for failure in Failure}
    statuses = {row["Status"]: row["When"] for row in tables(page("agent.md"), "Status")}
    for failure, status in EXIT_STATUSES.items():
        assert statuses[str(status)].startswith(f"gave up: `{failure.value}`")


def test_every_metric_of_the_agent_is_documented_with_its_type_and_no_other() -> None:
    rendered = RenewalState().render(Path("/nowhere/token"), lambda: NOW)
    rows = {code(row["Metric"]): row["Type"] for row in tables(page("agent.md"), "Metric")}
    assert rows == dict(re.findall(r"^# TYPE (\w+) (\w+)$", rendered, flags=re.MULTILINE))


def test_every_reason_of_the_agents_own_is_documented_and_no_other() -> None:
    given: set[str] = set()
    for path in AGENT:
        text = path.read_text(encoding="utf-8")
        given |= set(re.findall(r"RenewalError\(\s*Failure\.[A-Z_]+,\s*\"([a-z_]+)\"", text))
    [sentence] = re.findall(r"one of the agent's own: (.+?), or\s+`status_`", page("agent.md"), flags=re.DOTALL)
    assert set(re.findall(r"`([a-z_]+)`", sentence)) == given
    assert not given & {reason.value for reason in Reason}


def test_every_signal_that_is_passed_on_is_documented() -> None:
    [sentence] = re.findall(r"^- (.+) are passed on", page("agent.md"), flags=re.MULTILINE)
    assert re.findall(r"SIG[A-Z0-9]+", sentence) == [number.name for number in FORWARDED]


def test_the_unit_of_systemd_gives_the_agent_all_that_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A unit inherits no variables. Without a region the agent does not start; without the audience it gets no token."""
    for option in main.commands["agent"].params:
        for name in [option.envvar] if isinstance(option.envvar, str) else option.envvar or ():
            monkeypatch.delenv(name, raising=False)
    text = (ROOT / "docs" / "how-to" / "run-the-agent-on-ecs.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^ExecStart=kuma-aws-iam agent (.+)$", text, flags=re.MULTILINE)
    for name in re.findall(r"/etc/kuma/(\S+)", line):
        (tmp_path / name).touch()
    arguments = shlex.split(line.replace("/etc/kuma/", f"{tmp_path}/"))
    parameters = main.commands["agent"].make_context("agent", arguments).params
    assert parameters["region"]
    assert parameters["audience"] == "mesh-production"  # as the page calls it
    assert parameters["command"][:2] == ("kuma-dp", "run")


# The controller.


def test_every_metric_of_the_controller_is_documented_with_type_and_labels_and_no_other() -> None:
    found = {}
    registry = ControllerMetrics().registry
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        collector = registry._names_to_collectors[family.name]
        found[name] = (family.type, set(collector._labelnames))  # type: ignore[attr-defined]
    rows = list(tables(page("controller.md"), "Name"))
    documented = {code(row["Name"]): (row["Type"], set(re.findall(r"`([a-z_]+)`", row["Labels"]))) for row in rows}
    assert documented == found


def test_the_closed_sets_of_the_controller_are_documented_and_no_others() -> None:
    text = page("controller.md")
    assert {code(row["`reason`"]) for row in tables(text, "`reason`")} == {each.value for each in PutReason}
    assert {code(row["Code"]) for row in tables(text, "Code")} == {each.value for each in Failure_}
    calls = [name for row in tables(text, "Call") for name in re.findall(r"`(\w+)`", row["Call"])]
    assert unique(calls) == {each.value for each in Call}
    values = {row["Label"]: set(re.findall(r"`(\w+)`", row["Values"])) for row in tables(text, "Label")}
    assert values["`why`"] == {each.value for each in Skip}
    assert values["`state` of secrets"] == {each.value for each in Leave}


# Commands.


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of a command."""
    parts = re.split(r"^## `([a-z-]+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_documented_and_no_other() -> None:
    assert sections(page("cli.md")).keys() == main.commands.keys()


def options_of(command: str) -> list[click.Option]:
    """Return the options of a command, or of its subcommands."""
    found = main.commands[command]
    commands = found.commands.values() if isinstance(found, click.Group) else [found]
    return [option for each in commands for option in each.params if isinstance(option, click.Option)]


@pytest.mark.parametrize("command", main.commands)
def test_every_option_of_a_command_is_documented_and_no_other(command: str) -> None:
    rows = list(tables(sections(page("cli.md"))[command], "Option"))
    options = {option.opts[0] for option in options_of(command)}
    assert unique([code(row["Option"]) for row in rows]) == options
    assert all(row["Meaning"] for row in rows)


@pytest.mark.parametrize("command", main.commands)
def test_documented_defaults_and_variables_of_options_are_the_codes(command: str) -> None:
    for row in tables(sections(page("cli.md"))[command], "Option"):
        option = next(each for each in options_of(command) if code(row["Option"]) in each.opts)
        variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
        assert re.findall(r"`([A-Z][A-Z0-9_]+)`", row["Default"]) == variables
        if isinstance(option.default, str | int) and not option.is_flag:
            assert f"`{option.default}`" in row["Default"]


# Pages for contributors.


def test_targets_and_files_that_the_pages_for_contributors_name_exist() -> None:
    """A path in code font names a file or folder; ``*`` stands for any name."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for name in ("CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets
        paths = re.findall(r"(?<![\w/])((?:app|tests|config|docs|\.github)/[\w./*-]*|\.ci/run)", text)
        assert [path for path in paths if not any(ROOT.glob(path))] == []


def test_names_of_the_code_that_contributors_search_for_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for name in re.findall(r"git grep -n \"([^\"]+)\"", text):
        assert re.search(name, source), f"{name} finds nothing"
    for name in re.findall(r"`([A-Z][A-Za-z]+|RULES|EXPLANATIONS)`", text):
        assert name == "ELSEWHERE" or re.search(rf"^(?:class {name}\b|{name}: Final)", source, re.MULTILINE), name


# The emulator's faults, and every link.


def test_every_fault_of_the_emulator_is_documented_and_no_other() -> None:
    faults = [row["Fault"] for row in tables(page("emulator.md"), "Fault")]
    lies = [row["Lie"] for row in tables(page("emulator.md"), "Lie")]
    assert unique(lies) == {kind.value for kind in LIES}
    assert unique(faults) == {kind.value for kind in set(FaultKind) - LIES}


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert found.exists(), f"{link} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{link} has no such heading"


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_a_page_is_reached_from_the_index_or_the_readme(path: Path) -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        links = (
            (page_path.parent / link.partition("#")[0]).resolve()
            for page_path in new
            for link in _LINK.findall(page_path.read_text(encoding="utf-8"))
            if not re.match(r"[a-z]+:", link) and link.partition("#")[0].endswith(".md")
        )
        new = {link for link in links if link.exists()} - reached
    assert path in reached
