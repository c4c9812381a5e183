"""The service as it is shipped: metrics and audit lines on, the lines written to nowhere."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from app.emulator import Emulator
from bench.image_packages import command_without
from bench.processes import Process, end, start, wait_until_ready

ACCOUNT: Final = "111122223333"
OWN_ROLE: Final = "kuma-aws-iam"
AUDIENCE: Final = "kuma-control-plane"
# Where the way to AWS is not what is measured, the budgets towards it must not be either.
NO_PACING: Final = {"KMESH_AWSIAM_STS_RATE": "100000", "KMESH_AWSIAM_IAM_RATE": "1000"}

_USAGE_ERROR: Final = 2
_UNKNOWN: Final = "no such setting"


class NotThereError(Exception):
    """The service knows no variable of this name; the message holds the name."""


def service_environment(
    emulator: Emulator, port: int, extra: Mapping[str, str] | None = None, accounts: Iterable[str] = (ACCOUNT,)
) -> dict[str, str]:
    """Return an environment in which the service takes its role in the first account, and calls the emulator."""
    listed = list(accounts)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMESH_", "KUMA_"))},
        **emulator.environment(listed[0], OWN_ROLE),
        "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
        "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ",".join(listed),
        "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
        "KMESH_AWSIAM_LISTEN": f"127.0.0.1:{port}",
        **(extra or {}),
    }


def signing_keys(folder: Path) -> dict[str, str]:
    """Make a key in a folder; return the settings with which the service issues data plane tokens, a name in each."""
    command = [
        sys.executable,
        "-m",
        "app",
        "keys",
        "generate",
        "--kind",
        "dataplane",
        "--kid",
        "bench-1",
        "--out",
        str(folder),
    ]
    subprocess.run(command, check=True, capture_output=True)
    keys = folder / "keys"
    keys.write_text(f"bench-1 * {folder / 'bench-1.pem'}\n", encoding="utf-8")
    return {"KMESH_AWSIAM_DATAPLANE_KEYS_FILE": str(keys), "KMESH_AWSIAM_TOKEN_NAMES": "true"}


def start_service(
    environment: Mapping[str, str], core: int, ready_at: int | None = None, *, hidden: Collection[str] = ()
) -> Process:
    """Start the service on a core, and come back when it is ready.

    Args:
        environment: its settings.
        core: where it runs.
        ready_at: the port of its probes; None: the API's.
        hidden: modules that it cannot import.
    """
    command = command_without(sys.executable, hidden) if hidden else [sys.executable, "-m", "app", "serve"]
    process = start(command, core, environment=environment)
    try:
        wait_until_ready(ready_at or int(environment["KMESH_AWSIAM_LISTEN"].rpartition(":")[2]), process)
    except BaseException:
        end(process)
        raise
    return process


def effective_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return each variable's effective value, as ``check-config`` prints it.

    Raises:
        NotThereError: the service does not know one of the variables.
        SystemExit: another problem of the environment.
    """
    checked = subprocess.run(
        [sys.executable, "-m", "app", "check-config"], env=environment, capture_output=True, text=True, check=False
    )
    if checked.returncode == 0:
        return {words[0]: words[1] for words in map(str.split, checked.stdout.splitlines()) if len(words) > 1}
    unknown = [line.split(":")[0].strip() for line in checked.stderr.splitlines() if _UNKNOWN in line]
    if checked.returncode == _USAGE_ERROR and unknown:
        raise NotThereError(", ".join(unknown))
    raise SystemExit(f"the service cannot be started so:\n{checked.stderr}")


def without_unknown(environment: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return those of the wanted variables that the service knows, so that a benchmark runs with an older one too."""
    known = {}
    for name, value in wanted.items():
        try:
            effective_settings({**environment, name: value})
        except NotThereError:
            continue
        known[name] = value
    return known
