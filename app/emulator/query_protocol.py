"""AWS's Query protocol: a parameter names the action, and the answer is XML, or JSON if the client asks for it.

This module contains what STS and IAM have in common. Each of them is one `Service`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from xml.sax.saxutils import escape

import orjson

from app.emulator.hosts import ServiceName
from app.emulator.identities import Principal
from app.emulator.wire import Answer
from app.emulator.world import World

FAULT_NAMESPACE: Final = "http://webservices.amazon.com/AWSFault/2005-15-09"

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One authenticated call of an action."""

    world: World
    caller: Principal
    params: Mapping[str, str]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Query service: its one API version, its XML namespace and its actions."""

    name: ServiceName
    version: str
    namespace: str
    actions: Mapping[str, Callable[[Operation], Document]]


class ServiceError(Exception):
    """An error that AWS sends instead of a result. Clients read its code."""

    def __init__(self, status: int, code: str, message: str, *, namespace: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.namespace = namespace
        """The XML namespace, if the error does not come from the service itself but from a component in front of it."""


def render_result(service: Service, action: str, result: Document, request_id: str, *, as_json: bool) -> Answer:
    """Write the answer of an action that succeeded."""
    body: Document = {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}}
    if as_json:
        return json_answer(200, {f"{action}Response": body}, request_id)
    return xml_answer(200, f"{action}Response", service.namespace, body, request_id)


def render_error(service: Service, error: ServiceError, request_id: str, *, as_json: bool) -> Answer:
    """Write the answer of an action that failed."""
    kind = "Receiver" if error.status >= 500 else "Sender"  # noqa: PLR2004 - HTTP's own boundary
    detail = {"Type": kind, "Code": error.code, "Message": error.message}
    body: Document = {"Error": detail, "RequestId": request_id}
    if as_json:
        return json_answer(error.status, body, request_id)
    return xml_answer(error.status, "ErrorResponse", error.namespace or service.namespace, body, request_id)


def xml_answer(status: int, root: str, namespace: str, body: Document, request_id: str) -> Answer:
    """Return an answer with an XML document, which has the given root element and namespace."""
    text = f'<{root} xmlns="{namespace}">{to_xml(body)}</{root}>\n'
    return Answer(
        status=status, content_type="text/xml", body=text.encode(), headers=(("x-amzn-requestid", request_id),)
    )


def json_answer(status: int, body: Document, request_id: str) -> Answer:
    """Return an answer with a JSON document. As in AWS, the members are sorted by name."""
    text = orjson.dumps(body, default=_json_time, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)
    headers = (("x-amzn-requestid", request_id),)
    return Answer(status=status, content_type="application/json", body=text, headers=headers)


def to_xml(value: Any) -> str:
    """Write a value as the content of an element; a list becomes `member` elements."""
    if isinstance(value, dict):
        return "".join(f"<{name}>{to_xml(item)}</{name}>" for name, item in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{to_xml(item)}</member>" for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return iso_time(value)
    return escape(str(value))


def iso_time(moment: datetime) -> str:
    """Write a time as AWS does: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json_time(value: Any) -> float:
    # AWS's JSON times are seconds since the epoch.
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"no JSON for {type(value).__name__}")
