"""The two text formats of ``/metrics``: Prometheus's own, and OpenMetrics, which alone has exemplars."""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder
from prometheus_client.openmetrics import exposition as openmetrics

_OPENMETRICS_TYPE: Final = "application/openmetrics-text"


class Exposition(Enum):
    """A format of the page; the value is its media type."""

    TEXT = CONTENT_TYPE_LATEST
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

    def render(self, registry: CollectorRegistry) -> bytes:
        """Return all metrics of a registry in this format."""
        if self is Exposition.TEXT:
            return generate_latest(registry)
        # Every name here is valid in every escaping scheme. This scheme checks a name as a whole; the default scheme looks
        # at each character, which takes twice the time.
        rendered: bytes = openmetrics.generate_latest(  # type: ignore[no-untyped-call]  # the library does not annotate it
            _Valid(registry), escaping=openmetrics.ALLOWUTF8
        )
        return rendered


class _Valid:
    """The metrics of a registry without what OpenMetrics does not allow.

    A histogram with buckets below zero has no ``_sum``, and a histogram without ``_sum`` must have no ``_count``
    (https://prometheus.io/docs/specs/om/open_metrics_spec/#histogram). The library leaves out only the first.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            names = {sample.name for sample in metric.samples}
            if metric.type == "histogram" and f"{metric.name}_sum" not in names:
                metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_count"]
            yield metric


def choose_exposition(accept: str) -> Exposition:
    """Return the format that a scraper asks for by its header ``Accept``; Prometheus's own format in case of doubt."""
    try:
        _, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the version of a media type is not a version
        return Exposition.TEXT
    return Exposition.OPENMETRICS if media_type.startswith(_OPENMETRICS_TYPE) else Exposition.TEXT
