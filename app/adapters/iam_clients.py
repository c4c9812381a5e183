"""One IAM client per account, with the service's own credentials or a reader role's (invariants I13, I25).

``iam:GetRole`` takes a name and answers for the account of whoever asks. So the account picks the client, and a client
is never shared between accounts: that was CVE-2025-11621 and CVE-2025-59048.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from app.adapters.bounded_http import BoundedSession
from app.adapters.own_account import read_own_account
from app.adapters.reader_role import open_reader_session
from app.adapters.sdk_data import new_session
from app.adapters.trust import ca_file
from app.audit import get_logger

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient
    from types_boto3_sts.client import STSClient

# One retry: a decision has seconds, and the caller comes again after Retry-After.
_MAX_ATTEMPTS: Final = 2
# Of one answer. The largest GetRole of botocore's model: a trust policy of 131,072 characters, each of up to six bytes when
# it is quoted, 50 tags of 384 characters, and some 10 kB of others: 900 kB. IAM counts no white space of a policy.
MAX_ANSWER_BYTES: Final = 1024 * 1024
# Of a page of roles with all their policies; a reading of a whole account.
MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
PAGE_SECONDS: Final = 20.0
# Between two questions to STS whose credentials ours are; see `IamClients.doubt_own_account`.
DOUBT_SECONDS: Final = 30.0

_Client = TypeVar("_Client", bound=BaseClient)
Timer = Callable[[], float]


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
        read_timeout: seconds for one read; for a whole attempt the sum of both.
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

    def __init__(self, options: IamOptions, timer: Timer = time.monotonic) -> None:
        self._options = options
        self._timer = timer
        # An empty mapping of proxies keeps botocore from reading HTTPS_PROXY and its kin (I9).
        proxies = {"https": options.proxy_url, "http": options.proxy_url} if options.proxy_url else {}
        self._config = Config(
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            retries={"total_max_attempts": _MAX_ATTEMPTS, "mode": "standard"},
            max_pool_connections=options.max_threads,
            proxies=proxies,
            user_agent_extra="kuma-aws-iam",
            # An `endpoint_url` of ~/.aws/config would be where IAM is asked; the variables are read by our settings.
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs lack it
        )
        bounded = functools.partial(
            BoundedSession,
            # Always named: else botocore would take REQUESTS_CA_BUNDLE of the environment (I9).
            verify=ca_file(options.ca_file),
            proxies=proxies,
            timeout=(options.connect_timeout, options.read_timeout),
            max_pool_connections=options.max_threads,
        )
        # One for all accounts: a connection holds no credentials, each request is signed.
        self._http = bounded(seconds=options.connect_timeout + options.read_timeout, max_bytes=MAX_ANSWER_BYTES)
        self._pages_http = bounded(seconds=PAGE_SECONDS, max_bytes=MAX_PAGE_BYTES)
        self._lock = threading.Lock()
        self._session: botocore.session.Session | None = None
        self._own_account: str | None = None
        self._doubt_from = 0.0
        self._clients: dict[str, IAMClient] = {}

    def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed when their call ends."""
        self._http.close()
        self._pages_http.close()

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
            OwnAccountError: its answer is not believed; it is asked again the next time.
        """
        with self._lock:
            return self._own_account_locked()

    def doubt_own_account(self) -> None:
        """Ask STS anew whose credentials ours are, since IAM answered as if they were another account's. Never raises.

        STS may have told us another's account once, and all that follows of it is wrong: which roles the service's own
        credentials read, and which a reader role. At most once in `DOUBT_SECONDS`, so that IAM's answers cannot make us
        press STS; and what is known stays until STS says otherwise, so that an outage of STS takes nothing from us.
        """
        with contextlib.suppress(Exception):  # nobody waits for it, and the next look is not far
            with self._lock:
                if self._own_account is None or self._timer() < self._doubt_from:
                    return
                self._doubt_from = self._timer() + DOUBT_SECONDS
                sts = self._own_sts_client()
            account = read_own_account(sts.get_caller_identity(), self._options.partition)
            with self._lock:
                if account != self._own_account:
                    self._own_account = account
                    self._clients.clear()
                    get_logger().info("own account", account=account)

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
            self._session = new_session()
        elif self._session.get_credentials() is None:
            # botocore remembers that it found none; a new session looks again.
            self._session = new_session()
        return self._session

    def _own_account_locked(self) -> str:
        if self._own_account is None:
            answer = self._own_sts_client().get_caller_identity()
            self._own_account = read_own_account(answer, self._options.partition)
            self._doubt_from = self._timer() + DOUBT_SECONDS
        return self._own_account

    def _own_sts_client(self) -> "STSClient":
        session = boto3.Session(botocore_session=self._own_session())
        return self._bounded(session.client("sts", **self._client_options("sts")))

    def _make_client(self, account: str) -> "IAMClient":
        if account == self._own_account_locked():
            session = self._own_session()
        elif self._options.reader_role_name is not None:
            session = self._reader_session(account)
        else:
            raise NoReaderRoleError(
                f"account {account} is not the service's own, and KMESH_AWSIAM_READER_ROLE_NAME is unset"
            )
        return self._bounded(boto3.Session(botocore_session=session).client("iam", **self._client_options("iam")))

    def _reader_session(self, account: str) -> botocore.session.Session:
        own = self._own_session()
        credentials = own.get_credentials()
        if credentials is None:
            raise NoCredentialsError

        def create_client(service: str, **keys: Any) -> BaseClient:
            return self._bounded(own.create_client(service, **keys, **self._client_options(service)))

        role_arn = self._options.reader_role_arn(account)
        return open_reader_session(create_client, credentials, role_arn, self._options.reader_external_id)

    def _bounded(self, client: _Client) -> _Client:
        # The stubs know of no handler that answers; botocore does. One for all events: it would send once for each handler.
        client.meta.events.register("before-send", self._before_send)  # type: ignore[arg-type]
        return client

    def _before_send(self, request: AWSPreparedRequest, event_name: str, **_event: object) -> AWSResponse:
        is_page = event_name.endswith(".GetAccountAuthorizationDetails")
        return (self._pages_http if is_page else self._http).send(request)

    def _client_options(self, service: str) -> dict[str, Any]:
        return {
            "region_name": self._options.region,
            "endpoint_url": self._options.sts_url if service == "sts" else self._options.iam_url,
            # Always named: else botocore would take REQUESTS_CA_BUNDLE of the environment (I9).
            "verify": ca_file(self._options.ca_file),
            "config": self._config,
        }
