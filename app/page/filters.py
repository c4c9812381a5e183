"""Which decisions the page shows: the filter of its form, read from the query of the URL."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlencode

from app.core.role_tags import MESH_TAG

MAX_FILTER_CHARS: Final = 256
# The number of a decision.
MAX_NUMBER_DIGITS: Final = 15  # no bound: how a number is read; a larger one shows nothing more

Decision = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The values of the form. An empty value matches every decision.

    Attributes:
        outcome: the outcome.
        reason: the reason.
        account: a part of the account: of the principal, or the unverified one of the access key.
        role: a part of the role's name.
        mesh: a part of a mesh: of what the proxy asserts, of the role's tags or of the granted identity.
        text: a part of any text of the decision, in any case.
    """

    outcome: str = ""
    reason: str = ""
    account: str = ""
    role: str = ""
    mesh: str = ""
    text: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every decision matches."""
        return self == Filter()

    def query(self, **others: str) -> str:
        """Return the query of the URL that has this filter, and other parameters."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({name: value for name, value in {**own, **others}.items() if value})

    def matches(self, decision: Decision) -> bool:
        """Return whether the page shows a decision."""
        return (
            self.outcome in ("", decision.get("outcome"))
            and self.reason in ("", decision.get("reason"))
            and _has_part(self.account, accounts_of(decision))
            and _has_part(self.role, _member(decision, "principal", "role"))
            and _has_part(self.mesh, meshes_of(decision))
            and (not self.text or self.text.casefold() in "\n".join(_texts(decision)).casefold())
        )


def read_filter(query: Mapping[str, str]) -> Filter:
    """Read the filter. Unknown parameters are ignored, and long values are cut."""
    return Filter(**{field.name: query.get(field.name, "").strip()[:MAX_FILTER_CHARS] for field in fields(Filter)})


def read_number(text: str) -> int | None:
    """Read the number of a decision; None if it is no number."""
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_NUMBER_DIGITS
    return int(text) if is_number else None


def accounts_of(decision: Decision) -> list[str]:
    """Return the accounts that a decision names: the principal's, else the unverified one of the access key."""
    return _member(decision, "principal", "account") or _member(decision, "access_key", "unverified_account")


def meshes_of(decision: Decision) -> list[str]:
    """Return the meshes that a decision names: asserted, tagged and granted."""
    role = decision.get("role")
    tagged = _member(role, "tags", MESH_TAG) if isinstance(role, Mapping) else []
    named = [*_member(decision, "claimed", "mesh"), *tagged, *_member(decision, "granted", "mesh")]
    return list(dict.fromkeys(named))


def _member(decision: Decision, name: str, member: str) -> list[str]:
    value = decision.get(name)
    text = value.get(member) if isinstance(value, Mapping) else None
    return [text] if isinstance(text, str) else []


def _has_part(wanted: str, texts: list[str]) -> bool:
    return not wanted or any(wanted in text for text in texts)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text of a decision, without the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
