"""The rules for Prometheus read metrics that exist, say what to do, and fire when they should: promtool runs their tests."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.core.reasons import Reason
from app.decision.record import CACHE_RESULTS
from app.telemetry.metrics import CACHES, STORE_RESULTS
from tests.support.promql import SCRAPED, declared_metrics, selectors
from tests.support.promtool import run_promtool
from tests.test_docs import anchors

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "config" / "prometheus" / "alerts.yaml"
TESTS: Final = sorted(Path(__file__).with_name("prometheus").glob("*.test.yaml"))
CLOSED_SETS: Final = {
    "outcome": {"allowed", "denied", "error"},
    "reason": {reason.value for reason in Reason} | {"none"},
    "cache": set(CACHES),
    # The label of the caches and of the store.
    "result": {*CACHE_RESULTS, *(result for results in STORE_RESULTS.values() for result in results)},
    "le": {"1.0"},
}
GROUPS: Final = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
RULES: Final = [rule for group in GROUPS for rule in group["rules"]]
BY_NAME: Final = [pytest.param(rule, id=rule["alert"]) for rule in RULES if "alert" in rule]
RECORDED: Final = [pytest.param(rule, id=rule["record"]) for rule in RULES if "record" in rule]
METRICS: Final = declared_metrics()


def recorded_names(expression: str) -> set[str]:
    return set(re.findall(r"job:kuma_aws_iam_\w+:\w+", expression))


def test_there_are_alerts_and_their_names_are_unique() -> None:
    names = [rule["alert"] for rule in RULES if "alert" in rule]
    assert len(names) >= 10
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", [*BY_NAME, *RECORDED])
def test_a_rule_reads_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    read = selectors(rule["expr"])
    recorded = recorded_names(rule["expr"])
    assert read or recorded
    assert recorded <= {each["record"] for each in RULES if "record" in each}
    for metric, matchers in read:
        assert metric in METRICS
        for label, operator, value in matchers:
            assert label in METRICS[metric]
            wanted = set(value.split("|")) if operator in {"=~", "!~"} else {value}
            assert wanted <= CLOSED_SETS[label]
    known = set().union(*(METRICS[metric] for metric, _ in read)) | SCRAPED
    for labels in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", rule["expr"]):
        assert {label.strip() for label in labels.split(",")} <= known


@pytest.mark.parametrize("rule", BY_NAME)
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    aggregated = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
    kept = SCRAPED | {label for text in aggregated for label in text.split(", ")}
    if not aggregated:
        kept |= set().union(*(METRICS[metric] for metric, _ in selectors(rule["expr"])))
    assert used <= kept - {"le"}


@pytest.mark.parametrize("rule", BY_NAME)
def test_the_runbook_of_an_alert_is_a_section_that_names_it(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert rule["alert"] in (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("rule", [*BY_NAME, *RECORDED])
def test_a_counter_is_read_as_a_rate(rule: dict[str, Any]) -> None:
    rated = r"\b(?:rate|increase)\(\s*kuma_aws_iam_\w+_(?:total|bucket|count)(?:\{[^}]*\})?\[\d+[mhd]\]\s*\)"
    bare = re.findall(r"\bkuma_aws_iam_\w+_(?:total|bucket|count)\b", re.sub(rated, "", rule["expr"]))
    # The one exception compares whether a counter exists now and existed a while ago.
    assert len(bare) == (2 if rule.get("alert") == "KumaAwsIamInternalError" else 0)


@pytest.mark.parametrize("rule", BY_NAME)
def test_an_alert_reads_only_series_that_exist_from_the_start(rule: dict[str, Any]) -> None:
    """A series that appears with its first value does not increase, so its first burst would not fire the alert."""
    late = {"kuma_aws_iam_decisions_total", "kuma_aws_iam_upstream_calls_total"}
    assert not late & {metric for metric, _ in selectors(rule["expr"])}


def test_what_stops_everybody_is_critical() -> None:
    critical = {rule["alert"] for rule in RULES if rule.get("labels", {}).get("severity") == "critical"}
    assert critical >= {"KumaAwsIamAbsent", "KumaAwsIamNotReady", "KumaAwsIamUndecided", "KumaAwsIamInternalError"}


# The unit tests.


def test_every_alert_fires_in_a_test_and_stays_quiet_in_another() -> None:
    tried: dict[bool, set[str]] = {True: set(), False: set()}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            [queried] = test["promql_expr_test"]
            [alert] = re.findall(r'alertname="(\w+)"', queried["expr"])
            assert test["name"].startswith(f"{alert} {'fires' if queried['exp_samples'] else 'is quiet'}")
            tried[bool(queried["exp_samples"])].add(alert)
    names = {rule["alert"] for rule in RULES if "alert" in rule}
    assert tried == {True: names, False: names}


def test_the_series_of_the_unit_tests_exist() -> None:
    """A test with a series that the service does not have would prove nothing."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for series in test["input_series"]:
                for metric, matchers in selectors(series["series"]):
                    labels = {label: value for label, _, value in matchers if label not in SCRAPED}
                    assert labels.keys() <= METRICS[metric], series["series"]
                    for label in labels.keys() & (CLOSED_SETS.keys() - {"le"}):
                        assert labels[label] in CLOSED_SETS[label], series["series"]


def test_promtool_accepts_the_rules() -> None:
    run_promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


@pytest.mark.parametrize("path", TESTS, ids=[path.name for path in TESTS])
def test_promtool_runs_the_unit_tests(path: Path) -> None:
    run_promtool("test", "rules", path)
