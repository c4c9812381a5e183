"""Sign ``sts:GetCallerIdentity`` for a proxy, with botocore's signer and the SDK's chain of credential providers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials

from app.aws.credential_causes import explain_search
from app.aws.sdk_data import new_session
from app.core.endpoints import StsEndpoint
from app.core.header_rules import ACTION, VERSION
from app.core.request_policy import MAX_LIFETIME

MAX_EXPIRES: Final = int(MAX_LIFETIME.total_seconds())


class SigningError(Exception):
    """This program cannot make a credential. The error message says what to do."""


class CredentialsUnavailableError(SigningError):
    """The source of the AWS credentials provides no credentials at this moment."""


def ambient_credentials() -> ReadOnlyCredentials:
    """Return the credentials that the SDK's chain of providers finds; on ECS these are the credentials of the task role.

    Raises:
        SigningError: there are no credentials, or they are the long-term keys of an IAM user.
    """
    return RoleSession().current().keys


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of a role's session, and the session's expiry.

    For keys from environment variables the expiry is None, because the SDK does not know it.
    """

    keys: ReadOnlyCredentials = field(repr=False)
    ends_at: datetime | None


class RoleSession:
    """The session of the ambient role, for a long-running process. The SDK caches the session and renews it in time."""

    def __init__(self) -> None:
        self._credentials: Credentials | None = None

    def current(self) -> SessionKeys:
        """Return the keys that are valid at this moment.

        Raises:
            SigningError: there are no keys, or they are the long-term keys of an IAM user.
        """
        try:
            if self._credentials is None:
                # A session of botocore has the same chain of providers as a session of boto3, and takes less memory.
                self._credentials = new_session().get_credentials()
            frozen = None if self._credentials is None else self._credentials.get_frozen_credentials()
        except Exception as error:  # a provider of credentials can raise any exception; the caller gets one sentence
            told = (
                _ended(self._credentials, error)
                or f"the AWS credentials could not be fetched: {explain_search(error).cause}"
            )
            raise CredentialsUnavailableError(told) from error
        # botocore has no public name for this attribute; a test checks that the attribute exists.
        ends_at: datetime | None = getattr(self._credentials, "_expiry_time", None)
        if ends_at is None:
            self._credentials = None  # the SDK does not renew these credentials: search again the next time
        if frozen is None:
            raise SigningError(
                "no AWS credentials: on ECS give the task a task role; elsewhere set AWS_PROFILE or the AWS_* variables"
            )
        if not frozen.token:
            raise SigningError(
                "these AWS credentials are the long-term keys of an IAM user; only an assumed role is a workload: use the "
                "task role, or assume a role first"
            )
        return SessionKeys(frozen, ends_at)


def _ended(credentials: Credentials | None, error: Exception) -> str | None:
    """Return the error text for credentials that had expired when they arrived: this host's clock is probably ahead."""
    ends_at: datetime | None = getattr(credentials, "_expiry_time", None)
    # In this case botocore raises a plain RuntimeError; for all other errors it raises other types.
    if type(error) is not RuntimeError or ends_at is None:
        return None
    seconds = (datetime.now(UTC) - ends_at).total_seconds()
    return (
        f"the AWS credentials that were fetched ended {seconds:.0f} s ago by this host's clock: is it ahead? Set the clock "
        "(NTP); if it is right, restart what hands out the credentials"
    )


def find_endpoint(endpoints: Iterable[StsEndpoint], region: str) -> StsEndpoint:
    """Return the plain endpoint of a region, or of ``aws-global``.

    Raises:
        SigningError: AWS has no such region.
    """
    for endpoint in endpoints:
        # The plain host of a region comes before the region's FIPS and dual-stack hosts.
        if endpoint.region == region:
            return endpoint
    raise SigningError(
        f"{region!r} is no region of AWS that botocore knows; correct --region or AWS_REGION; or, if it is newer, "
        "name it in KMESH_AWSIAM_EXTRA_REGIONS, here (--extra-regions) and at the service"
    )


def presign(
    credentials: ReadOnlyCredentials,
    endpoint: StsEndpoint,
    *,
    audience: str,
    audience_header: str = "x-kuma-audience",
    expires: int = MAX_EXPIRES,
) -> str:
    """Return the presigned URL of a native credential. The URL does not contain the audience for which it is signed.

    The URL is always signed for AWS's own host; ``AWS_ENDPOINT_URL*`` has no effect.
    """
    request = AWSRequest(
        method="GET",
        url=f"https://{endpoint.host}/",
        params={"Action": ACTION, "Version": VERSION},
        headers={audience_header: audience},
    )
    SigV4QueryAuth(credentials, "sts", endpoint.signing_region, expires=expires).add_auth(request)
    url: str = request.prepare().url
    return url
