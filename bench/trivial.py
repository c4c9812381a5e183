"""The least that a server can do with the same body: what the runtime allows. ``python -m bench.trivial PORT [own]``.

It is served by uvicorn as it comes (httptools, uvloop, no access log); with ``own`` by the service's own protocol, which
bounds what it reads and sends at the end of each turn.
"""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.process import uvicorn_config

_BODY = b'{"identity":{"type":"dataplane","mesh":"default","service":"demo-app","workload":null,"zone":null}}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def trivial(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, and answer always the same."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    config = uvicorn_config(trivial, grace_seconds=1)
    if "own" not in sys.argv[2:]:
        config.http = HttpToolsProtocol
    config.host, config.port = "127.0.0.1", int(sys.argv[1])
    uvicorn.Server(config).run()
