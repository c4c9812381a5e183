"""What hvac posts to Vault: the envelope, taken from a loopback server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hvac
from capture import LOOPBACK_URL, environment, loopback
from recording import AUDIENCE, CREDENTIALS, Recording, request_in_vault_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator


def recordings() -> Iterator[Recording]:
    """Yield logins with and without a role, an audience, a region and a session token."""
    login = _login("audience", header_value=AUDIENCE, role="demo-app")
    yield login
    yield login.in_base64url()
    yield _login("role-null", header_value=AUDIENCE, role=None)
    yield _login("no-audience", role="demo-app")
    yield _login("no-audience-role-null", role=None)
    yield _login("region-us-east-1", header_value=AUDIENCE, role="demo-app", region="us-east-1")
    yield _login("region-eu-west-1", header_value=AUDIENCE, role="demo-app", region="eu-west-1")


def _login(case: str, **arguments: str | None) -> Recording:
    with loopback() as server, environment({}):
        hvac.Client(url=LOOPBACK_URL).auth.aws.iam_login(
            CREDENTIALS["AWS_ACCESS_KEY_ID"],
            CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            CREDENTIALS["AWS_SESSION_TOKEN"],
            **arguments,
        )
        posted = server.request.body
    listed = "".join(f", {name}={value!r}" for name, value in arguments.items())
    return Recording(
        case=f"hvac-{case}",
        tool="hvac",
        how=f"hvac.Client(url='{LOOPBACK_URL}').auth.aws.iam_login(access_key, secret_key, session_token{listed})",
        request=request_in_vault_envelope(posted),
        form="envelope, made by the tool",
        credential=posted,
    )
