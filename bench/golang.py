"""The Go yardstick in ``bench/go``: built offline into a folder that goes away, where there is a Go toolchain."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.core.endpoints import select_endpoints
from app.sts.endpoints import load_sts_endpoints
from bench.load import PATH, Load
from bench.processes import Process, end, on_core, start, wait_until_ready

_SOURCE: Final = Path(__file__).parent / "go"


def build(folder: str) -> str | None:
    """Return the path of the built program; None where there is no Go toolchain.

    Raises:
        SystemExit: there is one, and it does not build.
    """
    go = shutil.which("go")
    if go is None:
        return None
    program = str(Path(folder) / "yardstick")
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    built = subprocess.run(
        [go, "build", "-o", program, "."], cwd=_SOURCE, env=environment, capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise SystemExit(f"bench/go does not build:\n{built.stderr}")
    return program


def version() -> str:
    """Return the toolchain's version."""
    return subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607


def serve(program: str, core: int, port: int, service: Mapping[str, str]) -> Process:
    """Start the equivalent with what the service's environment says, on one core and with one thread of Go code."""
    settings = {
        "listen": f"127.0.0.1:{port}",
        "audience": service["KMESH_AWSIAM_AUDIENCE"],
        "accounts": service["KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"].split(","),
        "endpoints": {
            host: endpoint.signing_region
            for host, endpoint in select_endpoints(load_sts_endpoints(), partition="aws").items()
        },
        "sts": service["AWS_ENDPOINT_URL_STS"],
        "iam": service["AWS_ENDPOINT_URL_IAM"],
        "credentials": service["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
    }
    process = start([program, "serve"], core, environment={"GOMAXPROCS": "1"}, stdin=subprocess.PIPE)
    if process.stdin is not None:
        process.stdin.write(json.dumps(settings).encode())
        process.stdin.close()
    try:
        wait_until_ready(port, process)
    except BaseException:
        end(process)
        raise
    return process


class GoGenerator:
    """The closed loop of ``bench/go/load.go``."""

    def __init__(self, program: str, core: int) -> None:
        self._program = program
        self._core = core
        self.name = f"Go ({version()})"

    def run(self, port: int, bodies: Sequence[bytes], connections: int, path: str = PATH) -> Load:
        """See `bench.load.Generator`."""
        with on_core(self._core):
            ran = subprocess.run(
                [
                    *(self._program, "load", "-address", f"127.0.0.1:{port}"),
                    *("-connections", str(connections), "-path", path),
                ],
                input=b"\n".join(bodies),
                env={"GOMAXPROCS": "1"},
                capture_output=True,
                check=False,
            )
        if ran.returncode:
            raise SystemExit(f"the load failed: {ran.stderr.decode()}")
        seen = json.loads(ran.stdout)
        return Load(
            seen["seconds"],
            [micros / 1e6 for micros in seen["latencies"]],
            {int(status): number for status, number in seen["statuses"].items()},
            seen["cpu"],
        )
