"""AWS's rules for the tags of a role, for world files that people write."""

import re
from collections.abc import Mapping
from typing import Any, Final

MAX_TAGS: Final = 50
MAX_KEY_LENGTH: Final = 128
MAX_VALUE_LENGTH: Final = 256

# AWS allows "letters, numbers, spaces representable in UTF-8, and _ . : / = + - @". \w includes the underscore.
_ALLOWED: Final = re.compile(r"[\w .:/=+\-@]*")


def problems(tags: Mapping[str, Any]) -> list[str]:
    """Return what AWS would reject in a table of tags; an empty list if it is valid."""
    found = [] if len(tags) <= MAX_TAGS else [f"a role has at most {MAX_TAGS} tags, not {len(tags)}"]
    seen: set[str] = set()
    for key, value in tags.items():
        if key.lower() in seen:
            found.append(f"{key!r}: another tag has this key, and AWS ignores case there")
        seen.add(key.lower())
        found += [f"{key!r}: {problem}" for problem in (*_problems_of_key(key), *_problems_of_value(value))]
    return found


def _problems_of_key(key: str) -> list[str]:
    if key.lower().startswith("aws:"):
        return ["keys that begin with aws: are AWS's own"]
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not _ALLOWED.fullmatch(key):
        return [f"a key has 1 to {MAX_KEY_LENGTH} letters, digits, spaces or _.:/=+-@"]
    return []


def _problems_of_value(value: Any) -> list[str]:
    if not isinstance(value, str):
        return ["a value must be a text in quotes"]
    if len(value) > MAX_VALUE_LENGTH or not _ALLOWED.fullmatch(value):
        return [f"a value has at most {MAX_VALUE_LENGTH} letters, digits, spaces or _.:/=+-@"]
    return []
