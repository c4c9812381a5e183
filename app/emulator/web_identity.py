"""The caller of the emulated `sts:AssumeRoleWithWebIdentity`: a pod, known by the token of its Kubernetes service account.

AWS verifies the token with the keys of the cluster's OpenID Connect provider. There is no cluster here, so the emulator
checks only the token's form and its `exp`, and believes its subject.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import jwt

from app.emulator.identities import Principal
from app.emulator.query_protocol import ServiceError

ACTION: Final = "AssumeRoleWithWebIdentity"
_MIN_ARN_PARTS: Final = 5


def read_web_identity(params: Mapping[str, str], now: datetime) -> Principal:
    """Return the subject of the parameter `WebIdentityToken`, in the partition and account of the requested role.

    Raises:
        ServiceError: The token is missing, is no JWT, has no subject, or has expired.
    """
    try:
        claims = jwt.decode(params.get("WebIdentityToken", ""), options={"verify_signature": False})
        subject, expires_at = str(claims["sub"]), float(claims["exp"])
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        raise ServiceError(400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from None
    if expires_at <= now.timestamp():
        raise ServiceError(400, "ExpiredTokenException", "Token expired: the current date/time must be before its exp.")
    parts = params.get("RoleArn", "").split(":")
    partition, account = (parts[1], parts[4]) if len(parts) > _MIN_ARN_PARTS else ("", "")
    return Principal(partition=partition, account=account, arn=subject, user_id=subject, policy_arn=subject)
