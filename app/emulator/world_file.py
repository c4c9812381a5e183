"""Parse the TOML text that describes a world. The error for an invalid text lists all problems."""

import re
import tomllib
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from app.emulator import hosts, tags
from app.emulator.problems import describe_problems


class WorldFileError(ValueError):
    """A world file is invalid. The message has one line for each problem, with the table and the key."""


def _matches(pattern: str, words: str) -> AfterValidator:
    known = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not known.fullmatch(text):
            raise PydanticCustomError("pattern", "must be {words}", {"words": words})
        return text

    return AfterValidator(check)


def _check_partition(name: str) -> str:
    if name not in hosts.partitions():
        raise PydanticCustomError("partition", "must be a partition of AWS, such as aws or aws-cn")
    return name


def _check_tags(table: dict[str, Any]) -> dict[str, Any]:
    problems = tags.problems(table)
    if problems:
        raise PydanticCustomError("tags", "{problems}", {"problems": "; ".join(problems)})
    return table


_Partition = Annotated[str, AfterValidator(_check_partition)]
_AccountId = Annotated[str, _matches(r"\d{12}", "12 digits, in quotes")]
_Name = Annotated[str, _matches(r"[\w+=,.@-]{1,64}", "1 to 64 letters, digits or _+=,.@-")]
_Path = Annotated[str, _matches(r"/(?:[!-~]{1,510}/)?", 'a path that begins and ends with "/"')]
_ArnPatterns = Annotated[tuple[str, ...], Field(strict=False)]  # TOML has lists


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RoleTable(_Table):
    """A role to create. The members that are not set have the world's defaults."""

    path: _Path = "/"
    role_id: Annotated[str, _matches(r"AROA[A-Z0-9]{12,124}", "an id such as AROA and 17 capitals or digits")] = ""
    tags: Annotated[dict[str, Any], AfterValidator(_check_tags)] = {}
    trusted: _ArnPatterns = ()
    external_id: Annotated[str, _matches(r"[\w+=,.@:/-]{2,1224}", "2 or more letters, digits or _+=,.@:/-")] = ""
    may_get_roles: _ArnPatterns = ()
    max_session_duration: int = Field(3600, ge=3600, le=43200)  # IAM's own bounds


class UserTable(_Table):
    """A user to create. The members that are not set have the world's defaults."""

    path: _Path = "/"
    access_key_id: Annotated[str, _matches(r"AKIA[A-Z0-9]{12,124}", "an id such as AKIA and 16 capitals or digits")] = (
        ""
    )
    secret_access_key: Annotated[str, _matches(r"[!-~]{1,128}", "a text without blanks")] = ""


def _check_role_names(roles: dict[str, RoleTable]) -> dict[str, RoleTable]:
    seen: set[str] = set()
    for name in roles:
        if name.lower() in seen:
            raise PydanticCustomError("twin", "{name}: another role has this name: AWS ignores case", {"name": name})
        seen.add(name.lower())
    return roles


class AccountTable(_Table):
    """One account to create. If its partition is None, it gets the world's partition."""

    partition: _Partition | None = None
    roles: Annotated[dict[_Name, RoleTable], AfterValidator(_check_role_names)] = {}
    users: dict[_Name, UserTable] = {}


class WorldPlan(_Table):
    """A whole world to create."""

    partition: _Partition = "aws"
    accounts: dict[_AccountId, AccountTable] = Field(min_length=1)


def parse(text: str) -> WorldPlan:
    """Parse a world file.

    Raises:
        WorldFileError: the text is invalid.
    """
    try:
        return WorldPlan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise WorldFileError(f"not TOML: {error}") from error
    except ValidationError as error:
        raise WorldFileError("\n".join(describe_problems(error))) from error
