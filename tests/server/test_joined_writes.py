"""All writes of one turn of the event loop leave in one piece, and none is lost or delayed."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from app.server.joined_writes import JoinedWrites, Turn


class Wire(asyncio.Transport):
    """Keeps every write separately."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.calls: list[str] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.calls.append(f"close behind {len(self.pieces)}")
        self.closing = True

    def abort(self) -> None:
        self.calls.append("abort")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": "peer"}.get(name, default)

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def joined(wire: Wire) -> JoinedWrites:
    return JoinedWrites(wire, Turn.of(asyncio.get_running_loop()))


async def test_what_is_written_in_one_turn_leaves_at_once(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(bytearray(b"body"))
    assert wire.pieces == []
    await asyncio.sleep(0)
    assert wire.pieces == [b"headbody"]


async def test_each_turn_has_its_own_piece(wire: Wire, joined: JoinedWrites) -> None:
    for text in (b"one", b"other"):
        joined.write(text)
        await asyncio.sleep(0)
    assert wire.pieces == [b"one", b"other"]


async def test_bytes_that_change_later_leave_as_they_were(wire: Wire, joined: JoinedWrites) -> None:
    buffer = bytearray(b"head")
    joined.write(buffer)
    buffer[:] = b"XXXX"
    await asyncio.sleep(0)
    assert wire.pieces == [b"head"]


async def test_closing_sends_first_what_was_written(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"last")
    joined.close()
    assert (wire.pieces, wire.calls) == ([b"last"], ["close behind 1"])
    await asyncio.sleep(0)
    assert wire.pieces == [b"last"]


async def test_aborting_sends_nothing_more(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"lost")
    joined.abort()
    await asyncio.sleep(0)
    assert (wire.pieces, wire.calls) == ([], ["abort"])


async def test_a_connection_that_is_closing_is_not_written_to(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"late")
    wire.closing = True
    await asyncio.sleep(0)
    assert wire.pieces == []
    assert joined.is_closing()


async def test_everything_else_goes_through(wire: Wire, joined: JoinedWrites) -> None:
    joined.pause_reading()
    joined.resume_reading()
    assert wire.calls == ["pause", "resume"]
    assert joined.get_extra_info("peername") == "peer"
    assert joined.get_extra_info("other", "none") == "none"


async def test_a_turn_ends_for_every_connection_that_wrote_in_it(wire: Wire, joined: JoinedWrites) -> None:
    other_wire = Wire()
    other = JoinedWrites(other_wire, Turn.of(asyncio.get_running_loop()))
    for _ in range(2):
        joined.write(b"one")
        other.write(b"other")
        await asyncio.sleep(0)
    assert wire.pieces == [b"one"] * 2
    assert other_wire.pieces == [b"other"] * 2


def test_two_loops_share_no_turn() -> None:
    async def turn() -> Turn:
        return Turn.of(asyncio.get_running_loop())

    assert asyncio.run(turn()) is not asyncio.run(turn())


async def test_one_connection_that_fails_holds_up_no_other(joined: JoinedWrites, wire: Wire) -> None:
    class Broken(Wire):
        def write(self, _data: Any) -> None:
            raise RuntimeError("seen")

    loop = asyncio.get_running_loop()
    faults: list[Any] = []
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    broken = JoinedWrites(Broken(), Turn.of(loop))
    broken.write(b"lost")
    joined.write(b"sent")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [str(fault) for fault in faults] == ["seen"]
    assert wire.pieces == [b"sent"]


def test_a_loop_that_is_over_is_let_go() -> None:
    async def loop_of_a_turn() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        Turn.of(loop)
        return weakref.ref(loop)

    left = asyncio.run(loop_of_a_turn())
    gc.collect()
    assert left() is None
