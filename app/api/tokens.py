"""``POST /v1/token`` and ``POST /v1/ext-authz/{path}``: a decision, and with an approval a token for the control plane.

`app.api.authenticate` makes, counts and answers the decisions of both. Each class here only defines how a call is read and
how an approval is answered.
"""

from typing import Final

from starlette.types import Receive

from app.api.answer import Answer
from app.api.authenticate import JSON, AuthenticateEndpoint, Headers, Way, encode, members_of
from app.core.errors import AuthError, AuthorizationError, RequestError, malformed
from app.core.known_credential import PresentedCredential
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.decision.authenticator import Decision
from app.decision.record import ApiCall, DecisionRecord
from app.tokens.issued_token import IssuedToken
from app.tokens.signer import SigningIssuer

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 - a path
EXT_AUTHZ_PREFIX: Final = "/v1/ext-authz/"


def is_ext_authz(path: str) -> bool:
    """Whether a path is one that Envoy's ext_authz calls: the prefix, and then the path of the request to be checked."""
    return path.startswith(EXT_AUTHZ_PREFIX)


class TokenWay:
    """The same call as ``/v1/authenticate``; the answer also contains a token."""

    call: ApiCall = "token"

    def __init__(self, endpoint: AuthenticateEndpoint, issuer: SigningIssuer) -> None:
        self._endpoint = endpoint
        self._issuer = issuer

    async def read(self, headers: Headers, receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read the same JSON as ``/v1/authenticate``."""
        return await self._endpoint.read(headers, receive)

    async def conclude(
        self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> Answer:
        """Answer with the token and the identity that it was issued for; ``expiresAt`` is when the token expires.

        Raises:
            RequestError: ``malformed_request``: the token must contain a name, and the call has no ``proxy.name``.
        """
        try:
            issued = await _issue(self._issuer, decision, asserted, trail, deadline)
        except AuthorizationError as error:
            if error.reason is not Reason.PROXY_NAME_MISSING:
                raise
            # Unlike Envoy, this caller can send the name.
            raise RequestError(Reason.MALFORMED_REQUEST, f"proxy.name: {error.detail}", field="proxy.name") from error
        members = {
            "token": issued.token,
            "kid": issued.kid,
            **members_of(decision),
            "expiresAt": issued.expires_at,
        }
        return Answer(status=200, media_type=JSON, body=encode(members), request_id=trail.request_id)


class ExtAuthzWay:
    """Envoy's call. The credential is the ``authorization`` header of the stream to be checked. The body is not used."""

    call: ApiCall = "ext_authz"

    def __init__(self, endpoint: AuthenticateEndpoint, issuer: SigningIssuer) -> None:
        self._endpoint = endpoint
        self._issuer = issuer

    async def read(self, headers: Headers, _receive: Receive) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Read the credential from the only ``authorization`` header. The body, if Envoy sends one, is ignored.

        Raises:
            CredentialError: ``credential_malformed``; there is no such header, or several.
        """
        values = [value for name, value in headers if name == b"authorization"]
        if len(values) != 1:
            raise malformed(f"{len(values)} authorization headers")
        return self._endpoint.recall(values[0].decode("latin-1")), None

    async def conclude(
        self, decision: Decision, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> Answer:
        """Answer with the token in an ``authorization`` header.

        With this header Envoy replaces the ``authorization`` header of the stream, which contains the credential.
        """
        issued = await _issue(self._issuer, decision, asserted, trail, deadline)
        token = (b"authorization", issued.token.encode("ascii"))
        return Answer(
            status=200, media_type="text/plain", body=b"", request_id=trail.request_id, extra_headers=(token,)
        )


async def _issue(
    issuer: SigningIssuer,
    decision: Decision,
    asserted: ProxyAssertion | None,
    trail: DecisionRecord,
    deadline: float,
) -> IssuedToken:
    try:
        return await issuer.issue(decision, asserted, trail, deadline)
    except AuthError:
        trail.granted = None  # the call ends without an approval
        raise


class TokenWays:
    """The two paths that issue tokens, and the `Way` that answers each."""

    def __init__(self, endpoint: AuthenticateEndpoint, issuer: SigningIssuer) -> None:
        self._token = TokenWay(endpoint, issuer)
        self._ext_authz = ExtAuthzWay(endpoint, issuer)

    def of(self, path: str) -> Way | None:
        """Return the `Way` that answers a path; None if the path issues no token."""
        if is_ext_authz(path):
            return self._ext_authz
        return self._token if path == TOKEN_PATH else None
