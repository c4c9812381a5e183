"""The functions of the decision's steps that need no upstream. Tracing replaces each by one that also records a span."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.core.credential import decode_credential
from app.core.forwarding import ValidatedRequest
from app.core.principal import AdmittedPrincipal, Principal, admit
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.request_policy import RequestPolicy, require_age, validate
from app.core.role_grant import GrantPolicy, RoleGrant, match
from app.core.role_tags import RoleRecord, read_grant
from app.core.signed_request import CredentialForm, SignedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The functions, with the numbers of `app.decision.authenticator`."""

    decode: Callable[[str, AbstractSet[CredentialForm]], SignedRequest] = decode_credential  # 1
    validate: Callable[[SignedRequest, RequestPolicy], ValidatedRequest] = validate  # 2
    require_age: Callable[[datetime, timedelta, datetime], datetime] = require_age  # 2
    admit: Callable[[Principal, AbstractSet[str]], AdmittedPrincipal] = admit  # 5
    read_grant: Callable[[AdmittedPrincipal, RoleRecord, GrantPolicy, ProxyAssertion | None], RoleGrant] = (
        read_grant  # 7
    )
    match: Callable[[RoleGrant, ProxyAssertion | None, GrantPolicy], ProxyIdentity] = match  # 8


STEPS: Final = Steps()
