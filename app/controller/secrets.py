"""The secrets of AWS Secrets Manager. They are read and written; none is made, deleted or listed.

A put must not undo a change that somebody else makes at the same time. So the new value gets a private stage first, and
then ``AWSCURRENT`` moves to it from the version that was read. If that version is not current any more, Secrets Manager
refuses the move, and nothing has changed for the readers of the secret.
"""

import uuid
from typing import Final

from app.controller.aws_calls import AwsCalls
from app.controller.reasons import Call, CallError, Failure
from app.controller.secret import SecretValue
from app.telemetry.audit import get_logger

# A stage can be attached to one version only. So the version of a put that did not end loses this stage with the next put,
# and Secrets Manager then deletes the version by itself.
PRIVATE_STAGE: Final = "kuma-aws-iam"
_CURRENT: Final = "AWSCURRENT"


class NotMovedError(CallError):
    """The new value was put, but ``AWSCURRENT`` did not move to it, or the answer that it did was lost.

    Attributes:
        version: the id of the new version.
    """

    def __init__(self, error: CallError, version: str) -> None:
        super().__init__(error.call, error.failure, error.detail)
        self.version = version


class Secrets:
    """Reads and replaces the values of secrets."""

    def __init__(self, calls: AwsCalls, prefix: str) -> None:
        """Make a client. ``prefix`` is the prefix of all names, for the policy in a warning."""
        self._calls = calls
        self._prefix = prefix
        self._client = calls.client("secretsmanager")
        self._may_stage = True

    async def read(self, name: str) -> SecretValue:
        """Return the current value of a secret.

        Raises:
            CallError: it could not be read.
        """
        get = self._client.get_secret_value
        answer = await self._calls.make(Call.GET_SECRET_VALUE, get, SecretId=name, VersionStage=_CURRENT)
        return SecretValue(
            name=name,
            arn=answer["ARN"],
            version=answer["VersionId"],
            created_at=answer["CreatedDate"],
            text=answer.get("SecretString"),
        )

    async def replace(self, value: SecretValue, text: str) -> str:
        """Replace a value that was read, unless somebody has changed it since. Return the id of the new version.

        Raises:
            NotMovedError: the new value is stored, but it is not the current one.
            CallError: the new value is not there. With ``changed_meanwhile``, somebody else has put a value.
        """
        if self._may_stage:
            version = await self._put(value.name, text, PRIVATE_STAGE, str(uuid.uuid4()))
            try:
                await self.move(value, version)
            except CallError as error:
                if error.failure is not Failure.ACCESS_DENIED:
                    raise NotMovedError(error, version) from None
                self._warn(value)
            else:
                return version
        # Without the permission to move a stage, a change in the short time between these two calls is lost.
        if (await self.read(value.name)).version != value.version:
            raise CallError(Call.PUT_SECRET_VALUE, Failure.CHANGED_MEANWHILE, "the secret has another version")
        version = str(uuid.uuid4())
        try:
            return await self._put(value.name, text, _CURRENT, version)
        except CallError as error:
            if error.failure.is_general or error.failure is Failure.ANSWER_INVALID:
                raise NotMovedError(error, version) from None
            raise

    async def move(self, value: SecretValue, version: str) -> None:
        """Move ``AWSCURRENT`` from the version that was read to another one.

        Raises:
            CallError: it did not move. With ``changed_meanwhile``, the version that was read is not the current one.
        """
        try:
            await self._calls.make(
                Call.UPDATE_SECRET_VERSION_STAGE,
                self._client.update_secret_version_stage,
                SecretId=value.name,
                VersionStage=_CURRENT,
                MoveToVersionId=version,
                RemoveFromVersionId=value.version,
            )
        except CallError as error:
            if error.failure is Failure.REJECTED and error.detail.startswith("Invalid"):
                raise CallError(error.call, Failure.CHANGED_MEANWHILE, error.detail) from None
            raise

    async def _put(self, name: str, text: str, stage: str, version: str) -> str:
        answer = await self._calls.make(
            Call.PUT_SECRET_VALUE,
            self._client.put_secret_value,
            SecretId=name,
            # botocore repeats a put with the same id, so a put whose answer was lost makes no second version.
            ClientRequestToken=version,
            SecretString=text,
            VersionStages=[stage],
        )
        put: str = answer["VersionId"]
        return put

    def _warn(self, value: SecretValue) -> None:
        if not self._may_stage:
            return
        self._may_stage = False
        secrets = value.arn.partition(":secret:")[0]
        statement = {
            "Effect": "Allow",
            "Action": "secretsmanager:UpdateSecretVersionStage",
            "Resource": f"{secrets}:secret:{self._prefix}*",
        }
        get_logger().warning(
            "secrets are put plainly",
            detail="a change that somebody else makes in the same moment would be lost",
            mending_policy={"Version": "2012-10-17", "Statement": [statement]},
            attach_to="the task role of the controller; then restart it",
        )
