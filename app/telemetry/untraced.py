"""What the service records of each decision without tracing: nothing beyond the audit line and the metrics.

`app.telemetry.tracing.Tracing` has the same methods. So a service without tracing has no branch, and imports no package, for
it.
"""

from starlette.types import ASGIApp

from app.decision.authenticator import Introductions, RoleSource
from app.decision.steps import STEPS, Steps
from app.telemetry.metrics import Metrics


class TracingError(Exception):
    """Tracing cannot start. The message names the variables and the remedy."""


class Untraced:
    """Passes everything on unchanged.

    Attributes:
        metrics: the metrics of the service.
        steps: the functions of the decision's steps.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.steps: Steps = STEPS

    def introductions(self, introductions: Introductions) -> Introductions:
        """Return what finds out who signed a credential (steps 1 to 4)."""
        return introductions

    def roles(self, roles: RoleSource) -> RoleSource:
        """Return what reads roles (step 6)."""
        return roles

    def api(self, app: ASGIApp) -> ASGIApp:
        """Return the application that decides."""
        return app
