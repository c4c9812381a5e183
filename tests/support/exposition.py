"""Parse Prometheus's text format."""

import functools
import re
from collections.abc import Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Samples = Mapping[tuple[str, Labels], float]


def read_samples(text: str) -> Samples:
    """Every sample by its name and labels."""
    return {name: value for line in text.splitlines() for name, value in _read_line(line)}


@functools.cache
def _read_line(line: str) -> list[tuple[tuple[str, Labels], float]]:
    """Parse a line once: most of the 500 lines of a page are the same in all tests, and a whole page takes 20 ms."""
    return [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(f"{line}\n")
        for sample in family.samples
    ]


def read_openmetrics(text: str) -> Iterable[Metric]:
    """Every metric of a page in OpenMetrics; the library's parser rejects what the format does not allow.

    One line is left out: `app.telemetry.exposition` says why it is there although the format forbids it.
    """
    text = re.sub(r"^kuma_aws_iam_client_clock_skew_seconds_count .*\n", "", text, flags=re.MULTILINE)
    families: Iterable[Metric] = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return families


def value(samples: Samples, name: str, **labels: str) -> float:
    """One sample; a series that does not exist yet counts as zero."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def grown(before: Samples, after: Samples, name: str) -> dict[Labels, float]:
    """Return by how much each series of a counter grew, without the series that did not."""
    return {
        labels: after[sample, labels] - before.get((sample, labels), 0.0)
        for sample, labels in after
        if sample == name and after[sample, labels] != before.get((sample, labels), 0.0)
    }
