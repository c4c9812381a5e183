"""Equal calls at the same time are made once."""

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable

import pytest

from app.limits.single_flight import SingleFlight


def soon() -> float:
    return asyncio.get_running_loop().time() + 60


class Question:
    """Counts its calls, and answers when the test releases it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error
        self.released = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return self.asked


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def waiting(
    single_flight: SingleFlight[int], key: str, ask: Callable[[], Awaitable[int]], number: int
) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(single_flight.join(key, ask, soon())) for _ in range(number)]


async def test_who_comes_later_waits_for_the_answer_that_is_on_its_way() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    tasks = waiting(single_flight, "a", question, 3)
    await settle()
    assert "a" in single_flight
    question.released.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    await settle()
    assert len(single_flight) == 0
    assert await single_flight.join("a", question, soon()) == 2


async def test_a_failure_ends_with_those_who_waited() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question(ValueError("seen"))
    tasks = waiting(single_flight, "a", question, 2)
    await settle()
    question.released.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [question.error] * 2
    question.error = None
    assert await single_flight.join("a", question, soon()) == 2


async def test_who_comes_in_the_turn_in_which_a_call_ends_starts_another() -> None:
    """A caller that repeats a call without a result would otherwise find the ended one again and again, without a wait."""
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    question.released.set()
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask() -> int:
        return await answered

    first = single_flight.start("a", ask)
    await settle()

    async def come() -> int:
        await answered  # the call waits for this too, and began to earlier: so it ends right before the next line
        assert first.done()
        assert ("a" in single_flight, len(single_flight)) == (False, 0)
        return await single_flight.join("a", question, soon())

    coming = asyncio.create_task(come())
    await settle()
    answered.set_result(7)
    assert (await coming, await first, question.asked) == (1, 7, 1)
    await settle()
    assert len(single_flight) == 0


async def test_when_all_have_gone_the_answer_still_comes() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    for task in waiting(single_flight, "a", question, 2):
        await settle()
        task.cancel()
    await settle()
    assert "a" in single_flight
    question.released.set()
    await settle()
    assert (question.asked, len(single_flight)) == (1, 0)


async def test_a_deadline_is_that_of_the_one_who_waits() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    patient = waiting(single_flight, "a", question, 1)
    await settle()
    with pytest.raises(TimeoutError):
        await single_flight.join("a", question, asyncio.get_running_loop().time() - 1)
    question.released.set()
    assert await asyncio.gather(*patient) == [1]
    assert question.asked == 1


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_lost() -> None:
    """The event loop logs an exception that nobody retrieved. A call without waiters must not cause such a line."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question(ValueError("seen"))
    single_flight.start("a", question)
    question.released.set()
    await settle()
    gc.collect()
    assert (len(single_flight), reported) == (0, [])


async def test_a_failure_leaves_nothing_for_the_collector() -> None:
    """A flood of forged credentials causes a flood of failures.

    Objects that only the collector frees delay every decision.
    """
    single_flight: SingleFlight[int] = SingleFlight()

    class SeenError(Exception):
        pass

    async def ask() -> int:
        raise SeenError

    gc.collect()
    gc.disable()
    try:
        for number in range(10):
            with contextlib.suppress(SeenError):
                await single_flight.join(number, ask, soon())
        await settle()
        # An error keeps its traceback, and this the task. Other threads leave objects of their own to the collector.
        assert [found for found in gc.get_objects() if isinstance(found, SeenError)] == []
    finally:
        gc.enable()
