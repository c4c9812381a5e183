"""Calls of boto3 clients. They block, so they run in threads; their errors become `CallError`.

botocore retries a call by itself, with exponential backoff and jitter (its standard mode). If a call still fails for a cause
that would also fail the next one, the controller pauses all calls to the same party (`app.controller.pauses`).
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.exceptions import (
    ConnectionError as AwsConnectionError,
)
from botocore.loaders import Loader

from app import __version__
from app.aws.credential_causes import explain_connection, explain_search
from app.aws.sdk_data import load_partitions, new_session
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import Call, CallError, Failure
from app.core.aws_errors import ACCESS_DENIED_CODES, EXPIRED_SESSION_CODES, THROTTLING_CODES
from app.local.addresses import is_loopback
from app.local.causes import explain_file

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 5.0
# The attempts of one call, the first one included.
ATTEMPTS: Final = 3
# The limit for a whole call, since a server that sends its answer byte by byte never exceeds ``READ_SECONDS``.
CALL_SECONDS: Final = 30.0
# The number of calls at the same time. Each thread takes memory of its own.
MAX_AWS_CALLS: Final = 4

_SERVER_ERROR: Final = 500
_WAY: Final = "check DNS, the route, the security group, and the VPC endpoint or NAT gateway"
_MEMBERS: Final = {
    Call.LIST_TASKS: "taskArns",
    Call.DESCRIBE_TASKS: "tasks",
    Call.DESCRIBE_TASK_DEFINITION: "taskDefinition",
    Call.GET_SECRET_VALUE: "VersionId",
    Call.PUT_SECRET_VALUE: "VersionId",
    Call.UPDATE_SECRET_VERSION_STAGE: "Name",
}
_FAILURES: Final[Mapping[str, Failure]] = {
    **dict.fromkeys(THROTTLING_CODES, Failure.THROTTLED),
    **dict.fromkeys(ACCESS_DENIED_CODES, Failure.ACCESS_DENIED),
    **dict.fromkeys(EXPIRED_SESSION_CODES, Failure.NO_CREDENTIALS),
    "UnrecognizedClientException": Failure.NO_CREDENTIALS,
    "InvalidSignatureException": Failure.NO_CREDENTIALS,
    "ResourceNotFoundException": Failure.NOT_FOUND,
    "ClusterNotFoundException": Failure.NOT_FOUND,
    # Secrets Manager reports these while a key of KMS cannot be used.
    "DecryptionFailure": Failure.ACCESS_DENIED,
    "EncryptionFailure": Failure.ACCESS_DENIED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsLimits:
    """The limits of one call, in seconds, and the number of its attempts."""

    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    attempts: int = ATTEMPTS
    call_seconds: float = CALL_SECONDS


class InsecureEndpointError(Exception):
    """The endpoint of a client would get secrets without TLS; the message names the variable."""


class AwsCalls:
    """Makes calls to AWS with the process's own credentials, which the SDK finds and renews."""

    def __init__(self, region: str, metrics: ControllerMetrics, limits: AwsLimits | None = None) -> None:
        self._metrics = metrics
        self._limits = limits or AwsLimits()
        self._region = region
        self._threads = ThreadPoolExecutor(MAX_AWS_CALLS, thread_name_prefix="aws")

    @functools.cached_property
    def _session(self) -> boto3.Session:
        session = new_session()
        session.register_component("data_loader", _SmallLoader.make())
        return boto3.Session(botocore_session=session, region_name=self._region)

    def close(self) -> None:
        """Start no further call. A call in progress runs to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def client(self, service: Literal["ecs", "secretsmanager"]) -> Any:
        """Return a client. The SDK's variables for endpoints, certificates and proxies have their usual meaning.

        Raises:
            InsecureEndpointError: ``AWS_ENDPOINT_URL…`` names another host than this one, without TLS.
        """
        create: Any = self._session.client
        client = create(
            service,
            config=Config(
                connect_timeout=self._limits.connect_seconds,
                read_timeout=self._limits.read_seconds,
                retries={"mode": "standard", "total_max_attempts": self._limits.attempts},
                max_pool_connections=MAX_AWS_CALLS,
                user_agent_extra=f"kuma-aws-iam/{__version__}",
            ),
        )
        url = urlsplit(client.meta.endpoint_url)
        if url.scheme != "https" and not is_loopback(url.hostname or ""):
            raise InsecureEndpointError(
                f"the endpoint of {service} is {url.scheme}://{url.hostname}, so secrets would cross the network in clear; "
                "use https in AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_*"
            )
        return client

    async def make(self, call: Call, function: Callable[..., Any], **parameters: Any) -> dict[str, Any]:
        """Make a call, and return the answer. It has the member that every answer to this call has.

        Raises:
            CallError: the call failed.
        """
        try:
            async with asyncio.timeout(self._limits.call_seconds):
                work = functools.partial(function, **parameters)
                answer: dict[str, Any] = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (ClientError, BotoCoreError, TimeoutError, OSError) as error:
            failed = _to_call_error(call, error)
            self._metrics.call_failed(call, failed.failure)
            raise failed from None  # the error of the SDK can contain the parameters of the call, and so a token
        # botocore reads a body that is not JSON as an answer without members. So a broken proxy would end all tasks.
        if _MEMBERS[call] not in answer:
            raise self.invalid(call, f"the answer has no {_MEMBERS[call]}")
        self._metrics.call_made(call)
        return answer

    def invalid(self, call: Call, detail: str) -> CallError:
        """Count an answer that cannot be used, and return the error."""
        self._metrics.call_failed(call, Failure.ANSWER_INVALID)
        return CallError(call, Failure.ANSWER_INVALID, detail)


class _SmallLoader(Loader):
    """Loads botocore's own data, and in place of its older table of endpoints what the table says about unlisted services.

    The table takes 7 MB. For ECS and Secrets Manager botocore takes the endpoints from the rules of these services, and only
    the partition from the table.
    """

    @classmethod
    def make(cls) -> Self:
        return cls(extra_search_paths=[cls.BUILTIN_DATA_PATH], include_default_search_paths=False)

    def load_data_with_path(self, name: str) -> Any:
        if name == "endpoints":
            return {"version": 3, "partitions": [_partition(each) for each in load_partitions()]}, name
        load: Any = super().load_data_with_path
        return load(name)


def _partition(partition: dict[str, Any]) -> dict[str, Any]:
    hostname = "{service}.{region}.{dnsSuffix}"
    return {
        "partition": partition["id"],
        "dnsSuffix": partition["outputs"]["dnsSuffix"],
        "regionRegex": partition["regionRegex"],
        "defaults": {"hostname": hostname, "protocols": ["https"], "signatureVersions": ["v4"]},
        "regions": {region: {} for region in partition["regions"]},
        "services": {},
    }


def _to_call_error(call: Call, error: Exception) -> CallError:
    """Convert an error. The detail is a code or a sentence, never the text of the error."""
    match error:
        case ClientError():
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            otherwise = Failure.UNAVAILABLE if status >= _SERVER_ERROR else Failure.REJECTED
            return CallError(call, _FAILURES.get(code, otherwise), code if code.isalnum() else f"status {status}")
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return CallError(call, Failure.NO_CREDENTIALS, str(explain_search(error).cause))
        case AwsConnectionError() | HTTPClientError():
            is_late = isinstance(error, ReadTimeoutError | ConnectTimeoutError)
            detail = str(explain_connection(error, "AWS", _WAY))
            return CallError(call, Failure.TIMEOUT if is_late else Failure.UNAVAILABLE, detail)
        case TimeoutError():
            return CallError(call, Failure.TIMEOUT, "AWS did not end its answer in time; try again")
        case OSError():
            return CallError(call, Failure.UNAVAILABLE, f"AWS cannot be reached ({explain_file(error)}); {_WAY}")
    return CallError(
        call, Failure.ANSWER_INVALID, "the SDK cannot use the answer; look for a proxy that changes answers"
    )
