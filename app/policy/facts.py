"""The facts of a decision: from its record while the service runs, or from its audit line later.

An audit line is JSON that this service wrote, but a log can contain lines of other programs, and a file can be edited.
Nothing that is read here has an effect on a decision of the service.

The line contains long texts of the proxy only in part. That changes no verdict: a shortened text has more characters than
any value that a tag, a setting or a token can have, and so had the whole text.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from app.core.arn import Arn
from app.core.errors import AuthError, AuthorizationError
from app.core.principal import Principal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.decision.record import AUTHENTICATE_CALL, TOKEN_FORM, DecisionRecord
from app.policy.verdict import DecisionFacts
from app.tokens.claims import TokenSubject

# The tags of a role, in IAM's order.
Tags = tuple[tuple[str, str], ...]
_RECORDS: Final = 1024
_PRINCIPAL: Final = ("partition", "account", "role", "role_id", "session")


class LineError(ValueError):
    """The object is not an audit line of this service, or of a version that this one does not know."""


def facts_of_record(record: DecisionRecord, error: AuthError | None) -> DecisionFacts:
    """Return the facts of a decision that has just ended."""
    note = record.token
    is_token = record.form == TOKEN_FORM
    token = None
    if is_token and note is not None and note.identity is not None and record.principal is not None:
        token = TokenSubject(identity=note.identity, principal=record.principal, name=note.name)
    return DecisionFacts(
        reason=None if error is None else error.reason,
        principal=record.principal,
        role=record.role,
        is_token=is_token,
        token=token,
        asserted=record.asserted,
        wants_token=record.call != AUTHENTICATE_CALL,
    )


def facts_of_line(line: Mapping[str, Any]) -> DecisionFacts:
    """Return the facts of the decision that an audit line describes. Members of newer versions can be absent.

    Raises:
        LineError: a member is missing or has another type.
    """
    try:
        return _facts_of_line(line)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LineError("a member is missing, or is not as this service writes it") from error


def _facts_of_line(line: Mapping[str, Any]) -> DecisionFacts:
    reason = None if line["reason"] is None else Reason(line["reason"])
    if (reason is None) != (line["outcome"] == "allowed"):
        raise LineError("outcome and reason contradict each other")
    principal = None if line["principal"] is None else _principal(line["principal"])
    asserted = None if line["claimed"] is None else _asserted(line["claimed"])
    role = None if principal is None else _role(line.get("role"), principal)
    is_token = line["form"] == TOKEN_FORM
    call = line.get("call")
    return DecisionFacts(
        reason=reason,
        principal=principal,
        role=role if role is not None and _is_whole(role, reason, asserted) else None,
        is_token=is_token,
        token=None if principal is None or not is_token else _token(line["token"], principal),
        asserted=asserted,
        wants_token=None if call is None else call != AUTHENTICATE_CALL,
    )


def role_record(principal: Principal, path: str, tags: Tags, role_id: str | None = None) -> RoleRecord:
    """Return the role of a principal as IAM would describe it.

    Args:
        principal: the session of the role.
        path: the role's path; it begins and ends with a slash.
        tags: the tags.
        role_id: the unique id of IAM's role; by default that of the principal.
    """
    return _record(principal.partition, principal.account, principal.role, path, role_id or principal.role_id, tags)


@functools.lru_cache(maxsize=_RECORDS)
def _record(partition: str, account: str, name: str, path: str, role_id: str, tags: Tags) -> RoleRecord:
    """Return one record for all lines of a role, because a record reads its tags only once."""
    arn = Arn(partition=partition, service="iam", region="", account=account, resource=f"role{path}{name}")
    return RoleRecord(arn=str(arn), role_id=role_id, name=name, tags=tags, request_id="")


def _principal(members: Mapping[str, Any]) -> Principal:
    return Principal(**{name: _text(members[name]) for name in _PRINCIPAL}, request_id="")


def _role(members: Mapping[str, Any] | None, principal: Principal) -> RoleRecord | None:
    if members is None or members["path"] is None:
        return None
    tags = tuple((_text(key), _text(value)) for key, value in members["tags"].items())
    return role_record(principal, _text(members["path"]), tags, _text(members["role_id"]))


def _is_whole(role: RoleRecord, reason: Reason | None, asserted: ProxyAssertion | None) -> bool:
    """Whether the line contains what the decision saw of the role.

    It does not contain the name and the account of a role that IAM returned in place of another. Its JSON cannot contain a
    key twice, as the tags of a faulty answer can.
    """
    if reason is not Reason.ROLE_TAG_INVALID:
        return reason is not Reason.ROLE_ID_MISMATCH
    try:
        _ = role.grant_in_dataplane if asserted is not None and asserted.listeners else role.grant
    except AuthorizationError as error:
        return error.reason is Reason.ROLE_TAG_INVALID
    return False


def _token(members: Mapping[str, Any], principal: Principal) -> TokenSubject | None:
    identity = members.get("identity")
    if identity is None:
        return None
    granted = ProxyIdentity(
        type=ProxyType(identity["type"]),
        **{name: _optional(identity[name]) for name in ("mesh", "service", "workload", "zone")},
        labels=tuple(_labels(identity).items()),
    )
    return TokenSubject(identity=granted, principal=principal, name=_optional(members["name"]))


def _asserted(members: Mapping[str, Any]) -> ProxyAssertion:
    services = frozenset(_text(service) for service in members["services"])
    labels = {SERVICE_TAG: members.get("service_label"), WORKLOAD_TAG: members["workload"]}
    return ProxyAssertion(
        type=ProxyType(members["type"]),
        mesh=_optional(members["mesh"]),
        name=_optional(members["name"]),
        zone=_optional(members["zone"]),
        tags={SERVICE_TAG: services} if services else {},
        labels={**_labels(members), **{name: _text(value) for name, value in labels.items() if value is not None}},
        listeners=frozenset(ZoneListener(listener) for listener in members["listeners"]),
    )


def _labels(members: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of an identity or of a proxy. Lines of version 0.1 without Kuma 3.0 have no such member."""
    return {_text(key): _text(value) for key, value in members.get("labels", {}).items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise LineError("a member is no text")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)
