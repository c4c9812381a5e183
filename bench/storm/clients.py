"""The process of the sidecars: what a control plane does for them after its restart. ``python -m bench.storm.clients``.

It is told what to do, and tells what it saw, in lines of JSON. Each sidecar's credential is presented once or several times,
all of it at once, over a bounded number of kept-alive connections. After a 503 it comes again when ``Retry-After`` says so,
unless the order says that callers ignore it.
"""

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from bench.load import PATH, post
from bench.processes import raise_open_files
from bench.storm.connection import Pool, Presentation
from bench.storm.shape import STREAMS
from bench.storm.tally import Tally

_OPEN_FILES: Final = 20_000
_LOOK_SECONDS: Final = 0.05


def queue_of(
    setup: dict[str, Any], ports: Sequence[int], chance: random.Random, presentations: int = 3
) -> list[Presentation]:
    """Return every presentation in the order in which they come.

    A proxy opens its two streams (ADS, HDS) in the same moment; to different replicas, where there are two. The third time
    comes of a connection that broke, behind everybody's first ones. Impostors are anywhere.
    """
    order = list(enumerate(post(PATH, call.encode()) for call in setup["calls"]))
    queue: list[Presentation] = []
    for streams in STREAMS[presentations]:
        chance.shuffle(order)
        queue += [
            Presentation(sidecar, request, ports[(sidecar + stream) % len(ports)])
            for sidecar, request in order
            for stream in streams
        ]
    for call in setup["impostors"]:
        queue.insert(chance.randrange(len(queue)), Presentation(None, post(PATH, call.encode()), ports[0]))
    return queue


@dataclass(slots=True)
class Lateness:
    """How late this process does what is due: its own part of every latency that it sees.

    Attributes:
        most: seconds.
    """

    most: float = 0.0

    async def watch(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_LOOK_SECONDS)
            self.most = max(self.most, time.monotonic() - began - _LOOK_SECONDS)


async def play(setup: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """Play one storm; give up after so many seconds."""
    ports: list[int] = order["ports"]
    chance = random.Random(4)
    each = order["presentations"]
    presentations = queue_of(setup, ports, chance, each)
    tally = Tally(setup["expected"], [each] * len(setup["calls"]), len(presentations))
    _leave_to_the_end()
    pool = Pool(tally, chance, order["gives_up_after"], order["comes_again_after"])
    late = Lateness()
    watching = asyncio.create_task(late.watch())
    for port in ports:
        pool.open(port, order["connections"] // len(ports))
    for presentation in presentations:
        pool.present(presentation)
    try:
        async with asyncio.timeout(order["seconds"]):
            await pool.done.wait()
    except TimeoutError:
        tally.errors["presentations without a decision"] += tally.left
    ended = time.monotonic()
    watching.cancel()
    await pool.close()
    return {"began": pool.began, "seconds": ended - pool.began, "late": late.most, **tally.result()}


def _leave_to_the_end() -> None:
    """Keep the garbage collector from looking, in the middle of a storm, at what stays until its end."""
    gc.unfreeze()  # of the storm before
    gc.collect()
    gc.freeze()


def main() -> None:
    """Read the sidecars once, then play a storm for each order, until stdin ends."""
    raise_open_files(_OPEN_FILES)
    setup = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        # No print: behind uvloop.run, Python's buffered output has lost the middle of long lines.
        told = memoryview(json.dumps(uvloop.run(play(setup, json.loads(line)))).encode() + b"\n")
        while told:
            told = told[os.write(sys.stdout.fileno(), told) :]


if __name__ == "__main__":
    main()
