"""`TokenSubject` → `ProxyClaims`: what a token that comes back as a credential lets its bearer be, by today's settings."""

from app.core.proxy import SERVICE_TAG, ProxyClaims, ProxyRequest, ProxyType
from app.core.role_tags import AccountMeshes, require_mesh_of_account
from app.core.token_claims import TokenSubject
from app.errors import AuthorizationError
from app.reasons import Reason


def limit(
    subject: TokenSubject, *, require_service: bool = False, account_meshes: AccountMeshes | None = None
) -> ProxyClaims:
    """Hold a token to what `app.core.role_tags.read_claims` holds a role to: settings may have changed since its issue.

    Raises:
        AuthorizationError: ``role_service_missing``, ``account_mesh_not_allowed``.
    """
    claims = subject.claims
    if require_service and claims.type is ProxyType.DATAPLANE and claims.service is None:
        raise AuthorizationError(Reason.ROLE_SERVICE_MISSING, f"the token has no {SERVICE_TAG}")
    if account_meshes is not None:
        require_mesh_of_account(claims, account_meshes.get(subject.principal.account, frozenset()))
    return claims


def require_name(subject: TokenSubject, proxy: ProxyRequest | None) -> None:
    """Hold a proxy to the name in its token, as Kuma does (pkg/xds/auth/universal/authenticator.go).

    Raises:
        AuthorizationError: ``proxy_name_mismatch``; also where the proxy gives none.
    """
    if proxy is not None and subject.name is not None and proxy.name != subject.name:
        raise AuthorizationError(Reason.PROXY_NAME_MISMATCH, f"the token is for {subject.name}")
