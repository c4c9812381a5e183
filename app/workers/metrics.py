"""The metrics of several workers: each counts in files that all of them read, and whoever is asked answers for all.

The files are prometheus_client's own multi-process mode. It knows no gauge that is asked for at a scrape, so what is so at
this moment is written down every second.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.metrics import Metrics

PUBLISH_SECONDS: Final = 1.0


class WorkerMetrics(Metrics):
    """What one worker counts, and what all of them have counted."""

    def __init__(self, number: int, folder: str) -> None:
        """Count on from where the worker of this number before us ended: files are never more than workers are.

        Args:
            number: no other process that lives has it.
            folder: of all workers; the environment names it as well, for prometheus_client.
        """
        values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        self._folder = folder
        self._under_way: Callable[[], int] = lambda: 0
        super().__init__()

    def watch_in_flight(self, under_way: Callable[[], int]) -> None:
        """Remember whom to ask."""
        self._under_way = under_way

    def publish(self, *, ready: bool) -> None:
        """Write down what is so at this moment."""
        self.ready.set(ready)
        self._in_flight.set(self._under_way())

    def expose(self) -> bytes:
        """Return the metrics of all workers in Prometheus's text format."""
        self._in_flight.set(self._under_way())
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
