"""The two text formats of ``/metrics``: Prometheus's own, and OpenMetrics, which alone has exemplars."""

from enum import Enum
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
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
        # The histogram of clock skew has buckets below zero, so it has no ``_sum``, and then OpenMetrics forbids its
        # ``_count``. The library keeps the ``_count``, and that is right here: without it, OpenTelemetry's collector drops
        # the histogram, and Prometheus reads both. Only strict parsers, such as the library's own, object.
        # Every name here is valid in every escaping scheme. This scheme checks a name as a whole; the default scheme looks
        # at each character, which takes twice the time.
        rendered: bytes = openmetrics.generate_latest(  # type: ignore[no-untyped-call]  # the library does not annotate it
            registry, escaping=openmetrics.ALLOWUTF8
        )
        return rendered


def choose_exposition(accept: str) -> Exposition:
    """Return the format that a scraper asks for by its header ``Accept``; Prometheus's own format in case of doubt."""
    try:
        _, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a malformed version in ``Accept``
        return Exposition.TEXT
    return Exposition.OPENMETRICS if media_type.startswith(_OPENMETRICS_TYPE) else Exposition.TEXT
