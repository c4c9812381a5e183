"""Write a whole answer to the connection in one piece.

ASGI sends the head and the body of an answer separately, and uvicorn checks each header of each answer. The headers of this
service need no check: they are constants and one request id, which was checked before. So if the channel is uvicorn's own,
this module writes the same bytes as uvicorn would write (a test compares them).
docs/decisions/0022-overrides-of-uvicorn.md says how much time this saves.
"""

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


def send_at_once(send: Send, status: int, block: bytes, body: bytes) -> bool:
    """Write a whole answer, if the ASGI channel is uvicorn's own and its connection works and stays open.

    Args:
        send: the ASGI channel.
        status: the HTTP status; the answer must have a body.
        block: the header lines, in lower case, with the length of the body; none of them may end the connection.
        body: the bytes.

    Returns:
        True if the whole answer was written; False if nothing was written.
    """
    cycle = getattr(send, "__self__", None)
    # After these checks there is nothing to wait for, to leave out or to close. uvicorn's access log is always off: the
    # audit line replaces it.
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
