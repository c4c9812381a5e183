"""The reader role of another account, as a session of botocore's that never has any other credentials (invariant I25)."""

from collections.abc import Callable
from typing import Any, Final

import botocore.session
from botocore.client import BaseClient
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)

from app.adapters.sdk_data import new_session

# Shown in the other account's CloudTrail.
_SESSION_NAME: Final = "kuma-aws-iam"


def open_reader_session(
    create_client: Callable[..., BaseClient], own: Credentials, role_arn: str, external_id: str | None
) -> botocore.session.Session:
    """Make a session whose credentials are the reader role's, renewed by botocore before they expire. Asks nobody yet.

    Args:
        create_client: makes a client of STS out of a service's name and keys.
        own: the service's own credentials, which assume the role.
        role_arn: the role.
        external_id: what its trust policy asks for, if anything.
    """
    extra_args = {"RoleSessionName": _SESSION_NAME}
    if external_id is not None:
        extra_args["ExternalId"] = external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=create_client, source_credentials=own, role_arn=role_arn, extra_args=extra_args
    )
    session = new_session()
    session.register_component(
        "credential_provider", CredentialResolver(providers=[_ReaderRoleProvider(fetcher.fetch_credentials)])
    )
    return session


class _ReaderRoleProvider(CredentialProvider):
    """The only provider of a reader's session: it must never fall back to the service's own credentials."""

    METHOD = "kuma-aws-iam-reader"

    def __init__(self, refresh: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._refresh = refresh

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=self._refresh)
