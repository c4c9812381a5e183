"""What came of one storm."""

from dataclasses import dataclass

from bench.storm.catalogue import Storm
from bench.storm.stage import HandshakeCost, Seen


@dataclass(slots=True)
class Outcome:
    """One storm, and what was seen of it.

    Attributes:
        storm: which one.
        absent: why it could not be played; empty if it was.
        is_late: whether it was not played since no time was left.
        seen: what it showed.
        sts_calls: GetCallerIdentity for sidecars.
        get_role_calls: GetRole.
        page_calls: GetAccountAuthorizationDetails.
        calls: all calls to AWS.
        connections: that the service opened to AWS; under TLS as many handshakes.
        handshake: what one costs; None without TLS.
        throttled: throttling answers of AWS.
        memory: peak resident megabytes.
    """

    storm: Storm
    absent: str = ""
    is_late: bool = False
    seen: Seen | None = None
    sts_calls: int = 0
    get_role_calls: int = 0
    page_calls: int = 0
    calls: int = 0
    connections: int = 0
    handshake: HandshakeCost | None = None
    throttled: int = 0
    memory: float = 0.0

    @property
    def name(self) -> str:
        """The storm's name."""
        return self.storm.name
