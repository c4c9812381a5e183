"""The value of a secret: a JSON object with the member ``token``. All other members belong to others, and stay."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from app.core.strict_json import StrictJsonError, parse_object

TOKEN_KEY: Final = "token"  # noqa: S105 - the name of a key
# The limit of Secrets Manager for the value of a secret.
MAX_SECRET_BYTES: Final = 65_536
# Kuma's tokens have 600 to 1,000 characters, since they have one service, one mesh and one workload.
EXPECTED_TOKEN_CHARS: Final = 2048


class MalformedSecretError(Exception):
    """The value of a secret is no JSON object. A token would replace the whole value, so none is put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretValue:
    """One version of a secret.

    Attributes:
        name: the name of the secret.
        arn: the ARN of the secret.
        version: the id of the version that had the stage AWSCURRENT when it was read.
        created_at: when the version was put.
        text: the value; None if the version has a binary value.
    """

    name: str
    arn: str
    version: str
    created_at: datetime
    text: str | None = field(repr=False)

    def token(self) -> str | None:
        """Return the token. Return None if the member is absent, null or empty.

        Raises:
            MalformedSecretError: the value is no unambiguous JSON object.
        """
        token = self._members().get(TOKEN_KEY)
        if token is None or token == "":
            return None
        # A number, a list or an object is no token. It is replaced, as an unreadable token is.
        return token if isinstance(token, str) else "?"

    def with_token(self, token: str) -> str:
        """Return the value with another token. All other members stay, in their order.

        Raises:
            MalformedSecretError: the value is no unambiguous JSON object, or is too large with the token.
        """
        members = {**self._members(), TOKEN_KEY: token}
        try:
            # A number such as 1e999 is JSON, but not for every reader of the value that would be written here.
            text = json.dumps(members, allow_nan=False, ensure_ascii=False)
        except ValueError as error:
            raise MalformedSecretError("a number of it is too large") from error
        try:
            is_kept = _exact(text) == {**_exact(self.text or ""), TOKEN_KEY: token}
        except ArithmeticError:  # an exponent of over 18 digits
            is_kept = False
        if not is_kept:
            raise MalformedSecretError("a number of it has more digits than can be kept; write it as a string")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can only write as an escape
            text = json.dumps(members)
            size = len(text)
        if size > MAX_SECRET_BYTES:
            raise MalformedSecretError(f"with a token it would have more than {MAX_SECRET_BYTES} bytes")
        return text

    def require_room(self) -> None:
        """Check that a token can be put, before one is issued.

        Raises:
            MalformedSecretError: as `with_token` does.
        """
        self.with_token("x" * EXPECTED_TOKEN_CHARS)

    def _members(self) -> dict[str, Any]:
        if self.text is None:
            raise MalformedSecretError("its value is binary")
        try:
            return parse_object(self.text)
        except StrictJsonError as error:
            raise MalformedSecretError(f"its value is no usable JSON object: {error}") from error


def _exact(text: str) -> dict[str, Any]:
    """Parse an object without any loss of digits, for a comparison."""
    members: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return members
