"""Parse the TOML text that describes a world. The error for an invalid text lists all problems."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict, cast

from app.emulator import hosts, tags
from app.emulator.identities import RoleOptions

_ACCOUNT: Final = re.compile(r"\d{12}", re.ASCII)
_NAME: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_PATH: Final = re.compile(r"/(?:[!-~]{1,510}/)?")
_ROLE_ID: Final = re.compile(r"AROA[A-Z0-9]{12,124}")
_EXTERNAL_ID: Final = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_KEY_ID: Final = re.compile(r"AKIA[A-Z0-9]{12,124}")
_SECRET: Final = re.compile(r"[!-~]{1,128}")


class WorldFileError(ValueError):
    """A world file is invalid. The message has one line for each problem, with the table and the key."""


class UserOptions(TypedDict, total=False):
    """The properties of a user."""

    path: str
    access_key_id: str
    secret_access_key: str


@dataclass(slots=True)
class AccountPlan:
    """One account to create. If its partition is None, it gets the world's partition."""

    account: str
    partition: str | None
    roles: dict[str, RoleOptions] = field(default_factory=dict)
    users: dict[str, UserOptions] = field(default_factory=dict)


@dataclass(slots=True)
class WorldPlan:
    """A whole world to create."""

    partition: str
    accounts: list[AccountPlan] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Rule:
    """The rule for the value of one key, as a function and as words for the error."""

    fits: Callable[[Any], bool]
    words: str


def parse(text: str) -> WorldPlan:
    """Parse a world file.

    Raises:
        WorldFileError: the text is invalid.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WorldFileError(f"not TOML: {error}") from error
    problems: list[str] = []
    top = _read_table(document, "", {"partition": _PARTITION, "accounts": _TABLE}, problems)
    plan = WorldPlan(partition=top.get("partition", "aws"))
    for account, table in top.get("accounts", {}).items():
        where = f'accounts."{account}"'
        if not _ACCOUNT.fullmatch(account):
            problems.append(f"{where}: an account id has 12 digits, in quotes")
        plan.accounts.append(_read_account(account, table, where, problems))
    if not plan.accounts and not problems:
        problems.append('accounts: at least one is needed, such as [accounts."111122223333".roles.demo-app]')
    if problems:
        raise WorldFileError("\n".join(problems))
    return plan


def _read_account(account: str, table: Any, where: str, problems: list[str]) -> AccountPlan:
    known = _read_table(table, where, {"partition": _PARTITION, "roles": _TABLE, "users": _TABLE}, problems)
    plan = AccountPlan(account, known.get("partition"))
    seen: set[str] = set()
    for name, role in known.get("roles", {}).items():
        place = f"{where}.roles.{name}"
        _check_name(name, place, problems)
        if name.lower() in seen:
            problems.append(f"{place}: another role has this name, and AWS ignores case there")
        seen.add(name.lower())
        plan.roles[name] = _read_role(role, place, problems)
    for name, user in known.get("users", {}).items():
        place = f"{where}.users.{name}"
        _check_name(name, place, problems)
        plan.users[name] = cast("UserOptions", _read_table(user, place, _USER_RULES, problems))
    return plan


def _read_role(table: Any, where: str, problems: list[str]) -> RoleOptions:
    options = _read_table(table, where, _ROLE_RULES, problems)
    problems += [f"{where}.tags: {problem}" for problem in tags.problems(options.get("tags", {}))]
    for name in ("trusted", "may_get_roles"):
        if name in options:
            options[name] = tuple(options[name])
    return cast("RoleOptions", options)


def _read_table(table: Any, where: str, rules: Mapping[str, _Rule], problems: list[str]) -> dict[str, Any]:
    """Return the valid keys of a table, and add the problems of the invalid keys to ``problems``."""
    if not isinstance(table, dict):
        problems.append(f"{where}: must be a table")
        return {}
    good = {}
    for key, value in table.items():
        place = f"{where}.{key}".lstrip(".")
        rule = rules.get(key)
        if rule is None:
            problems.append(f"{place}: unknown key; known are {', '.join(sorted(rules))}")
        elif not rule.fits(value):
            problems.append(f"{place}: must be {rule.words}")
        else:
            good[key] = value
    return good


def _check_name(name: str, where: str, problems: list[str]) -> None:
    if not _NAME.fullmatch(name):
        problems.append(f"{where}: a name has 1 to 64 letters, digits or _+=,.@-")


def _matches(pattern: re.Pattern[str], words: str) -> _Rule:
    return _Rule(lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None, words)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_duration(value: Any) -> bool:
    return type(value) is int and 3600 <= value <= 43200  # noqa: PLR2004 - IAM's own bounds


_TABLE: Final = _Rule(lambda value: isinstance(value, dict), "a table")
_PATTERNS: Final = _Rule(_is_texts, "a list of ARN patterns")
_PATH_RULE: Final = _matches(_PATH, 'a path that begins and ends with "/"')
_PARTITION: Final = _Rule(
    lambda value: isinstance(value, str) and value in hosts.partitions(), "a partition of AWS, such as aws or aws-cn"
)

_ROLE_RULES: Final[Mapping[str, _Rule]] = {
    "path": _PATH_RULE,
    "role_id": _matches(_ROLE_ID, "an id such as AROA and 17 capitals or digits"),
    "tags": _TABLE,
    "trusted": _PATTERNS,
    "external_id": _matches(_EXTERNAL_ID, "2 or more letters, digits or _+=,.@:/-"),
    "may_get_roles": _PATTERNS,
    "max_session_duration": _Rule(_is_duration, "3600 to 43200 seconds"),
}
_USER_RULES: Final[Mapping[str, _Rule]] = {
    "path": _PATH_RULE,
    "access_key_id": _matches(_KEY_ID, "an id such as AKIA and 16 capitals or digits"),
    "secret_access_key": _matches(_SECRET, "a text without blanks"),
}
