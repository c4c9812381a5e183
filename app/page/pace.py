"""Work in small pieces, so that decisions are made in between.

Everything runs in one event loop. A thread would be no remedy: Python runs one thread at a time, and a thread that computes
keeps the event loop waiting for 5 ms at a time.
"""

import asyncio
from typing import Final

# A piece takes about 1 ms: 25 decisions or states that are looked at, or 2 decisions that are shown.
PIECE_UNITS: Final = 50  # no bound: how much work is one piece
LOOKED_AT: Final = 2
SHOWN: Final = 25


class Pace:
    """Counts work, and gives the event loop a turn after each piece."""

    def __init__(self) -> None:
        self._units = 0

    async def spend(self, units: int) -> None:
        """Count work that was done. This waits for one turn of the event loop if a piece is complete."""
        self._units += units
        if self._units >= PIECE_UNITS:
            await self.rest()

    async def rest(self) -> None:
        """End the present piece, and wait for one turn of the event loop."""
        self._units = 0
        await asyncio.sleep(0)
