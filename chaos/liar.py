"""An IAM that lies: it stands before the emulator, passes everything on, and changes the answer on its way back."""

import contextlib
import gzip
import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from chaos.aws import HOME, STRANGER

Lie = Callable[[bytes], bytes]

_HOP_HEADERS: Final = frozenset({"connection", "content-length", "transfer-encoding", "date", "server"})
_BOMB_BYTES: Final = 64 * 1024 * 1024
_DRIP_SECONDS: Final = 1.0
_OK: Final = 200


class Liar:
    """Listens on loopback while it is open.

    Attributes:
        lie: what it makes of the next answers' bodies; None lets them be.
        encoding: the ``Content-Encoding`` that it claims, if any.
        endless: do not end the body.
    """

    def __init__(self, port_of_truth: int) -> None:
        self.lie: Lie | None = None
        self.encoding: str | None = None
        self.endless = False
        self.port_of_truth = port_of_truth
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                _pass_on(self, liar)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Serve until it is closed."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Close it."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def open_liar(url_of_truth: str) -> Iterator[Liar]:
    """Run one while the context lasts."""
    liar = Liar(int(url_of_truth.rpartition(":")[2]))
    thread = threading.Thread(target=liar.serve, daemon=True)
    thread.start()
    try:
        yield liar
    finally:
        liar.endless = False
        liar.close()
        thread.join()


def _pass_on(call: BaseHTTPRequestHandler, liar: Liar) -> None:
    body = call.rfile.read(int(call.headers.get("Content-Length", "0")))
    upstream = http.client.HTTPConnection("127.0.0.1", liar.port_of_truth)
    with contextlib.closing(upstream), contextlib.suppress(OSError):
        upstream.request("POST", call.path, body, dict(call.headers.items()))
        answer = upstream.getresponse()
        true = answer.read()
        lies = liar.lie is not None and answer.status == _OK
        false = liar.lie(true) if liar.lie is not None and lies else true
        call.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_HEADERS:
                call.send_header(name, value)
        if lies and liar.encoding is not None:
            call.send_header("Content-Encoding", liar.encoding)
        call.send_header("Content-Length", str(len(false) + (1 << 40 if lies and liar.endless else 0)))
        call.end_headers()
        call.wfile.write(false)
        while lies and liar.endless:
            call.wfile.write(b" ")
            time.sleep(_DRIP_SECONDS)


# What a lie makes of GetRole's true answer.


def cut(true: bytes) -> bytes:
    """Leave half of the document."""
    return true[: len(true) // 2]


def twice(true: bytes) -> bytes:
    """Write two documents."""
    return true + true


def another_account(true: bytes) -> bytes:
    """Name the role of the same name in another account."""
    return true.replace(HOME.encode(), STRANGER.encode())


def another_id(true: bytes) -> bytes:
    """Name another unique id, as of a role that was made anew."""
    before, opening, rest = true.partition(b"<RoleId>")
    return before + opening + b"AROAAAAAAAAAAAAAAAAAA" + rest[rest.index(b"</RoleId>") :]


def two_ids(true: bytes) -> bytes:
    """Write the id twice, once another one."""
    return true.replace(b"<RoleId>", b"<RoleId>AROAAAAAAAAAAAAAAAAAA</RoleId><RoleId>", 1)


def two_names(true: bytes) -> bytes:
    """Write the ARN twice, once another one."""
    return true.replace(b"<Arn>", b"<Arn>arn:aws:iam::111122223333:role/administrator</Arn><Arn>", 1)


def two_meshes(true: bytes) -> bytes:
    """Write the tag of the mesh twice."""
    tag = b"<member><Key>kuma.io/mesh</Key><Value>payments</Value></member>"
    return true.replace(b"<Tags>", b"<Tags>" + tag, 1)


def two_lists_of_tags(true: bytes) -> bytes:
    """Write two lists of tags."""
    tags = b"<Tags><member><Key>kuma.io/mesh</Key><Value>payments</Value></member></Tags>"
    return true.replace(b"<Tags>", tags + b"<Tags>", 1)


def another_action(true: bytes) -> bytes:
    """Wrap the answer in that of another action."""
    return b"<ListRolesResponse><ListRolesResult>" + true + b"</ListRolesResult></ListRolesResponse>"


def nothing(_true: bytes) -> bytes:
    """Answer an empty document."""
    return b""


def bomb(_true: bytes) -> bytes:
    """Answer a small gzip of 64 MiB."""
    return gzip.compress(b" " * _BOMB_BYTES, mtime=0)


def laughs(true: bytes) -> bytes:
    """Define entities of entities, so that a small document unfolds."""
    names = "abcdefghij"
    entities = '<!ENTITY a "lol">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in itertools.pairwise(names)
    )
    start = true.index(b"<GetRoleResponse")
    doctype = f"<!DOCTYPE GetRoleResponse [{entities}]>".encode()
    return true[:start] + doctype + true[start:].replace(b"<Value>default</Value>", b"<Value>&j;</Value>")
