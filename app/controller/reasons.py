"""The closed sets of the controller: why a token is put, why a secret or a task is left alone, which call failed and how.

Each value is also the value of a metric label and of a log field. docs/reference/controller.md lists all of them.
"""

from enum import StrEnum


class PutReason(StrEnum):
    """Why a secret gets a new token."""

    TOKEN_MISSING = "token_missing"
    TOKEN_UNREADABLE = "token_unreadable"
    KEY_UNKNOWN = "key_unknown"
    CLAIMS_DIFFER = "claims_differ"
    HALF_LIFE_OVER = "half_life_over"
    ENDS_TOO_LATE = "ends_too_late"


class Leave(StrEnum):
    """Why a secret is left as it is."""

    USABLE = "usable"
    PUT_RECENTLY = "put_recently"
    SECRET_MISSING = "secret_missing"
    SECRET_MALFORMED = "secret_malformed"


class Skip(StrEnum):
    """Why a task gets no token."""

    NOT_IN_MESH = "not_in_mesh"
    TAG_INVALID = "tag_invalid"
    NO_TASK_ROLE = "no_task_role"
    NOT_A_DATAPLANE = "not_a_dataplane"
    ROLE_PATH_NOT_ALLOWED = "role_path_not_allowed"
    ROLE_DENIED = "role_denied"
    ROLE_UNDECIDED = "role_undecided"


class Call(StrEnum):
    """The calls that the controller makes."""

    LIST_TASKS = "ListTasks"
    DESCRIBE_TASKS = "DescribeTasks"
    DESCRIBE_TASK_DEFINITION = "DescribeTaskDefinition"
    GET_ROLE = "GetRole"
    GET_SECRET_VALUE = "GetSecretValue"
    PUT_SECRET_VALUE = "PutSecretValue"
    UPDATE_SECRET_VERSION_STAGE = "UpdateSecretVersionStage"
    ISSUE_TOKEN = "IssueToken"


class Api(StrEnum):
    """The parties that the controller calls. If one throttles or fails, the controller pauses all calls to this party."""

    ECS = "ecs"
    IAM = "iam"
    SECRETS = "secretsmanager"
    ISSUER = "issuer"


class Failure(StrEnum):
    """How a call failed. `is_general` says whether the next call to the same party would fail too."""

    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    NO_CREDENTIALS = "no_credentials"
    ACCESS_DENIED = "access_denied"
    NOT_FOUND = "not_found"
    CHANGED_MEANWHILE = "changed_meanwhile"
    REJECTED = "rejected"
    ANSWER_INVALID = "answer_invalid"

    @property
    def is_general(self) -> bool:
        """Whether the cause is the party itself, and not the task or the secret of this call."""
        return self in (Failure.THROTTLED, Failure.TIMEOUT, Failure.UNAVAILABLE, Failure.NO_CREDENTIALS)


class CallError(Exception):
    """A call failed.

    Attributes:
        call: the call.
        failure: how it failed.
        detail: an error code, or a fixed sentence. It contains no token and no text of a secret (I22).
    """

    def __init__(self, call: Call, failure: Failure, detail: str) -> None:
        super().__init__(call, failure, detail)
        self.call = call
        self.failure = failure
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.call} {self.failure}: {self.detail}"
