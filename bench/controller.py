"""What a pass of the controller costs: calls, time and memory, with 2,000 tasks of 50 services.

The controller is a process of its own. ECS and Secrets Manager are a stand-in on loopback, IAM is the emulator, and a key
signs the tokens. So the times are those of the controller and of the stand-in, without a network. As with AWS, all calls use
TLS, and the trusted authorities are those of botocore, each of which takes memory.

Usage: python -m bench.controller [--tasks N] [--services N]
"""

import argparse
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import botocore
import httpx

from app.emulator.server import Emulator
from app.emulator.world import World
from bench.certificate import make_chain
from bench.processes import cpu_seconds, free_port
from demos.controller.ecs_stand_in import CLUSTER, Ecs, ecs_stand_in

_ACCOUNT: Final = "111122223333"
_OWN_ROLE: Final = "controller"
_START_SECONDS: Final = 180.0
_QUIET_PASSES: Final = 2
_GAUGE: Final = re.compile(
    r"^kuma_aws_iam_controller_(pass_seconds|last_full_pass_timestamp_seconds) (\S+)$", re.MULTILINE
)


def main() -> int:
    """Measure both modes, and print a line for each pass."""
    parser = argparse.ArgumentParser(description="Calls, time and memory of the controller.")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--services", type=int, default=50)
    options = parser.parse_args()
    for identity in ("task-tags", "role"):
        print(f"--identity {identity}: {options.tasks} tasks of {options.services} services")
        with tempfile.TemporaryDirectory() as folder:
            chain = make_chain(Path(folder))
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(chain.certificate, chain.key)
            with ecs_stand_in(tls) as ecs:
                world = World()
                world.add_role(_ACCOUNT, _OWN_ROLE)
                _fill(ecs, world, options.tasks, options.services)
                with Emulator(world, ssl_certfile=str(chain.certificate), ssl_keyfile=str(chain.key)) as emulator:
                    _measure(ecs, emulator, Path(folder), chain.root, identity)
    return 0


def _fill(ecs: Ecs, world: World, tasks: int, services: int) -> None:
    for number in range(services):
        name = f"service-{number}"
        tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": name}
        world.add_role(_ACCOUNT, name, tags=tags)
        ecs.roles[f"{name}:1"] = f"arn:aws:iam::{_ACCOUNT}:role/{name}"
        ecs.add_secret(name)
    for number in range(tasks):
        name = f"service-{number % services}"
        ecs.add_task(service=name, definition=f"{name}:1")


def _measure(ecs: Ecs, emulator: Emulator, folder: Path, root: Path, identity: str) -> None:
    command = [sys.executable, "-m", "app"]
    subprocess.run(
        [*command, "keys", "generate", "--kind", "both", "--for", "2.x", "--kid", "1", "--out", str(folder)],
        check=True,
        capture_output=True,
    )
    address = f"127.0.0.1:{free_port()}"
    authorities = folder / "authorities.pem"
    authorities.write_bytes(Path(botocore.__file__).with_name("cacert.pem").read_bytes() + root.read_bytes())
    own = emulator.issue(_ACCOUNT, _OWN_ROLE)
    variables = {
        "PATH": os.defpath,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CA_BUNDLE": str(authorities),
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_STS": emulator.url,
        "AWS_ENDPOINT_URL_IAM": emulator.url,
        # The SDK trusts only its own authorities for the endpoint of a task's credentials.
        "AWS_ACCESS_KEY_ID": own.access_key_id,
        "AWS_SECRET_ACCESS_KEY": own.secret_access_key,
        "AWS_SESSION_TOKEN": own.session_token,
        "AWS_ENDPOINT_URL_ECS": ecs.url,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": ecs.url,
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": _ACCOUNT,
    }
    options = ("--signing-keys", str(folder / "dataplane.keys"), "--identity", identity, "--cluster", CLUSTER)
    with subprocess.Popen(
        [*command, "controller", *options, "--diagnostics", address],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            started = time.monotonic()
            _wait_for_full_pass(address, 0.0)
            print(f"  first full pass: {time.monotonic() - started:.1f} s after the start; {_calls(ecs)}")
            for _ in range(_QUIET_PASSES):
                before = _gauges(address)["last_full_pass_timestamp_seconds"]
                ecs.calls.clear()
                _wait_for_full_pass(address, before)
                print(f"  quiet pass: {_gauges(address)['pass_seconds']:.2f} s; {_calls(ecs)}")
            print(f"  {_cost(process.pid)}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_for_full_pass(address: str, after: float) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            if _gauges(address)["last_full_pass_timestamp_seconds"] > after:
                return
        except httpx.HTTPError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise TimeoutError("the controller makes no full pass")


def _gauges(address: str) -> Mapping[str, float]:
    text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    return {name: float(value) for name, value in _GAUGE.findall(text)}


def _calls(ecs: Ecs) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(ecs.counts().items()))


def _cost(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    memory = {key: int(value) for key, value in re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB$", status, re.MULTILINE)}
    now, most = memory["VmRSS"] / 1000, memory["VmHWM"] / 1000
    return f"memory {now:.0f} MB, at most {most:.0f} MB; processor time {cpu_seconds(pid):.1f} s"


if __name__ == "__main__":
    sys.exit(main())
