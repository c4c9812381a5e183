"""A reconnect storm: a control plane restarts, and every sidecar presents its credential at once.

The service has a core of its own. The emulated AWS, which verifies every signature, the sidecars and Redis share the other
one. AWS answers within 20 ms (STS) and 40 ms (IAM), and throttles beyond 600 and 10 calls a second and account. Each sidecar
presents its credential three times (ADS and HDS together, and once more behind everybody's), all of it at t = 0, over a
bounded number of kept-alive connections, and comes again when Retry-After says so. Some impostors present credentials of
others beside their own claim, and must never be let in.

A scenario whose settings the service does not know is reported as not there. Exit status 1 when a promise did not hold.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.emulator import Emulator
from bench.credentials import HOST, presigned_urls
from bench.processes import cores, on_core
from bench.storm.plots import write_plots
from bench.storm.promises import bounds_of, promises
from bench.storm.report import details, table
from bench.storm.sampler import emulator_seconds
from bench.storm.scenarios import NAMES, Outcome, Scenarios, with_needed
from bench.storm.stage import STS_LATENCY, STS_QUOTA, Stage
from bench.storm.world import ACCOUNTS, build_world, make_sidecars, most_in_one_account, role_of

_CALIBRATIONS = 3
_CALIBRATION_CALLS = 1_000
_CALIBRATION_CONNECTIONS = 256


def main() -> int:
    """Play the storms, print, and return the exit status."""
    options = _read_options()
    began = time.monotonic()
    # Asked for once, before this process keeps to one of them.
    server_core, load_core = cores()
    with (
        tempfile.TemporaryDirectory(prefix="storm-") as folder,
        on_core(load_core),
        Emulator(build_world(options.roles)) as emulator,
    ):
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average "
            f"{os.getloadavg()[0]:.1f}; {options.sidecars:,} sidecars, {options.roles} roles, {len(ACCOUNTS)} accounts, "
            f"{options.connections:,} connections"
        )
        _check_emulator(emulator, server_core)
        sidecars = make_sidecars(emulator.world, options.sidecars, options.roles)
        with Stage(emulator, sidecars, options.connections, Path(folder), (server_core, load_core)) as stage:
            scenarios = Scenarios(stage, began + options.seconds, with_needed(options.only or NAMES))
            scenarios.play_all()
    kept = _report(scenarios, options)
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if kept else 1


def _check_emulator(emulator: Emulator, core: int) -> None:
    """See that the emulated AWS can answer more than the storm will ask."""
    emulator.faults.sts.latency = STS_LATENCY
    targets = [url.removeprefix(f"https://{HOST}") for url in presigned_urls(emulator, _CALIBRATION_CALLS, role_of(0))]
    rates = []
    before = emulator_seconds()
    for _ in range(_CALIBRATIONS):
        with on_core(core):
            ran = subprocess.run(
                [sys.executable, "-m", "bench.clients", "aiohttp", emulator.url, str(_CALIBRATION_CONNECTIONS)],
                input="\n".join(targets).encode(),
                capture_output=True,
                check=True,
            )
        rates.append(_CALIBRATION_CALLS / json.loads(ran.stdout)["seconds"])
    rate, wanted = max(rates), STS_QUOTA * len(ACCOUNTS)
    cost = (emulator_seconds() - before) / (_CALIBRATION_CALLS * _CALIBRATIONS)
    verdict = "enough" if rate > wanted else "TOO FEW: it is the bottleneck, and what follows is its measure"
    print(
        f"the emulated AWS alone answers {rate:,.0f} STS calls/s and takes {cost * 1e6:.0f} us of its core for one; the "
        f"quotas let {wanted:,.0f} pass: {verdict}\n"
    )


def _report(scenarios: Scenarios, options: argparse.Namespace) -> bool:
    """Print what was seen; return whether every promise was kept."""
    outcomes: list[Outcome] = scenarios.outcomes
    own, aws = bounds_of(scenarios.settings, *most_in_one_account(options.sidecars, options.roles))
    known = "KMESH_AWSIAM_STS_RATE" in scenarios.settings
    print(
        f"\n{own.credentials:,} credentials and {own.roles} roles are in the fullest account. Calls a second and account:\n"
        f"  the service's budgets  {own.sts_rate:g} STS, {own.iam_rate:g} IAM; at least {own.sts:.1f} s and "
        f"{own.iam:.1f} s{'' if known else ' (it has none of its own)'}\n"
        f"  AWS's quotas           {aws.sts_rate:g} STS, {aws.iam_rate:g} IAM; at least {aws.sts:.1f} s and "
        f"{aws.iam:.1f} s\n"
    )
    print(table(outcomes, own, aws, options.sidecars))
    print()
    for line in details(outcomes):
        print(line)
    print()
    verdicts = promises(outcomes, own, options.sidecars, options.roles)
    for holds, words in verdicts:
        print(f"{'as promised' if holds else 'NOT AS PROMISED':16} {words}")
    if options.plot is not None:
        for path in write_plots(outcomes, options.plot, options.sidecars):
            print(f"plot: {path}")
    return all(holds for holds, _ in verdicts)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sidecars", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--roles", type=int, default=200, help="over all accounts (default: %(default)s)")
    parser.add_argument(
        "--connections",
        type=int,
        default=4_000,
        help="kept alive, over all replicas; the service holds 8,192 decisions at once (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=150, help="for all storms together (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), help="play these storms, and those that they need")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write SVG plots there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
