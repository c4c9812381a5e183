"""``/decisions``: the page of the latest decisions, on a listener that only this machine reaches.

A web page that an operator has open can make the operator's browser send requests to loopback. It must not read the answers:

- DNS rebinding: the name of the other page resolves to 127.0.0.1, and the browser treats both as one site. The ``Host`` then
  is the other page's name, and the answer is 403.
- An image, a frame or a script with the address of this page: the browser says so in ``Sec-Fetch-Site`` and
  ``Sec-Fetch-Dest``, and the answer is 403. Otherwise the time of the answer could tell whether a filter matches.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request, Response

from app.local.addresses import ListenAddress, TcpAddress
from app.page.document import PATH, DecisionsDocument

# Readers that wait for the page. It is made for one reader at a time.
MAX_READERS: Final = 8
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", re.ASCII)
_PARAMETERS: Final = ("outcome", "reason", "account", "role", "mesh", "text", "before")

Headers = Iterable[tuple[bytes, bytes]]


class DecisionsPage:
    """The page, and the check of who asks for it."""

    def __init__(self, document: DecisionsDocument, listener: ListenAddress) -> None:
        self._document = document
        self._hosts = _LOCAL_HOSTS | {host_of(listener)}
        self._readers = 0
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Return the page, or why this reader does not get it."""
        fault = self._fault(request.headers.raw)
        if fault is not None:
            return _plain(403, fault)
        if self._readers >= MAX_READERS:
            return _plain(503, "Too many readers wait for this page; load it again later.")
        self._readers += 1
        try:
            async with self._turn:
                page = await self._document.render(request.query_params)
        finally:
            self._readers -= 1
        headers = {**_HEADERS, "Content-Security-Policy": self._document.content_security_policy}
        return Response(page, media_type="text/html", headers=headers)

    def _fault(self, headers: Headers) -> str | None:
        """Return why a request gets no page; None if it gets one."""
        hosts = [value for name, value in headers if name == b"host"]
        named = _AUTHORITY.fullmatch(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else None
        if named is None or named[1] not in self._hosts:
            return "This page is only for this machine: open it as http://localhost:PORT/decisions."
        fetch = dict(headers)
        if (
            fetch.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")
            and fetch.get(b"sec-fetch-dest") != b"document"
        ):
            return "Another site may not embed this page: open its address in the browser."
        return None


_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def host_of(listener: ListenAddress) -> str:
    """Return the host by which a URL names a listener: its own, or the percent-encoded path of a Unix socket."""
    if isinstance(listener, TcpAddress):
        return (f"[{listener.host}]" if ":" in listener.host else listener.host).lower()
    return quote(str(listener.path), safe="").lower()


def add_decisions_page(app: FastAPI, page: DecisionsPage) -> None:
    """Add the route of the page to an application."""

    @app.get(
        PATH,
        summary="The latest decisions, for people",
        tags=["diagnostics"],
        response_class=Response,
        responses={
            200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}},
            403: _described("The `Host` is not this machine, or another site embeds the page."),
            503: _described("Too many readers wait for the page."),
        },
        openapi_extra={"parameters": [_parameter(name) for name in _PARAMETERS]},
    )
    async def decisions(request: Request) -> Response:
        return await page.answer(request)


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def _described(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain", headers=_HEADERS)
