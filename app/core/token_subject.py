"""`TokenSubject` → `RoleGrant`: what a token that comes back as a credential lets its bearer be, by today's settings."""

from app.core.proxy import ProxyRequest
from app.core.role_grant import GrantPolicy, RoleGrant, require_permitted
from app.core.token_claims import TokenSubject
from app.errors import AuthorizationError
from app.reasons import Reason


def limit(subject: TokenSubject, policy: GrantPolicy) -> RoleGrant:
    """Hold a token to what `app.core.role_tags.read_grant` holds a role to: settings may have changed since its issue.

    A token holds no path of a role, so it is not judged by one.

    Raises:
        AuthorizationError: ``role_service_missing``, ``role_workload_missing``, ``account_mesh_not_allowed``.
    """
    require_permitted(subject.grant, subject.principal.account, policy)
    return subject.grant


def require_name(subject: TokenSubject, proxy: ProxyRequest | None) -> None:
    """Hold a proxy to the name in its token, as Kuma does (pkg/xds/auth/universal/authenticator.go).

    Raises:
        AuthorizationError: ``proxy_name_mismatch``; also where the proxy gives none.
    """
    if proxy is not None and subject.name is not None and proxy.name != subject.name:
        raise AuthorizationError(Reason.PROXY_NAME_MISMATCH, f"the token is for {subject.name}")
