"""The operator's endpoints of a running emulator: faults, calls and tags over HTTP.

    GET, PUT, DELETE /_emulator/faults/{sts|iam}         program faults, latency and rate
    POST             /_emulator/faults/{sts|iam}/release answer the calls that hang
    GET, DELETE      /_emulator/calls                    the calls, with their counts
    GET, PUT         /_emulator/roles/{account}/{name}/tags

The endpoints need no authentication: the emulator contains nothing of value and listens on loopback.
"""

from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.emulator import tags
from app.emulator.calls import CallLog
from app.emulator.fault_kinds import FaultKind
from app.emulator.faults import Faults, ServiceFaults
from app.emulator.problems import describe_problems
from app.emulator.wire import Answer, Request
from app.emulator.world import World

PREFIX: Final = "/_emulator/"


class FaultOrder(BaseModel):
    """The body of a request that sets faults. ``rate`` is null to remove the limit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: FaultKind | None = None
    times: int | None = Field(None, ge=1)
    account: str | None = None
    action: str | None = None
    latency: float | None = Field(None, ge=0)
    rate: float | None = Field(None, gt=0)
    drip_interval: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _require_kind(self) -> Self:
        if self.kind is None and self.model_fields_set & {"kind", "times", "account", "action"}:
            raise PydanticCustomError("kind", "times, account and action need a kind beside them")
        return self


_FAULTS: Final = TypeAdapter(FaultOrder)
_TAGS: Final = TypeAdapter(dict[str, Any])
_Body = TypeVar("_Body")


class ControlError(Exception):
    """The emulator cannot carry out a control request; the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers everything below `PREFIX`."""

    def __init__(self, world: World, faults: Faults, calls: CallLog) -> None:
        self._world = world
        self._faults = faults
        self._calls = calls

    def handle(self, request: Request) -> Answer:
        """Carry out one control request."""
        try:
            result = self._route(request)
        except ControlError as error:
            return _json(error.status, {"error": str(error)})
        return _json(200, result)

    def _route(self, request: Request) -> Any:
        match unquote(request.path.removeprefix(PREFIX)).split("/"):
            case ["faults", ("sts" | "iam") as service]:
                return self._on_faults(request, self._faults.of(service))
            case ["faults", ("sts" | "iam") as service, "release"] if request.method == "POST":
                faults = self._faults.of(service)
                faults.release()
                return _describe(faults)
            case ["calls"]:
                return self._on_calls(request)
            case ["roles", account, name, "tags"]:
                return self._on_tags(request, account, name)
        raise ControlError(404, f"there is no {request.method} {request.path}")

    def _on_faults(self, request: Request, faults: ServiceFaults) -> Any:
        if request.method == "PUT":
            _program(faults, _read(_FAULTS, request))
        elif request.method == "DELETE":
            faults.clear()
        elif request.method != "GET":
            raise _wrong_method(request, "GET, PUT or DELETE")
        return _describe(faults)

    def _on_calls(self, request: Request) -> Any:
        if request.method == "DELETE":
            self._calls.clear()
        elif request.method != "GET":
            raise _wrong_method(request, "GET or DELETE")
        counts = self._calls.counts()
        return {
            "total": counts.total(),
            "calls": [{**kind._asdict(), "count": number} for kind, number in counts.most_common()],
        }

    def _on_tags(self, request: Request, account: str, name: str) -> Any:
        if request.method == "PUT":
            wanted = _read(_TAGS, request)
            problems = tags.problems(wanted)
            if problems:
                raise ControlError(400, "; ".join(problems))
            try:
                return dict(self._world.set_role_tags(account, name, wanted).tags)
            except LookupError as error:
                raise ControlError(404, str(error)) from error
        if request.method != "GET":
            raise _wrong_method(request, "GET or PUT")
        role = self._world.find_role(account, name)
        if role is None:
            raise ControlError(404, f"account {account} has no role {name}")
        return dict(role.tags)


def _program(faults: ServiceFaults, wanted: FaultOrder) -> None:
    if wanted.latency is not None:
        faults.latency = wanted.latency
    if wanted.drip_interval is not None:
        faults.drip_interval = wanted.drip_interval
    if "rate" in wanted.model_fields_set:
        faults.rate = wanted.rate
    if wanted.kind is not None:
        faults.inject(wanted.kind, times=wanted.times, account=wanted.account, action=wanted.action)


def _read(body: TypeAdapter[_Body], request: Request) -> _Body:
    try:
        return body.validate_json(request.body)
    except ValidationError as error:
        raise ControlError(400, "; ".join(describe_problems(error))) from error


def _describe(faults: ServiceFaults) -> Any:
    active = [
        {"kind": fault.kind, "times": fault.times, "account": fault.account, "action": fault.action}
        for fault in faults.active()
    ]
    return {"faults": active, "latency": faults.latency, "rate": faults.rate, "drip_interval": faults.drip_interval}


def _wrong_method(request: Request, known: str) -> ControlError:
    return ControlError(405, f"{request.path}: {known}, not {request.method}")


def _json(status: int, body: Any) -> Answer:
    return Answer(status=status, content_type="application/json", body=orjson.dumps(body))
