"""The report-only policy: the setting that names its file, and the policy in force while the service runs."""

import time
from typing import Annotated

from pydantic import BeforeValidator

from app.local.clock import Timer
from app.policy.verdict import AccessPolicy
from app.settings.parsing import SettingsGroup, setting
from app.settings.policy_file import PolicyFile, read_policy_file
from app.settings.watch import FileWatch
from app.telemetry.audit import get_logger
from app.telemetry.metrics import Metrics


class CandidateSettings(SettingsGroup):
    """A policy that the service evaluates and reports, but does not enforce."""

    candidate_policy: Annotated[PolicyFile | None, BeforeValidator(read_policy_file)] = setting(
        "KMESH_AWSIAM_CANDIDATE_POLICY_FILE",
        "A UTF-8 file with a whole policy, one `NAME=VALUE` a line: [Change a policy "
        "safely](../how-to/change-a-policy-safely.md). The service evaluates the policy beside the enforced one on every "
        "decision, counts and logs the results, and **changes no answer**. The service reads the file again when it "
        "changes. Unset: no such policy.",
    )


class CandidateFile:
    """The policy of the file that ``KMESH_AWSIAM_CANDIDATE_POLICY_FILE`` names. The last valid one stays.

    Attributes:
        watch: detects changes; `app.service` checks it every few seconds and on SIGHUP.
    """

    def __init__(self, file: PolicyFile, metrics: Metrics, timer: Timer = time.monotonic) -> None:
        """Start with the policy of the settings."""
        self._file = file
        self.watch = FileWatch("candidate_policy", lambda: self._file.paths, self._load, metrics, timer)

    def current(self) -> AccessPolicy:
        """Return the last valid policy."""
        return self._file.policy

    def _load(self) -> None:
        file = read_policy_file(str(self._file.path))
        if file.policy != self._file.policy:
            get_logger().info("candidate policy changed", file=str(file.path))
        self._file = file
