"""Say in words why the AWS credentials of a program cannot be used: the SDK does not get any, or AWS rejects them.

The service and the agent share these words. They contain no URL: on ECS, anybody who knows the path of the credentials
endpoint can get the role's credentials from it.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import (
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from app.core.aws_errors import EXPIRED_SESSION_CODES, CredentialFault
from app.local.causes import Cause

_STATUS: Final = re.compile(r"non 200 response (\d{3}) ")
_MAX_CAUSES: Final = 8  # no bound: an end for a chain of errors that refers to itself
_TASK_ROLE: Final = "on ECS give the task a task role; elsewhere set AWS_PROFILE or the AWS_* variables"
_CLOCK_WORDS: Final = ("Signature expired", "Signature not yet current", "is now earlier than", "is still later than")
_RESTART: Final = "restart the task, or replace the AWS_* variables or the profile"


class CredentialProblem(NamedTuple):
    """Why credentials cannot be used, as a label and in words."""

    fault: CredentialFault
    cause: Cause


def explain_search(error: BaseException) -> CredentialProblem:
    """Return why the SDK's chain of credential providers found nothing. The chain can raise any exception."""
    errors = list(_with_its_causes(error))
    for each in errors:
        problem = _explain(each)
        if problem is not None:
            return problem
    provider = next(
        (str(each.kwargs.get("provider")) for each in errors if isinstance(each, CredentialRetrievalError)), ""
    )
    source = f"its source ({provider})" if provider else "their source"
    return CredentialProblem(
        "failed",
        Cause(
            f"the AWS SDK could not get the credentials from {source}",
            "check the AWS_* variables, the profile and the task role",
        ),
    )


def explain_rejection(code: str, message: str = "") -> CredentialProblem:
    """Return why AWS rejects credentials, by its error code.

    Args:
        code: AWS's error code.
        message: AWS's text. It only shows whether a signature was rejected because of its date.
    """
    if code in EXPIRED_SESSION_CODES:
        words = Cause(
            f"AWS says that their session has expired ({code})", f"their source gives out old ones: {_RESTART}"
        )
        return CredentialProblem("expired", words)
    if code == "RequestExpired" or any(words in message for words in _CLOCK_WORDS):
        return CredentialProblem(
            "rejected", Cause(f"AWS says that the signature's date is wrong ({code})", "set this host's clock by NTP")
        )
    if code in ("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"):
        return CredentialProblem(
            "rejected",
            Cause(
                f"AWS says that the signature does not fit the access key ({code})",
                "the secret key is another key's: correct AWS_SECRET_ACCESS_KEY or the profile; or a proxy on the path "
                "changes requests",
            ),
        )
    return CredentialProblem(
        "rejected",
        Cause(
            f"AWS does not know their access key or session ({code})",
            "the role or user was deleted, the key was turned off, or it is of another partition or of an opt-in region: "
            f"{_RESTART}",
        ),
    )


def explain_connection(error: HTTPClientError | ConnectionError, target: str, remedy: str) -> Cause:
    """Return why a call of the SDK got no answer.

    Args:
        error: the SDK's exception.
        target: what the endpoint is for, in a sentence.
        remedy: what to check if the endpoint cannot be reached.
    """
    is_proxy = isinstance(error, ProxyConnectionError)
    host = _host_of(str(error.kwargs.get("proxy_url" if is_proxy else "endpoint_url", "")))
    name = f"the proxy{host} on the way to {target}" if is_proxy else f"the endpoint of {target}{host}"
    if isinstance(error, SSLError):
        return Cause(f"the certificate of {name} is not trusted", "set AWS_CA_BUNDLE if something intercepts TLS here")
    is_late = isinstance(error, ConnectTimeoutError | ReadTimeoutError)
    return Cause(f"{name} {'gives no answer in time' if is_late else 'cannot be reached'}", remedy)


def _explain(error: BaseException) -> CredentialProblem | None:
    if isinstance(error, NoCredentialsError):
        return CredentialProblem("missing", Cause("the AWS SDK finds no credentials", _TASK_ROLE))
    if isinstance(error, ProfileNotFound):
        name = error.kwargs.get("profile", "")
        return CredentialProblem(
            "missing", Cause(f"there is no profile {name} in the files of the AWS SDK", _TASK_ROLE)
        )
    if isinstance(error, PartialCredentialsError):
        words = Cause(
            "the AWS_* variables or the profile hold only a part of a key", "set key id and secret key together"
        )
        return CredentialProblem("missing", words)
    if isinstance(error, ClientError):
        code = re.sub(r"[^A-Za-z0-9.]", "", str(error.response.get("Error", {}).get("Code", "")))[:128] or "no code"
        words = Cause(
            f"STS refuses to exchange them: {error.operation_name} answered {code}",
            "check the trust policy of the role, and that the web identity token or the source profile is valid",
        )
        return CredentialProblem("refused", words)
    if isinstance(error, MetadataRetrievalError) and (status := _STATUS.search(str(error))) is not None:
        words = Cause(
            f"the endpoint of container credentials answers {status[1]}",
            "the task role may not exist or not trust ecs-tasks.amazonaws.com; else check AWS_CONTAINER_CREDENTIALS_*",
        )
        return CredentialProblem("refused", words)
    return _explain_connection(error)


def _explain_connection(error: BaseException) -> CredentialProblem | None:
    if isinstance(error, HTTPClientError | ConnectionError):
        remedy = (
            "check that it runs, the AWS_CONTAINER_CREDENTIALS_* variables, and that no firewall or proxy is between"
        )
        return CredentialProblem("unreachable", explain_connection(error, "the credentials", remedy))
    # botocore raises plain errors of Python for a host that it does not allow, and for credentials that came expired.
    if isinstance(error, ValueError) and "Unsupported host" in str(error):
        return CredentialProblem(
            "refused",
            Cause(
                "the AWS SDK does not fetch credentials from the host in AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "name a loopback address or an address of ECS or EKS, or use https",
            ),
        )
    if type(error) is RuntimeError and "still expired" in str(error):
        return CredentialProblem(
            "expired",
            Cause(
                "the credentials that were fetched have expired already",
                "if this host's clock is ahead, set it by NTP; otherwise restart what hands them out",
            ),
        )
    return None


def _host_of(url: str) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f" ({host})" if host else ""


def _with_its_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors that it was raised for."""
    each: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__
