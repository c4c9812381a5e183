"""The emulator as an ASGI application: choose the part that answers a request, and send its answer."""

from starlette.types import Receive, Scope, Send

from app.emulator import container_credentials, control, hosts
from app.emulator.calls import CallLog
from app.emulator.container_credentials import ContainerCredentials
from app.emulator.control import Control
from app.emulator.delivery import Courier
from app.emulator.faults import Faults
from app.emulator.gateway import MAX_BODY_BYTES, Gateway
from app.emulator.identities import Clock
from app.emulator.wire import Answer, Request, read_pairs
from app.emulator.world import World


class EmulatorApp:
    """The ASGI application. A request to a host of AWS goes to STS or IAM. On other hosts the path decides who answers."""

    def __init__(self, world: World, faults: Faults, clock: Clock) -> None:
        self.world = world
        self.faults = faults
        self.calls = CallLog()
        self.connections = 0
        """How many connections clients have opened; with TLS, those whose handshake is finished."""
        self.container_credentials = ContainerCredentials(world, clock)
        self._gateway = Gateway(world, faults, self.calls, clock)
        self._control = Control(world, faults, self.calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the emulator speaks only HTTP, not {scope['type']}")
        request = await _read_request(scope, receive)
        await Courier(scope, receive, send).deliver(self._answer(request))

    def _answer(self, request: Request) -> Answer:
        if hosts.find_endpoint(request.host) is None:
            if request.path.startswith(container_credentials.PREFIX) and request.method == "GET":
                return self.container_credentials.answer(request.path)
            if request.path.startswith(control.PREFIX):
                return self._control.handle(request)
        return self._gateway.handle(request)


async def _read_request(scope: Scope, receive: Receive) -> Request:
    headers: dict[str, tuple[str, ...]] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        headers[name] = (*headers.get(name, ()), _decode(raw_value))
    has_body = "content-length" in headers or "transfer-encoding" in headers
    query_string = scope["query_string"].decode("latin-1")
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query_string=query_string,
        query=read_pairs(query_string),
        headers=headers,
        body=await _read_body(receive) if has_body else b"",
    )


async def _read_body(receive: Receive) -> bytes:
    chunks = bytearray()
    while True:
        message = await receive()
        # Parts are kept until the body is above the limit, which is enough to reject it. Later parts are read and dropped.
        if len(chunks) <= MAX_BODY_BYTES:
            chunks += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(chunks)


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
