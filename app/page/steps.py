"""At which of the eight steps a decision ended, from the fields of its audit line.

The steps are those of `app.decision.authenticator`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from app.core.reasons import Reason
from app.decision.record import NONE, TOKEN_FORM

STEPS: Final = MappingProxyType(
    {
        1: ("decode", "the text is a signed request in an accepted form"),
        2: ("validate", "host, action, headers, audience, scope and age"),
        3: ("identify", "STS names who signed the request"),
        4: ("read", "the caller is an assumed role"),
        5: ("admit", "the account is in the list"),
        6: ("fetch", "IAM has the role"),
        7: ("read", "the role's tags grant a proxy type and a mesh"),
        8: ("match", "the proxy is what the role grants"),
    }
)
BEFORE: Final = 0  # the call was refused before a decision began
AFTER: Final = 9  # the decision was an approval, and no token was issued for it

# The step at which a reason ends a decision. Of the other reasons, the audit line tells the step (`_last_step`).
_STEP_OF: Final[Mapping[Reason, int]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                Reason.REQUEST_TOO_LARGE,
                Reason.UNSUPPORTED_MEDIA_TYPE,
                Reason.NOT_FOUND,
                Reason.METHOD_NOT_ALLOWED,
                Reason.CALLER_NOT_AUTHENTICATED,
            ),
            BEFORE,
        ),
        **dict.fromkeys(
            (
                Reason.HOST_NOT_ALLOWED,
                Reason.AUDIENCE_MISSING,
                Reason.SCOPE_MISMATCH,
                Reason.CREDENTIAL_EXPIRED,
                Reason.CREDENTIAL_NOT_YET_VALID,
                Reason.TOKEN_REJECTED,
            ),
            2,
        ),
        **dict.fromkeys(
            (
                Reason.SESSION_EXPIRED,
                Reason.STS_REJECTED,
                Reason.STS_THROTTLED,
                Reason.STS_UNAVAILABLE,
                Reason.STS_ACCESS_DENIED,
            ),
            3,
        ),
        Reason.PRINCIPAL_NOT_A_ROLE: 4,
        Reason.ACCOUNT_NOT_AUTHORIZED: 5,
        Reason.ACCOUNTS_UNAVAILABLE: 5,
        **dict.fromkeys(
            (
                Reason.ROLE_NOT_FOUND,
                Reason.IAM_THROTTLED,
                Reason.IAM_UNAVAILABLE,
                Reason.IAM_ACCESS_DENIED,
                Reason.OWN_CREDENTIALS_UNAVAILABLE,
            ),
            6,
        ),
        **dict.fromkeys(
            (
                Reason.ROLE_ID_MISMATCH,
                Reason.ROLE_TYPE_MISSING,
                Reason.ROLE_MESH_MISSING,
                Reason.ROLE_SERVICE_MISSING,
                Reason.ROLE_PATH_NOT_ALLOWED,
                Reason.ROLE_TAG_INVALID,
                Reason.ACCOUNT_MESH_NOT_ALLOWED,
            ),
            7,
        ),
        **dict.fromkeys(
            (
                Reason.PROXY_TYPE_DISABLED,
                Reason.PROXY_TYPE_MISMATCH,
                Reason.PROXY_MESH_MISMATCH,
                Reason.PROXY_SERVICE_MISMATCH,
                Reason.PROXY_WORKLOAD_MISMATCH,
                Reason.PROXY_ZONE_MISMATCH,
                Reason.PROXY_NAME_MISMATCH,
            ),
            8,
        ),
        Reason.ROLE_ZONE_MISSING: AFTER,
        Reason.PROXY_NAME_MISSING: AFTER,
        Reason.SIGNING_KEY_MISSING: AFTER,
    }
)
# A token of this service names the principal and the grant itself.
_NOT_FOR_TOKENS: Final = frozenset({3, 4, 6})

Verdict = Literal["done", "ended here", "not reached", "not needed for a token", "nothing to compare"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a decision: its number and name, what it checks, and what happened."""

    number: int
    name: str
    checks: str
    verdict: Verdict


def ended_at(fields: Mapping[str, Any]) -> int | None:
    """Return the number of the step that ended a decision, `BEFORE` or `AFTER`; None for an approval."""
    reason = fields.get("reason")
    if reason is None:
        return None
    return _STEP_OF.get(Reason(reason)) if Reason(reason) in _STEP_OF else _last_step(fields)


def steps_of(fields: Mapping[str, Any]) -> list[Step]:
    """Return the eight steps of a decision."""
    end = ended_at(fields)
    is_token = fields.get("form") == TOKEN_FORM
    has_proxy = fields.get("claimed") is not None
    return [
        Step(number, *names, _verdict(number, end, is_token=is_token, has_proxy=has_proxy))
        for number, names in STEPS.items()
    ]


def _verdict(number: int, end: int | None, *, is_token: bool, has_proxy: bool) -> Verdict:
    if end == number:
        return "ended here"
    if end is not None and number > end:
        return "not reached"
    if is_token and number in _NOT_FOR_TOKENS:
        return "not needed for a token"
    return "done" if has_proxy or number != len(STEPS) else "nothing to compare"


def _last_step(fields: Mapping[str, Any]) -> int:
    """Return the step after the last one that left something in the audit line.

    Several steps can end with the same reason, for example with ``overloaded``.
    """
    marks = (
        (AFTER, fields.get("granted") is not None),
        (7, fields.get("role") is not None),
        (6, _was_used(fields.get("iam"))),
        (5, fields.get("principal") is not None),
        (3, _was_used(fields.get("sts"))),
        (2, fields.get("form") is not None),
    )
    found = next((step for step, is_marked in marks if is_marked), None)
    if found is not None:
        return found
    return 1 if fields.get("reason") == Reason.CREDENTIAL_MALFORMED else BEFORE


def _was_used(upstream: Any) -> bool:
    return isinstance(upstream, Mapping) and upstream.get("cache") not in (None, NONE)
