"""The grant settings, which tests vary."""

from typing import Final

from app.core.proxy import ProxyType
from app.core.role_grant import GrantPolicy

EVERY_TYPE: Final = frozenset(ProxyType)
POLICY: Final = GrantPolicy(enabled_types=EVERY_TYPE)
"""Every type is on, and nothing else is set."""
