"""Keep log lines of the service and the SDK out of a command's output: the findings of the command say the same."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import structlog


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Drop every log line until the end of the block."""
    configuration, disabled = structlog.get_config(), logging.root.manager.disable
    structlog.configure(processors=[_drop])
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        structlog.configure(**configuration)
        logging.disable(disabled)


def _drop(_logger: Any, _level: str, _event: Any) -> NoReturn:
    raise structlog.DropEvent
