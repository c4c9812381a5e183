"""A bare upstream client: the same signed requests to the same STS, and nothing else. ``python -m bench.clients``.

``python -m bench.clients aiohttp|httpx URL CONCURRENCY`` reads targets (path and query) from stdin, one a line, and prints
the seconds of processor and wall time. It shows what of a cache miss is the call to STS, and what the service's own
client saves.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import httpx
import uvloop
from yarl import URL

_HEADERS = {
    "Host": "sts.us-east-1.amazonaws.com",
    "Accept": "application/json",
    "x-kuma-audience": "kuma-control-plane",
}
_OK = 200

Get = Callable[[str], Awaitable[int]]


async def _drain(get: Get, targets: Iterator[str]) -> None:
    for target in targets:
        status = await get(target)
        if status != _OK:
            raise RuntimeError(f"STS answered {status}")


async def _run(get: Get, targets: list[str], concurrency: int) -> None:
    pending = iter(targets)
    await asyncio.gather(*(_drain(get, pending) for _ in range(concurrency)))


async def _aiohttp(url: str, targets: list[str], concurrency: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256), auto_decompress=False) as session:

        async def get(target: str) -> int:
            async with session.get(
                URL(url + target, encoded=True), headers=_HEADERS, allow_redirects=False
            ) as response:
                await response.read()
                return response.status

        await _run(get, targets, concurrency)


async def _httpx(url: str, targets: list[str], concurrency: int) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=256)) as client:

        async def get(target: str) -> int:
            return (await client.get(url + target, headers=_HEADERS)).status_code

        await _run(get, targets, concurrency)


if __name__ == "__main__":
    name, base, workers = sys.argv[1:4]
    lines = sys.stdin.read().split()
    client = {"aiohttp": _aiohttp, "httpx": _httpx}[name]
    started, cpu = time.perf_counter(), time.process_time()
    uvloop.run(client(base, lines, int(workers)))
    print(json.dumps({"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - started}))
