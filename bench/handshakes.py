"""What a TLS handshake costs its client. ``python -m bench.handshakes HOST PORT ROOT COUNT``.

It opens connections one after the other, first with TLS and then without, and prints the processor seconds of one of each.
The context is made once, as the service makes it, and no session is resumed.
"""

import asyncio
import json
import ssl
import sys
import time

import uvloop


async def _open(host: str, port: int, context: ssl.SSLContext | None) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    # The peer may cut the connection before its TLS end is exchanged.
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def measure(host: str, port: int, root: str, count: int) -> dict[str, float]:
    """Return the processor seconds of a handshake, and of a connection without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=root)
    measured = {}
    for name, chosen in (("tls", context), ("tcp", None)):
        await _open(host, port, chosen)
        before = time.process_time()
        for _ in range(count):
            await _open(host, port, chosen)
        measured[name] = (time.process_time() - before) / count
    return measured


if __name__ == "__main__":
    address, number, trusted, times = sys.argv[1:5]
    print(json.dumps(uvloop.run(measure(address, int(number), trusted, int(times)))))
