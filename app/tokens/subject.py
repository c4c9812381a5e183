"""`TokenSubject` → `RoleGrant`: what a presented token grants under the current settings."""

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.core.role_grant import GrantPolicy, RoleGrant, require_permitted
from app.tokens.claims import TokenSubject


def limit(subject: TokenSubject, policy: GrantPolicy) -> RoleGrant:
    """Apply the checks of `app.core.role_tags.read_grant` to a token, because settings may have changed since its issue.

    A token does not contain the role's path, so the path is not checked.

    Raises:
        AuthorizationError: ``role_service_missing``, ``role_workload_missing``, ``account_mesh_not_allowed``.
    """
    require_permitted(subject.grant, subject.principal.account, policy)
    return subject.grant


def require_name(subject: TokenSubject, proxy: ProxyAssertion | None) -> None:
    """Check the proxy's name against the name in its token, as Kuma does (pkg/xds/auth/universal/authenticator.go).

    Raises:
        AuthorizationError: ``proxy_name_mismatch``; also if the proxy gives no name.
    """
    if proxy is not None and subject.name is not None and proxy.name != subject.name:
        raise AuthorizationError(Reason.PROXY_NAME_MISMATCH, f"the token is for {subject.name}")
