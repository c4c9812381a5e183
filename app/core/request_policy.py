"""The local rules: `SignedRequest` → `ValidatedRequest` → `ForwardableRequest`, before any network call.

Each rule is one small function. `RULES` at the end of the file lists all rules in the order of the threat model. The result
of a rule depends only on the credential and the settings, so it may be cached. `require_fresh` checks the time.
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.core.endpoints import StsEndpoint, StsEndpoints
from app.core.errors import CredentialError, malformed
from app.core.forwarding import ForwardableRequest, ValidatedRequest, rebuild
from app.core.header_rules import ACTION, AUDIENCE_HEADERS, HEADER_RULES, POST_BODY, VERSION
from app.core.reasons import Reason
from app.core.signed_request import ALL_FORMS, CredentialForm, SignedRequest, require_form
from app.core.sigv4 import ALGORITHM, STS_SERVICE, TERMINATOR, parse_amz_date

# STS accepts a signature for 15 minutes and ignores X-Amz-Expires:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html
MAX_LIFETIME: Final = timedelta(minutes=15)
# Measured with the real STS: if the query is longer than about 15.8 kB, STS answers an empty 400. No signer writes such a
# long query.
MAX_TARGET_CHARS: Final = 15_000
MAX_FUTURE_SKEW: Final = timedelta(minutes=5)

_EXPIRES: Final = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """The settings that the rules depend on.

    Attributes:
        endpoints: the accepted STS hosts; never empty.
        audience: the value that a credential must be bound to; never empty.
        allow_unbound: whether to accept also a credential whose SignedHeaders contain no audience header. Any system that
            receives such a credential can replay it.
        forms: the forms of credential that the service accepts; never empty.
    """

    endpoints: StsEndpoints
    audience: str = field(repr=False)
    allow_unbound: bool = False
    forms: AbstractSet[CredentialForm] = ALL_FORMS

    def __post_init__(self) -> None:
        # Fail closed: an empty value could be misread as "accept everything".
        if not self.endpoints or not self.audience or not self.forms:
            raise ValueError("a request policy needs at least one STS endpoint, an audience and at least one form")


def validate(request: SignedRequest, policy: RequestPolicy) -> ValidatedRequest:
    """Check a decoded request with every rule in order, and rebuild it from parsed values and constants.

    `require_fresh` checks the age separately, and only STS can verify the signature.

    Raises:
        CredentialError: the request breaks a rule. The error has the reason of the first such rule.
    """
    for rule in RULES:
        rule(request, policy)
    rebuilt = rebuild(
        request,
        endpoint=_endpoint(request, policy),
        audience=policy.audience if _bound_by(request) else None,
        signed_at=parse_amz_date(request.amz_date),
        lifetime=lifetime_of(request),
    )
    # The rebuilt query can be longer than the client's: each literal slash of a session token becomes three characters.
    if len(rebuilt.target) > MAX_TARGET_CHARS:
        raise malformed("the query is longer than STS takes")
    return rebuilt


def require_fresh(request: ValidatedRequest, now: datetime) -> ForwardableRequest:
    """Check the age of a validated request, before the service calls STS (I7).

    Raises:
        CredentialError: ``credential_expired`` or ``credential_not_yet_valid``.
    """
    require_age(request.signed_at, request.lifetime, now)
    return ForwardableRequest(request=request)


def require_age(signed_at: datetime, lifetime: timedelta, now: datetime) -> datetime:
    """Check the age of a signature, and return when the signature expires.

    This check runs for every decision, cache hits included (I7).

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


def _require_accepted_form(request: SignedRequest, policy: RequestPolicy) -> None:
    require_form(request.form, policy.forms)


def _require_https(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.url.scheme != "https":
        raise malformed("the URL's scheme is not https")


def _require_known_host(request: SignedRequest, policy: RequestPolicy) -> None:
    """Compare the whole authority with the finite set: no port, userinfo, upper case or trailing dot is accepted (I1)."""
    if request.url.authority not in policy.endpoints:
        raise CredentialError(Reason.HOST_NOT_ALLOWED, "the host is none of the accepted STS endpoints")


def _require_root_path(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.url.path != "/":
        raise malformed("the URL's path is not /")


def _require_method(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.method != ("GET" if request.form.is_presigned else "POST"):
        raise malformed("the method does not belong to this form")


def _require_action(request: SignedRequest, _policy: RequestPolicy) -> None:
    """Check that STS executes GetCallerIdentity (CVE-2020-16250).

    A GET has two constants in its query. A POST has one constant body and no query: STS prefers URL parameters to body
    parameters (consul-awsauth 5254294).
    """
    if request.form.is_presigned:
        if (request.parameters["Action"], request.parameters["Version"]) != (ACTION, VERSION):
            raise malformed("the query does not ask for GetCallerIdentity of 2011-06-15")
        return
    if request.url.query is not None:
        raise malformed("a POST with a query")
    if request.body != POST_BODY:
        raise malformed("the body is not that of GetCallerIdentity")


def _require_algorithm(request: SignedRequest, _policy: RequestPolicy) -> None:
    if request.signature.algorithm != ALGORITHM:
        raise malformed("the algorithm is not AWS4-HMAC-SHA256")


def require_valid_headers(request: SignedRequest, _policy: RequestPolicy) -> None:
    """Check the rules about headers.

    Raises:
        CredentialError: ``credential_malformed`` or ``audience_missing``.
    """
    for rule in HEADER_RULES:
        rule(request)


def _bound_by(request: SignedRequest) -> frozenset[str]:
    return AUDIENCE_HEADERS.intersection(request.signature.signed_headers)


def _require_audience(request: SignedRequest, policy: RequestPolicy) -> None:
    """Check that the signature is made for this service (I6).

    A presigned URL does not contain the audience. The service sends its own audience to STS, and STS rejects a signature
    that was made over another audience.
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
    """Check that the scope has the date of the request, the region of the host, and the service sts (I8).

    STS would reject a wrong scope too, but that would cost a call.
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
        raise malformed("X-Amz-Expires is not 1 to 900 seconds")


def _endpoint(request: SignedRequest, policy: RequestPolicy) -> StsEndpoint:
    return policy.endpoints[request.url.authority]


def lifetime_of(request: SignedRequest) -> timedelta:
    """Return the lifetime of a signature: its X-Amz-Expires, or 15 minutes for an envelope and for the EKS form.

    The tools that write the EKS form always set X-Amz-Expires to 60 seconds. This function recognizes the EKS form by its
    signed header, not by its prefix. The prefix is not signed: whoever adds it to a credential of another form must not
    extend the credential's lifetime.
    """
    if request.expires is None or CredentialForm.EKS.audience_header in _bound_by(request):
        return MAX_LIFETIME
    # If both values are equal, `min` returns the first, so that nearly all cached credentials share one object.
    return min(MAX_LIFETIME, timedelta(seconds=int(request.expires)))


RULES: Final[tuple[Callable[[SignedRequest, RequestPolicy], None], ...]] = (
    _require_accepted_form,
    # The host is checked before the scheme: if a request was signed for a private http endpoint, the error should name the
    # host.
    _require_known_host,
    _require_https,
    _require_root_path,
    _require_method,
    _require_action,
    _require_algorithm,
    require_valid_headers,
    _require_audience,
    _require_time_grammar,
    _require_scope,
)
