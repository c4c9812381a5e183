"""The requests to the collector of spans, with a log line in words if one fails.

The exporter of OpenTelemetry logs the text of an exception, which has the whole URL, and with it any key in its query (I22),
at each of its attempts. So `app.telemetry.audit` silences the exporter, and this module logs the cause instead.
"""

import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from app.local.causes import Cause, Peer, Stage, explain_failure
from app.local.clock import Timer
from app.telemetry.audit import get_logger
from app.telemetry.log_limiter import LogLimiter

LOG_SECONDS: Final = 60.0
_SETTING: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_FIRST_ERROR: Final = 400
_NO_URL: Final = Cause(
    "the address of the collector is no URL", f"set {_SETTING} to its address: https://HOST:PORT, or http://HOST:PORT"
)
_NO_FILE: Final = Cause(
    "a certificate or key file for the collector cannot be read",
    "check path, mode and PEM of the files that OTEL_EXPORTER_OTLP_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_* name",
)


class CollectorSession(requests.Session):
    """A session that no proxy and no netrc of the environment affects, as everywhere in this service."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        super().__init__()
        self.trust_env = False
        self._limiter = LogLimiter(LOG_SECONDS, timer)

    def request(self, method: Any, url: Any, *arguments: Any, **named: Any) -> requests.Response:
        """Make a request. Of several failures in a minute, one is logged."""
        try:
            response = super().request(method, url, *arguments, **named)
        except Exception as error:
            self._log(_explain(error, str(url)))
            raise
        if response.status_code >= _FIRST_ERROR:
            remedy = f"check {_SETTING}, the key in OTEL_EXPORTER_OTLP_HEADERS, and the collector's own log"
            self._log(Cause(f"{_peer(str(url)).name} answers HTTP {response.status_code}", remedy))
        return response

    def _log(self, cause: Cause) -> None:
        unlogged = self._limiter.note()
        if unlogged is not None:
            get_logger().warning(
                "traces not sent", problem=cause.problem, remedy=cause.remedy, more_since_last_line=unlogged
            )


def _explain(error: Exception, url: str) -> Cause:
    if isinstance(error, ValueError):  # requests has several classes for a faulty URL, and all of them are this one too
        return _NO_URL
    if isinstance(error, requests.Timeout):
        stage = Stage.CONNECT if isinstance(error, requests.ConnectionError) else Stage.ANSWER
        return explain_failure(TimeoutError(), _peer(url), stage)
    if not isinstance(error, requests.RequestException):
        return _NO_FILE
    first = next((each for each in _chain(error) if not isinstance(each, requests.RequestException)), error)
    return explain_failure(first, _peer(url), Stage.ANSWER)


def _chain(error: BaseException) -> Iterator[OSError]:
    """Yield the exceptions of sockets and of TLS that caused an exception, the last one first."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _peer(url: str) -> Peer:
    """Return the collector by host and port. The user, the path and the query can have a key."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return Peer(
        name=f"the collector {parts.hostname or ''}{port}",
        setting=_SETTING,
        trust="set OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file with its authority",
    )
