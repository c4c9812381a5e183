"""The least that a Python server can do about a miss: ``python -m bench.forwarder PORT URL < TARGET``.

It uses the service's own protocol and the service's own HTTP client. Each call is read, one request is sent to STS, and a
constant is answered. The request is always the same one: nothing is decoded, checked, counted, logged or remembered.
"""

import asyncio
import ssl
import sys
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

from app.aws.exchange import request_bytes
from app.http.pool import HttpPool, Origin
from app.server.process import uvicorn_config
from bench.credentials import HOST
from bench.service import AUDIENCE
from bench.trivial import trivial

_HEADERS: Final = [
    ("Host", HOST),
    ("Accept", "application/json"),
    ("User-Agent", "kuma-aws-iam"),
    ("x-kuma-audience", AUDIENCE),
]
_SECONDS: Final = 5.0
_OK: Final = 200


class Forwarder:
    """Sends one request to STS for each call with a body, and answers what `bench.trivial` answers."""

    def __init__(self, url: str, target: str) -> None:
        self._origin = Origin.of(url)
        self._request = request_bytes(f"GET {target} HTTP/1.1", _HEADERS, b"")
        self._pool: HttpPool | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["method"] == "POST":
            # The pool belongs to the event loop, which runs only now.
            pool = self._pool = self._pool or HttpPool(ssl.create_default_context(), connect_timeout=_SECONDS)
            due = asyncio.get_running_loop().time() + _SECONDS
            reply = await pool.exchange(self._origin, self._request, due)
            if reply.status != _OK:
                raise RuntimeError(f"STS answered {reply.status}")
        await trivial(scope, receive, send)


if __name__ == "__main__":
    config = uvicorn_config(Forwarder(sys.argv[2], sys.stdin.read()), grace_seconds=1)
    config.host, config.port = "127.0.0.1", int(sys.argv[1])
    uvicorn.Server(config).run()
