"""The names and labels of the metrics that Prometheus queries read, from the code that declares them."""

import re
from typing import Final

from app.telemetry.metrics import Metrics

# The labels that Prometheus adds to each sample.
SCRAPED: Final = {"job", "instance"}
_SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}

Selector = tuple[str, list[tuple[str, str, str]]]


def declared_metrics() -> dict[str, set[str]]:
    """Return every name that a query may read in either format, with the labels of its series."""
    metrics = Metrics()
    found = {}
    for family in metrics.families():
        collector = metrics._registry._names_to_collectors.get(family.name)
        labels = set(getattr(collector, "_labelnames", ()))
        # A histogram with buckets below zero has no sum.
        without = set() if any(sample.name.endswith("_sum") for sample in family.samples) else {"_sum"}
        for suffix in set(_SUFFIXES[family.type]) - without:
            found[f"{family.name}{suffix}"] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def selectors(expression: str) -> list[Selector]:
    """Each metric that an expression reads, with its label matchers."""
    return [
        (metric, re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers))
        for metric, matchers in re.findall(r"(?<![:\w])(kuma_aws_iam_\w+)(?:\{([^}]*)\})?", expression)
    ]
