import logging
from collections.abc import Iterator

import pytest
import structlog

_LEVELS = (
    "botocore",
    "botocore.credentials",
    "boto3",
    "urllib3",
    "asyncio",
    "opentelemetry.trace.span",
    "opentelemetry.util.re",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Restore the logging of the process after the test."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in _LEVELS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    structlog.configure(**config)
