"""One IAM client per account, with the service's own credentials or a reader role's (invariants I13, I25).

``iam:GetRole`` takes a name and answers for the account of whoever asks. So the account picks the client, and a client
is never shared between accounts: that was CVE-2025-11621 and CVE-2025-59048.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError

from app.adapters.trust import ca_file

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient

# Shown in the other account's CloudTrail.
_READER_SESSION_NAME: Final = "kuma-aws-iam"
# One retry: a decision has seconds, and the caller comes again after Retry-After.
_MAX_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IamOptions:
    """How IAM is reached, and as whom.

    Attributes:
        partition: the partition of every role; it stands in the reader role's ARN.
        region: signs the service's own calls.
        sts_url: where to send AssumeRole and the like instead.
        iam_url: where to send GetRole instead.
        proxy_url: one explicit proxy.
        ca_file: trust these certificates instead of certifi's.
        reader_role_name: the role to assume in other accounts, path included.
        reader_external_id: its external id.
        connect_timeout: seconds.
        read_timeout: seconds.
        max_threads: calls to IAM at the same time. Far above what AWS allows an account, so that some that hang leave room.
    """

    partition: str
    region: str
    sts_url: str | None = None
    iam_url: str | None = None
    proxy_url: str | None = None
    ca_file: str | None = None
    reader_role_name: str | None = None
    reader_external_id: str | None = field(default=None, repr=False)
    connect_timeout: float = 1.0
    read_timeout: float = 3.0
    max_threads: int = 64

    def reader_role_arn(self, account: str) -> str:
        """Return the ARN of the reader role in an account."""
        return f"arn:{self.partition}:iam::{account}:role/{self.reader_role_name}"


class NoReaderRoleError(Exception):
    """A role is in another account than the service, and no reader role is named."""


class IamClients:
    """Makes clients on first use and keeps them. Thread-safe; every method may block on the network."""

    def __init__(self, options: IamOptions) -> None:
        self._options = options
        # An empty mapping of proxies keeps botocore from reading HTTPS_PROXY and its kin (I9).
        self._config = Config(
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            retries={"total_max_attempts": _MAX_ATTEMPTS, "mode": "standard"},
            max_pool_connections=options.max_threads,
            proxies={"https": options.proxy_url, "http": options.proxy_url} if options.proxy_url else {},
            user_agent_extra="kuma-aws-iam",
        )
        self._lock = threading.Lock()
        self._session: botocore.session.Session | None = None
        self._own_account: str | None = None
        self._clients: dict[str, IAMClient] = {}

    def obtain_credentials(self) -> bool:
        """Whether the SDK's chain finds credentials for the service itself, as an ECS task does."""
        with self._lock:
            credentials = self._own_session().get_credentials()
            # Some providers fetch nothing before they are used.
            return credentials is not None and bool(credentials.get_frozen_credentials().access_key)

    def own_account(self) -> str:
        """Return the account of the service's own credentials, asking STS the first time.

        Raises:
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: STS could not be asked.
        """
        with self._lock:
            return self._own_account_locked()

    def for_account(self, account: str) -> "IAMClient":
        """Return the client that reads roles of an account.

        Raises:
            NoReaderRoleError: it is another account than ours, and no reader role is named.
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: our own account could not be found out.
        """
        with self._lock:
            client = self._clients.get(account)
            if client is None:
                client = self._clients[account] = self._make_client(account)
            return client

    def _own_session(self) -> botocore.session.Session:
        if self._session is None:
            self._session = botocore.session.get_session()
        elif self._session.get_credentials() is None:
            # botocore remembers that it found none; a new session looks again.
            self._session = botocore.session.get_session()
        return self._session

    def _own_account_locked(self) -> str:
        if self._own_account is None:
            sts = boto3.Session(botocore_session=self._own_session()).client("sts", **self._client_options("sts"))
            self._own_account = sts.get_caller_identity()["Account"]
        return self._own_account

    def _make_client(self, account: str) -> "IAMClient":
        if account == self._own_account_locked():
            session = self._own_session()
        elif self._options.reader_role_name is not None:
            session = self._reader_session(account)
        else:
            raise NoReaderRoleError(
                f"account {account} is not the service's own, and KMESH_AWSIAM_READER_ROLE_NAME is unset"
            )
        return boto3.Session(botocore_session=session).client("iam", **self._client_options("iam"))

    def _reader_session(self, account: str) -> botocore.session.Session:
        """Make a session whose credentials are the reader role's, refreshed by botocore before they expire."""
        own = self._own_session()
        credentials = own.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        extra_args = {"RoleSessionName": _READER_SESSION_NAME}
        if self._options.reader_external_id is not None:
            extra_args["ExternalId"] = self._options.reader_external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._sts_client_creator(own),
            source_credentials=credentials,
            role_arn=self._options.reader_role_arn(account),
            extra_args=extra_args,
        )
        session = botocore.session.Session()
        session.register_component(
            "credential_provider", CredentialResolver(providers=[_ReaderRoleProvider(fetcher.fetch_credentials)])
        )
        return session

    def _sts_client_creator(self, session: botocore.session.Session) -> Callable[..., Any]:
        return functools.partial(session.create_client, **self._client_options("sts"))

    def _client_options(self, service: str) -> dict[str, Any]:
        return {
            "region_name": self._options.region,
            "endpoint_url": self._options.sts_url if service == "sts" else self._options.iam_url,
            # Always named: else botocore would take REQUESTS_CA_BUNDLE of the environment (I9).
            "verify": ca_file(self._options.ca_file),
            "config": self._config,
        }


class _ReaderRoleProvider(CredentialProvider):
    """The only provider of a reader's session: it must never fall back to the service's own credentials."""

    METHOD = "kuma-aws-iam-reader"

    def __init__(self, refresh: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._refresh = refresh

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=self._refresh)
