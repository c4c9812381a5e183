"""Where the page reads the state of the service."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.local.certificate_dates import Validity
from app.local.tls import CertificateFile
from app.telemetry.file_dates import KeyDate
from app.telemetry.readiness import Readiness
from app.telemetry.states import FileState, QueueStates
from app.telemetry.upstream_states import Upstream, UpstreamStates


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """Callbacks that return the present state at once. None of them reads a file.

    Attributes:
        readiness: the state behind ``/ready``.
        queues: the queues in front of STS and IAM.
        upstreams: the last results of STS and IAM, and of the service's own credentials.
        in_flight: the number of decisions in progress.
        cache_entries: the number of entries of each cache.
        files: the files that are read again when they change.
        certificates: when the listener's certificates are valid.
        keys: the keys that sign tokens.
    """

    readiness: Readiness
    queues: Mapping[Upstream, QueueStates]
    upstreams: UpstreamStates
    in_flight: Callable[[], int]
    cache_entries: Mapping[str, Callable[[], int]]
    files: Callable[[], Iterable[FileState]]
    certificates: Callable[[], Mapping[CertificateFile, Validity]]
    keys: Callable[[], Iterable[KeyDate]]
