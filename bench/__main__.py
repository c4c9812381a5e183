"""Processor time of one decision: hits and misses, beside a trivial ASGI handler, a Go equivalent and bare clients.

Everything is measured in one run, in turns, since machines drift: read the ratios. The server has a core of its own where
there are two; the load and the emulated AWS share the other one. What counts is processor time per request (user and system,
as the kernel accounts for it), so that a slow neighbour changes the wall time and not the result. Latencies are those of a
closed loop: every connection asks again at once, so they are the queue of a server at its limit.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from app.emulator import Emulator
from bench import footprint, golang
from bench.agree import require_agreement
from bench.load import Generator, PythonGenerator
from bench.processes import cores, end, free_port, on_core, start, wait_until_ready
from bench.rounds import CONNECTIONS, Server, build_world, measure
from bench.rows import HEAD, line_of
from bench.service import NO_PACING, service_environment, signing_keys, start_service, without_unknown

FILL_SECONDS: Final = 90.0


def main() -> None:
    """Measure and print."""
    options = _read_options()
    server_core, load_core = cores()
    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(on_core(load_core))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        program = None if options.no_go else golang.build(folder)
        generator = PythonGenerator() if program is None else golang.GoGenerator(program, load_core)
        _print_setting(options.rounds, generator, server_core == load_core)
        emulator = stack.enter_context(Emulator(build_world(options.rounds)))
        extra = without_unknown(service_environment(emulator, free_port()), NO_PACING)
        servers = _start_servers(emulator, program, server_core, extra, stack)
        if "go" in servers:
            cases = require_agreement(emulator, servers["service"].port, servers["go"].port)
            print(f"the service and its Go equivalent agree about {cases} good and bad calls")
        rows = measure(emulator, servers, generator, options.rounds, server_core)
        print(f"\n{HEAD}")
        for row in rows:
            print(line_of(row, rows[0]))
        print(
            "\nCPU us: processor time of the server, or of the bare client, a request. x trivial, x Go: requests for the\n"
            "same processor time, beside the first row, and beside Go's row of that kind; above 1 is better than it."
        )
        _print_memory(emulator, generator, server_core, extra, options)
    print(f"\n{time.monotonic() - began:.0f} s")


def _start_servers(
    emulator: Emulator, program: str | None, core: int, extra: dict[str, str], stack: ExitStack
) -> dict[str, Server]:
    ports = {name: free_port() for name in ("trivial", "own trivial", "service", "tokens", "go")}
    environment = service_environment(emulator, ports["service"], extra)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-keys-")))
    with_keys = service_environment(emulator, ports["tokens"], {**extra, **signing_keys(folder)})
    processes = {}
    for name, words in {"trivial": [], "own trivial": ["own"]}.items():
        trivial = processes[name] = start(
            [sys.executable, "-m", "bench.trivial", str(ports[name]), *words], core, environment=dict(os.environ)
        )
        stack.callback(end, trivial)
        wait_until_ready(ports[name], trivial, "/")
    service = start_service(environment, core)
    stack.callback(end, service)
    processes["service"] = service
    processes["tokens"] = start_service(with_keys, core)
    stack.callback(end, processes["tokens"])
    if program is not None:
        processes["go"] = golang.serve(program, core, ports["go"], environment)
        stack.callback(end, processes["go"])
    return {name: Server(process, ports[name]) for name, process in processes.items()}


def _print_setting(rounds: int, generator: Generator, shared: bool) -> None:  # noqa: FBT001 - private
    print(
        f"{platform.machine()}, {os.cpu_count()} cores{', all on one' if shared else ''}, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f}; {rounds} rounds, medians; "
        f"{CONNECTIONS} connections; load in {generator.name}"
    )


def _print_memory(
    emulator: Emulator, generator: Generator, core: int, extra: dict[str, str], options: argparse.Namespace
) -> None:
    if options.no_footprint:
        return
    print()
    measured = footprint.measure(emulator, generator, core, extra, identities=options.identities, seconds=FILL_SECONDS)
    for line in measured.lines():
        print(line)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="make bench-storm measures a storm, make bench-hostile valid callers beside hostile ones.",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default: %(default)s)")
    parser.add_argument(
        "--identities",
        type=int,
        default=100_000,
        help=f"how many identities fill the cache, at most {FILL_SECONDS:.0f} s (default: %(default)s; 0: none)",
    )
    parser.add_argument("--no-footprint", action="store_true", help="leave out cold start and memory")
    parser.add_argument("--no-go", action="store_true", help="leave out Go, and make the load in Python")
    return parser.parse_args()


if __name__ == "__main__":
    main()
