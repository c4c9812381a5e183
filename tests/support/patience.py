"""How long a test waits for an event.

The bound ends a wait that would otherwise last for ever. It decides nothing: an event ends each wait, and a slow or busy
machine takes as long as it takes.
"""

from typing import Final

PATIENCE: Final = 100.0
"""Seconds; below the limit of a whole test, so that the message names what did not happen."""
