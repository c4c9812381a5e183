"""Processor time of one decision: hits and misses, beside a trivial ASGI handler, a Go equivalent and bare clients.

Everything is measured in one run, in turns, since machines drift: read the ratios. The server has a core of its own where
there are two; the load and the emulated AWS share the other one. What counts is processor time per request (user and system,
as the kernel accounts for it), so that a slow neighbour changes the wall time and not the result. Latencies are those of a
closed loop: every connection asks again at once, so they are the queue of a server at its limit.

A miss is measured four times more: by a service whose caches are full, by one that reaches STS over TLS, by Go, and by a
server in Python that makes the same call to STS and decides nothing (`bench.forwarder`). Behind the table come the cold
start, the memory, and what is promised. Exit status 1 when a promise did not hold.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from app.emulator import Emulator
from bench import footprint, golang
from bench.agree import require_agreement
from bench.credentials import presigned_urls, target_of
from bench.image_packages import development_modules
from bench.load import Generator, PythonGenerator
from bench.processes import cores, end, free_port, on_core, start, wait_until_ready
from bench.promises import Verdict, promises_of_memory, promises_of_rows
from bench.rounds import CONNECTIONS, Server, build_world, measure
from bench.rows import HEAD, line_of
from bench.service import NO_PACING, service_environment, signing_keys, start_service, without_unknown
from bench.upstream import open_upstream

FILL_SECONDS: Final = 150.0


def main() -> int:
    """Measure, print, and return the exit status."""
    options = _read_options()
    server_core, load_core = cores()
    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(on_core(load_core))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        program = None if options.no_go else golang.build(str(folder))
        generator = PythonGenerator() if program is None else golang.GoGenerator(program, load_core)
        _print_setting(options.rounds, generator, server_core == load_core)
        emulator = stack.enter_context(Emulator(build_world(options.rounds)))
        extra = without_unknown(service_environment(emulator, free_port()), NO_PACING)
        servers = _start_servers(emulator, program, server_core, extra, folder, stack)
        if "go" in servers:
            cases = require_agreement(emulator, servers["service"].port, servers["go"].port)
            print(f"the service and its Go equivalent agree about {cases} good and bad calls")
        filling = None
        if options.identities and not options.no_footprint:
            servers["full"] = _start_service(emulator, server_core, extra, stack)
            full = servers["full"]
            filling = footprint.fill(
                emulator,
                generator,
                full.process,
                full.port,
                identities=options.identities,
                seconds=FILL_SECONDS,
            )
            print(f"the caches of another one were filled with {filling.identities:,} identities")
        rows = measure(emulator, servers, generator, options.rounds, server_core)
        print(f"\n{HEAD}")
        for row in rows.values():
            print(line_of(row, rows["trivial"]))
        print(
            "\nCPU us: processor time of the server, or of the bare client, a request. x trivial, x Go: requests for the\n"
            "same processor time, beside the first row, and beside Go's row of that kind; above 1 is better than it."
        )
        is_full = filling is not None and filling.identities >= footprint.FULL
        verdicts = list(promises_of_rows(rows, caches_are_full=is_full))
        if not options.no_footprint:
            verdicts += _weigh(emulator, generator, server_core, extra, filling)
    return _print_verdicts(verdicts, began)


def _start_servers(
    emulator: Emulator, program: str | None, core: int, extra: dict[str, str], folder: Path, stack: ExitStack
) -> dict[str, Server]:
    servers = {}
    for name, words in {"trivial": [], "own trivial": ["own"]}.items():
        port = free_port()
        command = [sys.executable, "-m", "bench.trivial", str(port), *words]
        trivial = start(command, core, environment=dict(os.environ))
        stack.callback(end, trivial)
        wait_until_ready(port, trivial, "/")
        servers[name] = Server(trivial, port)
    port = free_port()
    forwarder = start(
        [sys.executable, "-m", "bench.forwarder", str(port), emulator.url],
        core,
        environment=dict(os.environ),
        stdin=subprocess.PIPE,
    )
    stack.callback(end, forwarder)
    if forwarder.stdin is not None:
        forwarder.stdin.write(target_of(next(presigned_urls(emulator, 1))).encode())
        forwarder.stdin.close()
    wait_until_ready(port, forwarder, "/")
    servers["forwarder"] = Server(forwarder, port)
    servers["service"] = _start_service(emulator, core, extra, stack)
    servers["tokens"] = _start_service(emulator, core, {**extra, **signing_keys(folder)}, stack)
    upstream = stack.enter_context(open_upstream(emulator.world, folder, tls=True))
    servers["tls"] = _start_service(upstream.emulator, core, {**extra, **upstream.variables}, stack)
    if program is not None:
        port = free_port()
        process = golang.serve(program, core, port, service_environment(emulator, port, extra))
        stack.callback(end, process)
        servers["go"] = Server(process, port)
    return servers


def _start_service(emulator: Emulator, core: int, extra: dict[str, str], stack: ExitStack) -> Server:
    port = free_port()
    process = start_service(service_environment(emulator, port, extra), core)
    stack.callback(end, process)
    return Server(process, port)


def _print_setting(rounds: int, generator: Generator, shared: bool) -> None:  # noqa: FBT001 - private
    print(
        f"{platform.machine()}, {os.cpu_count()} cores{', all on one' if shared else ''}, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f}; {rounds} rounds, medians; "
        f"{CONNECTIONS} connections; load in {generator.name}"
    )


def _weigh(
    emulator: Emulator, generator: Generator, core: int, extra: dict[str, str], filling: footprint.Filling | None
) -> list[Verdict]:
    """Print the cold start and the memory, and return what is promised about them."""
    print(f"\n{footprint.words_of_starts(footprint.cold_starts(emulator, core, extra))}")
    idle = footprint.idle_memory(emulator, core, extra)
    shipped = footprint.idle_memory(emulator, core, extra, development_modules())
    print(f"RSS idle: {shipped:.1f} MB with the packages of the image, {idle:.1f} MB with those for development")
    if filling is not None:
        print(filling)
    read = footprint.read_accounts(emulator, generator, core, extra)
    print(read)
    return list(promises_of_memory(shipped, read))


def _print_verdicts(verdicts: list[Verdict], began: float) -> int:
    print()
    for holds, words in verdicts:
        print(f"{'as promised' if holds else 'NOT AS PROMISED':16} {words}")
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if all(holds for holds, _ in verdicts) else 1


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
        default=footprint.FULL,
        help=f"how many identities fill the caches, at most {FILL_SECONDS:.0f} s (default: %(default)s; 0: none; "
        "with fewer than the default nothing is promised about full caches)",
    )
    parser.add_argument("--no-footprint", action="store_true", help="leave out cold start, memory and full caches")
    parser.add_argument("--no-go", action="store_true", help="leave out Go, and make the load in Python")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
