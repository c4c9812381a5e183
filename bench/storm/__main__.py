"""A reconnect storm: a control plane restarts, and every sidecar presents its credential at once.

The service has a core of its own. The emulated AWS, which verifies every signature, the sidecars and Redis share the other
one. AWS answers within 20 ms (STS) and 40 ms (IAM), and throttles beyond 600 and 10 calls a second and account. Each sidecar
presents its credential once, or three times (ADS and HDS together, and once more behind everybody's), all of it at t = 0,
over a bounded number of kept-alive connections, and comes again when Retry-After says so, or whenever it likes. Some
impostors present credentials of others beside their own claim, and must never be let in.

A storm whose settings the service does not know is reported as not there. Exit status 1 when a promise did not hold.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.emulator import Emulator
from bench.credentials import HOST, presigned_urls
from bench.processes import cores, free_port, on_core
from bench.service import effective_settings, service_environment
from bench.storm.catalogue import chosen
from bench.storm.options import changes_of, read_options
from bench.storm.outcome import Outcome
from bench.storm.plots import write_plots
from bench.storm.promises import own_bound, promises, rate_needed
from bench.storm.report import details, tables
from bench.storm.sampler import emulator_seconds
from bench.storm.scenarios import play_all
from bench.storm.shape import Shape
from bench.storm.stage import IAM_QUOTA, STS_LATENCY, STS_QUOTA
from bench.storm.world import build_world, role_of

_CALIBRATIONS: Final = 3
_CALIBRATION_CALLS: Final = 1_000
_CALIBRATION_CONNECTIONS: Final = 256


def main() -> int:
    """Play the storms, print, and return the exit status."""
    options = read_options(None, __doc__ or "")
    storms = chosen(options.only, everything=options.all, changes=changes_of(options))
    began = time.monotonic()
    # Asked for once, before this process keeps to one of them.
    server_core, load_core = cores()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores{', all on one' if server_core == load_core else ''}, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f}; {len(storms)} storms, "
        f"{options.seconds:,.0f} s at most"
    )
    settings = effective_settings(service_environment(Emulator(), free_port()))
    _check_emulator(max(rate_needed(storm, settings) for storm in storms), server_core, load_core)
    outcomes = play_all(storms, (server_core, load_core), began + options.seconds)
    kept = _report(outcomes, settings, options.plot)
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if kept else 1


def _check_emulator(wanted: float, server_core: int, load_core: int) -> None:
    """See that the emulated AWS can answer as many calls to STS a second as the storms need to keep to their bounds."""
    with on_core(load_core), Emulator(build_world(Shape(accounts=1, roles=1))) as emulator:
        emulator.faults.sts.latency = STS_LATENCY
        targets = [
            url.removeprefix(f"https://{HOST}") for url in presigned_urls(emulator, _CALIBRATION_CALLS, role_of(0))
        ]
        rates = []
        before = emulator_seconds()
        for _ in range(_CALIBRATIONS):
            with on_core(server_core):
                ran = subprocess.run(
                    [sys.executable, "-m", "bench.clients", "aiohttp", emulator.url, str(_CALIBRATION_CONNECTIONS)],
                    input="\n".join(targets).encode(),
                    capture_output=True,
                    check=True,
                )
            rates.append(_CALIBRATION_CALLS / json.loads(ran.stdout)["seconds"])
        cost = (emulator_seconds() - before) / (_CALIBRATION_CALLS * _CALIBRATIONS)
    rate = max(rates)
    verdict = "enough" if rate > wanted else "TOO FEW: it is the bottleneck, and what follows is its measure"
    print(
        f"the emulated AWS alone answers {rate:,.0f} STS calls/s and takes {cost * 1e6:.0f} us of its core for one; the "
        f"storms need {wanted:,.0f}: {verdict}\n"
    )


def _report(outcomes: Sequence[Outcome], settings: Mapping[str, str], plot: Path | None) -> bool:
    """Print what was seen; return whether every promise was kept."""
    print("\nThe fullest account of each shape, its credentials, its roles, and the least that each budget allows:")
    for shape in dict.fromkeys(outcome.storm.shape for outcome in outcomes):
        own = own_bound(settings, shape)
        print(f"  {shape}: {own.credentials:,} take {own.sts:.1f} s of STS, {own.roles:,} take {own.iam:.1f} s of IAM")
    print(
        f"Calls a second and account: the service's budgets are {own_bound(settings, Shape()).sts_rate:g} STS and "
        f"{own_bound(settings, Shape()).iam_rate:g} IAM; AWS's quotas {STS_QUOTA:g} and {IAM_QUOTA:g}.\n"
    )
    print(tables(outcomes, settings))
    print()
    for line in details(outcomes):
        print(line)
    print()
    verdicts = promises(outcomes, settings)
    for holds, words in verdicts:
        print(f"{'as promised' if holds else 'NOT AS PROMISED':16} {words}")
    broken = sum(not holds for holds, _ in verdicts)
    print(f"\n{broken} of {len(verdicts)} promises broken" if broken else f"\nall {len(verdicts)} promises kept")
    if plot is not None:
        for path in write_plots(outcomes, plot, settings):
            print(f"plot: {path}")
    return not broken


if __name__ == "__main__":
    sys.exit(main())
