"""An answer in one piece.

ASGI takes the head of an answer and its body one after the other, and uvicorn examines each header of each answer. Ours are
made of constants and of one id whose grammar was checked. So where the channel is uvicorn's own, an answer is written here
as uvicorn would write it, byte for byte (a test compares them), and in all other cases not. What that saves is in
docs/decisions/0022-overrides-of-uvicorn.md.
"""

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


def send_at_once(send: Send, status: int, block: bytes, body: bytes) -> bool:
    """Write a whole answer, if this is a channel of uvicorn's whose connection is in order and goes on.

    Args:
        send: the ASGI channel.
        status: the HTTP status, of an answer that has a body.
        block: the lines of its headers, in lower case, with the length of the body; none of them ends the connection.
        body: the bytes.

    Returns:
        Whether it was written; else nothing was.
    """
    cycle = getattr(send, "__self__", None)
    # There is nothing to wait for, to leave out or to end. An access log there never is: the audit line is one.
    if (
        not isinstance(cycle, RequestResponseCycle)
        or not cycle.keep_alive
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    defaults = [b"%b: %b\r\n" % header for header in cycle.default_headers]
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join((STATUS_LINE[status], *defaults, block, b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()
    return True
