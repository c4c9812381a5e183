"""Answer requests to the emulated STS and IAM, with injected faults.

This module uses no sockets: each answer says how to deliver it, and `delivery` does that. The checks are in the same order
as those of AWS.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from app.emulator import hosts, iam, signature_claim, sigv4, spoiling, sts, web_identity
from app.emulator.calls import Call, CallLog
from app.emulator.fault_kinds import FaultKind
from app.emulator.faults import Faults, ServiceFaults
from app.emulator.hosts import Endpoint
from app.emulator.identities import Clock, Principal
from app.emulator.query_protocol import (
    FAULT_NAMESPACE,
    Operation,
    Service,
    ServiceError,
    render_error,
    render_result,
)
from app.emulator.signature_claim import SignatureClaim
from app.emulator.wire import Answer, Request
from app.emulator.world import World

MAX_BODY_BYTES: Final = 10_000_000
MAX_QUERY_BYTES: Final = 15_800

_SERVICES: Final[Mapping[str, Service]] = {service.name: service for service in (sts.SERVICE, iam.SERVICE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """One request, and everything that was read from it before its signature is verified."""

    request: Request
    request_id: str
    now: datetime
    service: Service
    endpoint: Endpoint | None
    claim: SignatureClaim | None
    malformed: ServiceError | None
    params: Mapping[str, str]

    @property
    def action(self) -> str | None:
        return self.params.get("Action") or None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    answer: Answer
    name: str
    caller: Principal | None = None


class Gateway:
    """Answers the requests to STS and IAM, on AWS's hosts and on all other hosts."""

    def __init__(self, world: World, faults: Faults, calls: CallLog, clock: Clock) -> None:
        self._world = world
        self._faults = faults
        self._calls = calls
        self._clock = clock

    def handle(self, request: Request) -> Answer:
        """Answer one request, and log the call."""
        exchange = self._read(request)
        account = self._claimed_account(exchange.claim)
        faults = self._faults.of(exchange.service.name)
        outcome = _spoil(exchange, self._decide(exchange, faults, account), faults, account)
        call = Call(
            service=exchange.service.name,
            action=exchange.action,
            account=account,
            region=exchange.claim.region if exchange.claim else None,
            outcome=outcome.name,
            request_id=exchange.request_id,
            at=exchange.now,
        )
        self._calls.record(call)
        date = ("date", format_datetime(exchange.now.astimezone(UTC), usegmt=True))
        return replace(outcome.answer, headers=(*outcome.answer.headers, date), latency=faults.latency)

    def _read(self, request: Request) -> _Exchange:
        endpoint = hosts.find_endpoint(request.host)
        claim, malformed = None, None
        try:
            claim = signature_claim.read_claim(request)
        except ServiceError as error:
            malformed = error
        params: dict[str, str] = {}
        # The first of several values counts, and the query comes before the body.
        for name, value in (*request.query, *request.form()):
            params.setdefault(name, value)
        return _Exchange(
            request=request,
            request_id=str(uuid.uuid4()),
            now=self._clock(),
            service=_choose_service(endpoint, claim, params),
            endpoint=endpoint,
            claim=claim,
            malformed=malformed,
            params=params,
        )

    def _decide(self, exchange: _Exchange, faults: ServiceFaults, account: str | None) -> _Outcome:
        refused = _refuse_before_dispatch(exchange)
        if refused is not None:
            return _Outcome(answer=refused, name=f"http_{refused.status}")
        try:
            action = _require_action(exchange)
            if account and exchange.claim and faults.exceeds_rate(account, exchange.claim.region, exchange.now):
                raise spoiling.ERRORS[FaultKind.THROTTLE]
            caller = self._authenticate(exchange)
            operation = Operation(world=self._world, caller=caller, params=exchange.params, now=exchange.now)
            result = exchange.service.actions[action](operation)
        except ServiceError as error:
            return _failure(exchange, error)
        as_json = exchange.request.accepts_json
        answer = render_result(exchange.service, action, result, exchange.request_id, as_json=as_json)
        return _Outcome(answer=answer, name="ok", caller=caller)

    def _authenticate(self, exchange: _Exchange) -> Principal:
        if exchange.malformed is not None:
            raise exchange.malformed
        if exchange.action == web_identity.ACTION:
            # The only action without a signature: the token is what authenticates its caller.
            return web_identity.read_web_identity(exchange.params, exchange.now)
        if exchange.claim is None:
            raise ServiceError(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        # If the host is not one of AWS's own, the signature's scope says which region and service are meant.
        endpoint = exchange.endpoint or sigv4.endpoint_of_scope(exchange.claim, exchange.service.name)
        return sigv4.verify(exchange.request, exchange.claim, endpoint=endpoint, world=self._world, now=exchange.now)

    def _claimed_account(self, claim: SignatureClaim | None) -> str | None:
        key = self._world.find_key(claim.access_key_id) if claim else None
        return key.principal.account if key else None


def _choose_service(endpoint: Endpoint | None, claim: SignatureClaim | None, params: Mapping[str, str]) -> Service:
    if endpoint is not None:
        return _SERVICES[endpoint.service]
    if claim is not None:
        return _SERVICES.get(claim.service, sts.SERVICE)
    return iam.SERVICE if params.get("Version") == iam.SERVICE.version else sts.SERVICE


def _refuse_before_dispatch(exchange: _Exchange) -> Answer | None:
    request = exchange.request
    headers = (("x-amzn-requestid", exchange.request_id),)
    if len(request.body) > MAX_BODY_BYTES:
        return Answer(status=413, headers=headers)
    if len(request.query_string) > MAX_QUERY_BYTES:
        return Answer(status=400, headers=headers)
    if request.path != "/" or request.method not in {"GET", "POST"}:
        return Answer(status=404, content_type="text/xml", body=b"<UnknownOperationException/>\n", headers=headers)
    if exchange.action is None:
        # A POST whose content type is not that of a form has no action either, because AWS does not read its body.
        return Answer(status=302, headers=(*headers, ("location", spoiling.REDIRECT_TARGET)))
    return None


def _require_action(exchange: _Exchange) -> str:
    action, version = exchange.action or "", exchange.params.get("Version") or "NO_VERSION_SPECIFIED"
    if version != exchange.service.version or action not in exchange.service.actions:
        message = f"Could not find operation {action} for version {version}"
        raise ServiceError(400, "InvalidAction", message, namespace=FAULT_NAMESPACE)
    return action


def _failure(exchange: _Exchange, error: ServiceError) -> _Outcome:
    as_json = exchange.request.accepts_json
    answer = render_error(exchange.service, error, exchange.request_id, as_json=as_json)
    return _Outcome(answer=answer, name=error.code)


def _spoil(exchange: _Exchange, outcome: _Outcome, faults: ServiceFaults, account: str | None) -> _Outcome:
    is_identity = outcome.caller is not None and exchange.action == "GetCallerIdentity"
    taken = faults.take(action=exchange.action, account=account, answered=is_identity)
    if taken is None:
        return outcome
    answer = spoiling.spoil(
        taken,
        outcome.answer,
        caller=outcome.caller,
        service=exchange.service,
        request_id=exchange.request_id,
        as_json=exchange.request.accepts_json,
    )
    return replace(outcome, answer=answer, name=taken.kind.value)
