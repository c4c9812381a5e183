"""The Grafana dashboard: it is up to date, Grafana can load it, and each query parses and reads metrics that exist."""

import itertools
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.config.test_alerts import RULES, recorded_names
from tests.support.promql import SCRAPED, declared_metrics, selectors
from tests.support.promtool import run_promtool
from tools import dashboard
from tools.dashboard_panels import ROWS

WRITTEN: Final[dict[str, Any]] = json.loads(dashboard.PAGE.read_text("utf-8"))
PANELS: Final[list[dict[str, Any]]] = [panel for panel in WRITTEN["panels"] if panel["type"] != "row"]
QUERIES: Final[list[str]] = [target["expr"] for panel in PANELS for target in panel["targets"]]
# The values with which Grafana replaces them.
VARIABLES: Final = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}


def test_the_file_is_up_to_date() -> None:
    """If this fails after a change of a metric or of a panel, run ``make docs``."""
    assert dashboard.PAGE.read_text("utf-8") == dashboard.render()


def test_grafana_can_load_it() -> None:
    """The members that Grafana's importer needs. The reader chooses the data source."""
    assert (WRITTEN["uid"], WRITTEN["title"]) == ("kuma-aws-iam", "kuma-aws-iam")
    assert WRITTEN["schemaVersion"] >= 36  # below, data sources are named by their name
    assert "id" not in WRITTEN  # Grafana gives it
    variables = WRITTEN["templating"]["list"]
    assert {variable["name"]: variable["type"] for variable in variables} == {
        "datasource": "datasource",
        "job": "query",
        "instance": "query",
    }
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert all(each["datasource"] == source for panel in PANELS for each in (panel, *panel["targets"]))
    assert all(variable["datasource"] == source for variable in variables if variable["type"] == "query")
    ids = [panel["id"] for panel in WRITTEN["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_panel_covers_another() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in WRITTEN["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & covered, panel["title"]
        covered |= cells


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_reads_metrics_and_labels_that_exist(query: str) -> None:
    metrics = declared_metrics()
    read, recorded = selectors(query), recorded_names(query)
    assert read or recorded
    assert recorded <= {rule["record"] for rule in RULES if "record" in rule}
    for metric, matchers in read:
        assert {label for label, _, _ in matchers} <= metrics[metric] | SCRAPED


def test_promtool_parses_every_query(tmp_path: Path) -> None:
    replaced = [re.sub(r"\$\w+", lambda found: VARIABLES[found[0]], query) for query in QUERIES]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(replaced)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run_promtool("check", "rules", path)


def test_a_metric_that_no_panel_shows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "ROWS", ROWS[1:-1])
    with pytest.raises(ValueError, match=r"kuma_aws_iam_build_info, .*kuma_aws_iam_ready"):
        dashboard.dashboard()
