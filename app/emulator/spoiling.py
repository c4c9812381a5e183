"""Change an answer as a fault requires."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from app.emulator import lies
from app.emulator.fault_kinds import FaultKind
from app.emulator.faults import TakenFault
from app.emulator.identities import Principal
from app.emulator.query_protocol import Service, ServiceError, render_error
from app.emulator.wire import Answer

REDIRECT_TARGET: Final = "https://aws.amazon.com/iam"

ERRORS: Final[Mapping[FaultKind, ServiceError]] = {
    FaultKind.THROTTLE: ServiceError(400, "Throttling", "Rate exceeded"),
    FaultKind.INTERNAL_FAILURE: ServiceError(
        500, "InternalFailure", "The request processing has failed because of an unknown error, exception or failure."
    ),
    FaultKind.SERVICE_UNAVAILABLE: ServiceError(
        503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server."
    ),
    FaultKind.ACCESS_DENIED: ServiceError(
        403, "AccessDenied", "Not authorized to perform this action, with an explicit deny in a VPC endpoint policy"
    ),
    FaultKind.UNKNOWN_CODE: ServiceError(400, "UnheardOf", "No document names this error."),
}

_DELIVERIES: Final = frozenset({FaultKind.HANG, FaultKind.SLOW_DRIP, FaultKind.CUT_OFF, FaultKind.RESET})


def spoil(
    fault: TakenFault, true: Answer, *, caller: Principal | None, service: Service, request_id: str, as_json: bool
) -> Answer:
    """Return the answer that replaces the true answer. `caller` is None if the true answer is not a success."""
    kind = fault.kind
    if kind in ERRORS:
        return render_error(service, ERRORS[kind], request_id, as_json=as_json)
    if kind in _DELIVERIES:
        return replace(true, delivery=kind, latch=fault.latch, pace=fault.pace)
    if kind is FaultKind.REDIRECT or caller is None:
        return Answer(status=302, headers=(("location", REDIRECT_TARGET), ("x-amzn-requestid", request_id)))
    return lies.lie(kind, lies.Truth(answer=true, caller=caller, request_id=request_id, as_json=as_json))
