"""The local rules: `SignedRequest` → `ValidatedRequest` → `ForwardableRequest`, before any network call.

Each rule is one small function; `RULES` at the bottom is the whole list in its order, the order of the threat model. A rule
depends on the credential and the settings only, so its result may be cached. `require_fresh` checks the time.
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.core.endpoints import StsEndpoint, StsEndpoints
from app.core.errors import CredentialError
from app.core.forwarding import ForwardableRequest, ValidatedRequest, rebuild
from app.core.header_rules import ACTION, AUDIENCE_HEADERS, HEADER_RULES, POST_BODY, VERSION
from app.core.reasons import Reason
from app.core.signed_request import ALL_FORMS, CredentialForm, SignedRequest, require_form
from app.core.sigv4 import ALGORITHM, STS_SERVICE, TERMINATOR, parse_amz_date

# STS uses this window and ignores X-Amz-Expires: https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html
MAX_LIFETIME: Final = timedelta(minutes=15)
# Measured with real STS: it answers a query over about 15.8 kB with an empty 400. No signer writes such a long query.
MAX_TARGET_CHARS: Final = 15_000
MAX_FUTURE_SKEW: Final = timedelta(minutes=5)

_EXPIRES: Final = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """The settings that the rules depend on.

    Attributes:
        endpoints: the accepted STS hosts; never empty.
        audience: the value that a credential must be bound to; never empty.
        allow_unbound: also accept a credential whose SignedHeaders contain no audience header. Other systems can replay such
            a credential.
        forms: the forms of credential that are accepted; never empty.
    """

    endpoints: StsEndpoints
    audience: str = field(repr=False)
    allow_unbound: bool = False
    forms: AbstractSet[CredentialForm] = ALL_FORMS

    def __post_init__(self) -> None:
        # Fail closed: callers could take an empty policy to mean "nothing" or "everything".
        if not self.endpoints or not self.audience or not self.forms:
            raise ValueError("a request policy needs at least one STS endpoint, an audience and at least one form")


def validate(request: SignedRequest, policy: RequestPolicy) -> ValidatedRequest:
    """Check a decoded request with every rule in order, and rebuild it from parsed values and constants.

    `require_fresh` checks the age separately, and only STS can verify the signature.

    Raises:
        CredentialError: the reason of the first rule that the request breaks.
    """
    for rule in RULES:
        rule(request, policy)
    rebuilt = rebuild(
        request,
        endpoint=_endpoint(request, policy),
        audience=policy.audience if _bound_by(request) else None,
        signed_at=parse_amz_date(request.amz_date),
        lifetime=_lifetime(request),
    )
    # Each raw slash of a session token becomes three characters. STS answers a query that is too long with an empty 400.
    if len(rebuilt.target) > MAX_TARGET_CHARS:
        raise _malformed("the query is longer than STS takes")
    return rebuilt


def require_fresh(request: ValidatedRequest, now: datetime) -> ForwardableRequest:
    """Check the age of a validated request, before STS is asked (I7).

    Raises:
        CredentialError: ``credential_expired`` or ``credential_not_yet_valid``.
    """
    require_age(request.signed_at, request.lifetime, now)
    return ForwardableRequest(request=request)


def require_age(signed_at: datetime, lifetime: timedelta, now: datetime) -> datetime:
    """Check the age of a signature, and return when it expires. This check runs on every decision, cache hits included (I7).

    Raises:
        CredentialError: ``credential_expired`` or ``credential_not_yet_valid``.
    """
    age = now - signed_at
    if age > lifetime:
        raise CredentialError(
            Reason.CREDENTIAL_EXPIRED, f"signed {age.total_seconds():.0f} s ago, lives {lifetime.total_seconds():.0f} s"
        )
    if age < -MAX_FUTURE_SKEW:
        raise CredentialError(Reason.CREDENTIAL_NOT_YET_VALID, f"signed {-age.total_seconds():.0f} s in the future")
    return signed_at + lifetime


def _malformed(detail: str) -> CredentialError:
    return CredentialError(Reason.CREDENTIAL_MALFORMED, detail)


def _require_accepted_form(request: SignedRequest, policy: RequestPolicy) -> None:
    require_form(request.form, policy.forms)


def _require_https(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.url.scheme != "https":
        raise _malformed("the URL's scheme is not https")


def _require_known_host(request: SignedRequest, policy: RequestPolicy) -> None:
    """Compare the whole authority with the finite set: no port, userinfo, upper case or trailing dot is accepted (I1)."""
    if request.url.authority not in policy.endpoints:
        raise CredentialError(Reason.HOST_NOT_ALLOWED, "the host is none of the accepted STS endpoints")


def _require_root_path(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.url.path != "/":
        raise _malformed("the URL's path is not /")


def _require_method(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.method != ("GET" if request.form.is_presigned else "POST"):
        raise _malformed("the method does not belong to this form")


def _require_action(request: SignedRequest, _policy: RequestPolicy) -> None:
    """Pin what STS executes (CVE-2020-16250): two constants in the query, or one constant body and no query.

    STS prefers URL parameters to body parameters, so a POST with any query is rejected (consul-awsauth 5254294).
    """
    if request.form.is_presigned:
        if (request.parameters["Action"], request.parameters["Version"]) != (ACTION, VERSION):
            raise _malformed("the query does not ask for GetCallerIdentity of 2011-06-15")
        return
    if request.url.query is not None:
        raise _malformed("a POST with a query")
    if request.body != POST_BODY:
        raise _malformed("the body is not that of GetCallerIdentity")


def _require_algorithm(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.signature.algorithm != ALGORITHM:
        raise _malformed("the algorithm is not AWS4-HMAC-SHA256")


def _require_valid_headers(request: SignedRequest, _policy: RequestPolicy) -> None:
    for rule in HEADER_RULES:
        rule(request)


def _bound_by(request: SignedRequest) -> frozenset[str]:
    return AUDIENCE_HEADERS.intersection(request.signature.signed_headers)


def _require_audience(request: SignedRequest, policy: RequestPolicy) -> None:
    """Check that the signature is made for this service (I6).

    A presigned URL does not contain the value. The service sends its own value, and STS rejects a signature over another
    value.
    """
    bound_by = _bound_by(request)
    if not bound_by:
        if not policy.allow_unbound:
            raise CredentialError(Reason.AUDIENCE_MISSING, "SignedHeaders holds no audience header")
        return
    if bound_by != {request.form.audience_header}:
        raise CredentialError(Reason.AUDIENCE_MISMATCH, "SignedHeaders holds an audience header of another form")
    if not request.form.is_presigned and request.headers[request.form.audience_header] != policy.audience:
        raise CredentialError(Reason.AUDIENCE_MISMATCH, "the audience header holds another value")


def _require_scope(request: SignedRequest, policy: RequestPolicy) -> None:
    """Check that the scope fits the date, the host and the service (I8).

    STS would reject a wrong scope too, but only after a call.
    """
    scope = request.signature.scope
    if scope.date != request.amz_date[:8]:
        raise CredentialError(Reason.SCOPE_MISMATCH, "the scope's date is not the day of X-Amz-Date")
    if scope.region != _endpoint(request, policy).signing_region:
        raise CredentialError(Reason.SCOPE_MISMATCH, "the scope's region is not that of the host")
    if (scope.service, scope.terminator) != (STS_SERVICE, TERMINATOR):
        raise CredentialError(Reason.SCOPE_MISMATCH, "the scope is not sts/aws4_request")


def _require_time_grammar(request: SignedRequest, _policy: RequestPolicy) -> None:
    parse_amz_date(request.amz_date)
    if request.expires is not None and (
        not _EXPIRES.fullmatch(request.expires) or timedelta(seconds=int(request.expires)) > MAX_LIFETIME
    ):
        raise _malformed("X-Amz-Expires is not 1 to 900 seconds")


def _endpoint(request: SignedRequest, policy: RequestPolicy) -> StsEndpoint:
    return policy.endpoints[request.url.authority]


def _lifetime(request: SignedRequest) -> timedelta:
    """Return the lifetime of a signature: its Expires, but 15 minutes in the EKS form, whose tools always write 60 seconds.

    The signed header identifies the EKS form. The prefix does not, since it is not signed: adding the prefix to a credential
    of another form must not extend its life.
    """
    if request.expires is None or CredentialForm.EKS.audience_header in _bound_by(request):
        return MAX_LIFETIME
    # Of two equal ones `min` returns the first: nearly all credentials that are kept share one value.
    return min(MAX_LIFETIME, timedelta(seconds=int(request.expires)))


RULES: Final[tuple[Callable[[SignedRequest, RequestPolicy], None], ...]] = (
    _require_accepted_form,
    # The host is checked before the scheme: for a request that was signed for a private http endpoint, the host is the main
    # fault.
    _require_known_host,
    _require_https,
    _require_root_path,
    _require_method,
    _require_action,
    _require_algorithm,
    _require_valid_headers,
    _require_audience,
    _require_time_grammar,
    _require_scope,
)
