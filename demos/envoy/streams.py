"""A proxy's side: it opens a stream as kuma-dp's Envoy does, with what it presents in ``authorization``."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from demos.envoy.certificates import NAME
from demos.envoy.control_plane import ADS, TAKEN, Headers


@dataclass(frozen=True, slots=True)
class Answer:
    """How a stream began, or ended.

    Attributes:
        code: gRPC's name of the status; OK where the control plane answered.
        details: the text that came with it.
        headers: of the answer.
    """

    code: str
    details: str = ""
    headers: Headers = ()


class Proxy:
    """One proxy with a connection of its own."""

    def __init__(self, port: int, authority_cert: bytes) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", NAME)]
        credentials = grpc.ssl_channel_credentials(authority_cert)
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)

    async def open(
        self,
        *presented: str,
        method: str = ADS,
        headers: Sequence[tuple[str, str]] = (),
        request: bytes = b"a request",
    ) -> "Stream":
        """Open a stream that presents these values, and send its first message."""
        call = self._channel.stream_stream(method)(
            metadata=[*(("authorization", value) for value in presented), *headers]
        )
        stream = Stream(call)
        await stream.begin(request)
        return stream

    async def close(self) -> None:
        """End the connection, and every stream with it."""
        await self._channel.close()


class Stream:
    """A stream, and how it began."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.answer = Answer("UNKNOWN")

    async def begin(self, request: bytes) -> None:
        """Learn whether the control plane took the stream, and only then send the first message.

        The library may call a message that meets the end of its stream an internal error of its own.
        """
        headers = _text(await self._call.initial_metadata())
        if TAKEN in headers and await self.ask(request):
            self.answer = Answer("OK", "", headers)
            return
        headers += _text(await self._call.trailing_metadata())
        self.answer = Answer((await self._call.code()).name, await self._call.details() or "", headers)

    async def ask(self, request: bytes = b"another request") -> bool:
        """Send a message; tell whether the control plane answered."""
        try:
            await self._call.write(request)
            answer = await self._call.read()
        except grpc.aio.AioRpcError:
            return False
        return answer is not grpc.aio.EOF

    def cancel(self) -> None:
        """End it."""
        self._call.cancel()


@asynccontextmanager
async def connected(port: int, authority_cert: bytes) -> AsyncIterator[Proxy]:
    """Connect a proxy; it is gone in the end."""
    proxy = Proxy(port, authority_cert)
    try:
        yield proxy
    finally:
        await proxy.close()


def _text(metadata: Any) -> Headers:
    return tuple((str(key), str(value)) for key, value in metadata or ())
