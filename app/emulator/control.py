"""The operator's endpoints of a running emulator: faults, calls and tags over HTTP.

    GET, PUT, DELETE /_emulator/faults/{sts|iam}         program faults, latency and rate
    POST             /_emulator/faults/{sts|iam}/release answer the calls that hang
    GET, DELETE      /_emulator/calls                    the calls, with their counts
    GET, PUT         /_emulator/roles/{account}/{name}/tags

The endpoints need no authentication: the emulator contains nothing of value and listens on loopback.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import orjson

from app.emulator import tags
from app.emulator.calls import CallLog
from app.emulator.fault_kinds import FaultKind
from app.emulator.faults import Faults, ServiceFaults
from app.emulator.wire import Answer, Request
from app.emulator.world import World

PREFIX: Final = "/_emulator/"

_FAULT_MEMBERS: Final = {"kind", "times", "account", "action", "latency", "rate", "drip_interval"}


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
                return self._on_faults(request, self._faults.sts if service == "sts" else self._faults.iam)
            case ["faults", ("sts" | "iam") as service, "release"] if request.method == "POST":
                faults = self._faults.sts if service == "sts" else self._faults.iam
                faults.release()
                return _describe(faults)
            case ["calls"]:
                return self._on_calls(request)
            case ["roles", account, name, "tags"]:
                return self._on_tags(request, account, name)
        raise ControlError(404, f"there is no {request.method} {request.path}")

    def _on_faults(self, request: Request, faults: ServiceFaults) -> Any:
        if request.method == "PUT":
            _program(faults, _read_object(request))
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
            wanted = _read_object(request)
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


def _program(faults: ServiceFaults, wanted: dict[str, Any]) -> None:
    unknown = sorted(set(wanted) - _FAULT_MEMBERS)
    if unknown:
        raise ControlError(400, f"unknown member {', '.join(unknown)}; known are {', '.join(sorted(_FAULT_MEMBERS))}")
    # All members are checked before anything is changed.
    kind = _read_kind(wanted)
    times = _read(wanted, "times", lambda value: type(value) is int and value >= 1, "a whole number above 0")
    account = _read(wanted, "account", lambda value: isinstance(value, str), "a text")
    action = _read(wanted, "action", lambda value: isinstance(value, str), "a text")
    latency = _read(wanted, "latency", _is_seconds, "seconds, 0 or more")
    drip_interval = _read(wanted, "drip_interval", _is_seconds, "seconds, 0 or more")
    rate = _read(wanted, "rate", lambda value: _is_seconds(value) and value > 0, "requests a second, above 0")
    if latency is not None:
        faults.latency = latency
    if drip_interval is not None:
        faults.drip_interval = drip_interval
    if "rate" in wanted:
        faults.rate = rate
    if kind is not None:
        faults.inject(kind, times=times, account=account, action=action)


def _read_kind(wanted: dict[str, Any]) -> FaultKind | None:
    if "kind" not in wanted:
        stray = sorted({"times", "account", "action"} & set(wanted))
        if stray:
            raise ControlError(400, f"{', '.join(stray)}: only beside kind")
        return None
    try:
        return FaultKind(wanted["kind"])
    except ValueError as error:
        raise ControlError(400, f"kind: must be one of {', '.join(FaultKind)}") from error


def _read(wanted: dict[str, Any], name: str, fits: Callable[[Any], bool], rule: str) -> Any:
    value = wanted.get(name)
    if value is not None and not fits(value):
        raise ControlError(400, f"{name}: must be {rule}")
    return value


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _read_object(request: Request) -> dict[str, Any]:
    try:
        value = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise ControlError(400, f"the body must be JSON: {error}") from error
    if not isinstance(value, dict):
        raise ControlError(400, "the body must be a JSON object")
    return value


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
