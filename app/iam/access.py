"""Choose the credentials that read an account's roles: the service's own, or the credentials of a reader role (I13, I25).

The only parameter of ``iam:GetRole`` is a name, and IAM looks for it in the account whose credentials sign the call. So the
account of the role determines the credentials. Two accounts never share credentials: sharing led to CVE-2025-11621 and
CVE-2025-59048.
"""

import time
from dataclasses import dataclass, field
from typing import Final

from app.aws.credential_causes import explain_rejection
from app.aws.own_credentials import OwnCredentials, Report, own_credentials_error, report_to_nobody
from app.aws.own_endpoints import OwnEndpoint
from app.aws.signed_query import Query, RefusedError, SignedQueries
from app.core.arn import ArnError, parse_arn
from app.core.aws_errors import ACCESS_DENIED_CODES, BAD_CREDENTIAL_CODES
from app.core.errors import UpstreamError
from app.core.reasons import Reason
from app.core.strict_xml import DocumentError
from app.core.sts_documents import AssumedRole, IdentityDocument, read_assumed_role, read_identity_document
from app.http.http1 import HttpReply
from app.http.network import NetworkOptions
from app.http.pool import HttpPool
from app.iam.own_account import OwnAccount, OwnAccountError, read_own_account
from app.iam.reader_roles import ReaderRoles
from app.local.clock import Timer

# The session name that the CloudTrail of the other account shows.
_SESSION_NAME: Final = "kuma-aws-iam"
_IDENTITY_MEDIA_TYPE: Final = "text/xml"
_ATTEMPTS: Final = 2  # no bound: a call whose credentials AWS rejects is repeated once with others
MAKE_READER_ROLE: Final = (
    "make a role in it that may iam:GetRole and that the service may assume, and set KMESH_AWSIAM_READER_ROLE_NAME to its "
    "name"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IamOptions:
    """The endpoints and the credentials for calls to IAM.

    Attributes:
        partition: the partition of every role; the ARN of a reader role contains the partition.
        region: the region of the service.
        sts: the endpoint for AssumeRole and for the service's own GetCallerIdentity.
        iam: the endpoint for GetRole.
        reader_role_name: the name of the role to assume in other accounts, path included; None if there is no such role.
        reader_external_id: the external id for assuming that role; None if it needs none.
    """

    partition: str
    region: str
    sts: OwnEndpoint
    iam: OwnEndpoint
    reader_role_name: str | None = None
    reader_external_id: str | None = field(default=None, repr=False)

    def reader_role_arn(self, account: str) -> str:
        """Return the ARN of the reader role in an account."""
        return f"arn:{self.partition}:iam::{account}:role/{self.reader_role_name}"


class NoReaderRoleError(Exception):
    """A role is in another account than the service, and no reader role is configured."""


class IamAccess:
    """Signs calls with the credentials that each needs. An instance belongs to one event loop.

    Attributes:
        credentials: the service's own credentials.
        account: the account of these credentials.
    """

    def __init__(
        self,
        options: IamOptions,
        pool: HttpPool,
        network: NetworkOptions,
        timer: Timer = time.monotonic,
        report: Report = report_to_nobody,
    ) -> None:
        """Start without credentials; the first call that needs them finds them. ``report``: see `OwnCredentials`."""
        self._options = options
        self._sts = SignedQueries(options.sts, pool, network)
        self._iam = SignedQueries(options.iam, pool, network)
        self.credentials = OwnCredentials(options.region, timer, report=report)
        self.account = OwnAccount(self.ask_own_account, timer)
        self._readers = ReaderRoles(self._assume, timer)

    async def ask_iam(self, account: str, query: Query, deadline: float) -> HttpReply:
        """Call IAM with the credentials that read roles of an account.

        Raises:
            NoReaderRoleError: the account is not the service's own, and no reader role is configured.
            TimeoutError: no credentials before the deadline, in seconds of the event loop's clock.
            OwnCredentialsError: the service's own credentials cannot be used.
            RefusedError, UpstreamError: STS or IAM could not be called, or its answer was rejected.
        """
        if account == await self.account.get(deadline):
            return await self._ask_as_self(self._iam, query, deadline)
        if self._options.reader_role_name is None:
            raise NoReaderRoleError(
                f"the account is not the service's own, and KMESH_AWSIAM_READER_ROLE_NAME is unset; {MAKE_READER_ROLE}"
            )
        return await self._ask_as_reader(account, query, deadline)

    async def ask_own_account(self, deadline: float) -> str:
        """Ask STS for the account of the service's own credentials.

        Raises:
            OwnCredentialsError, RefusedError, UpstreamError: as for `ask_iam`.
        """
        return (await self.identify(deadline)).account

    async def identify(self, deadline: float) -> IdentityDocument:
        """Ask STS whom it names for the service's own credentials, after the checks of `read_own_account`.

        Raises:
            OwnCredentialsError, RefusedError, UpstreamError: as for `ask_iam`.
        """
        reply = await self._ask_as_self(self._sts, Query(action="GetCallerIdentity", parameters={}), deadline)
        try:
            identity = read_identity_document(_IDENTITY_MEDIA_TYPE, reply.body)
            read_own_account(identity, self._options.partition)
        except (DocumentError, OwnAccountError) as error:
            raise _not_believed(error) from error
        return identity

    async def _ask_as_self(self, queries: SignedQueries, query: Query, deadline: float) -> HttpReply:
        """Call with the service's own credentials. If AWS rejects them, call once more with others, if there are any.

        If there are none, `OwnCredentials.get` raises the cause that AWS named.
        """
        for attempts_left in reversed(range(_ATTEMPTS)):
            credentials = await self.credentials.get(deadline)
            try:
                reply = await queries.ask(query, credentials, deadline)
            except RefusedError as error:
                if error.code in ACCESS_DENIED_CODES:
                    self.credentials.accept(credentials)
                if error.code not in BAD_CREDENTIAL_CODES:
                    raise
                self.credentials.reject(credentials, error.code, error.message)
                if not attempts_left:
                    raise own_credentials_error(explain_rejection(error.code, error.message)) from error
            else:
                self.credentials.accept(credentials)
                return reply
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask_as_reader(self, account: str, query: Query, deadline: float) -> HttpReply:
        """Call with the session of a reader role. If AWS rejects the session, assume the role once more."""
        credentials = await self._readers.get(account, deadline)
        try:
            return await self._iam.ask(query, credentials, deadline)
        except RefusedError as error:
            if error.code not in BAD_CREDENTIAL_CODES:
                raise
        self._readers.drop(account, credentials)
        return await self._iam.ask(query, await self._readers.get(account, deadline), deadline)

    async def _assume(self, account: str, deadline: float) -> AssumedRole:
        parameters = {"RoleArn": self._options.reader_role_arn(account), "RoleSessionName": _SESSION_NAME}
        if self._options.reader_external_id is not None:
            parameters["ExternalId"] = self._options.reader_external_id
        reply = await self._ask_as_self(self._sts, Query(action="AssumeRole", parameters=parameters), deadline)
        try:
            role = read_assumed_role(reply.body)
            arn = parse_arn(role.arn)
        except (DocumentError, ArnError) as error:
            raise _not_believed(error) from error
        if (arn.partition, arn.account) != (self._options.partition, account):
            raise _not_believed("a role of another account or partition")
        return role


def _not_believed(why: object) -> UpstreamError:
    return UpstreamError(Reason.IAM_UNAVAILABLE, f"the answer of STS is not believed: {why}")
