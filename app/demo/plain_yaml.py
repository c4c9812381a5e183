"""The YAML that ``kuma-aws-iam keys generate`` prints → a mapping; a test holds it to a real parser.

Mappings, lists of mappings, quoted and plain texts, truth values and ``|`` blocks, by indentation; nothing else of YAML. The
service has no use for a parser of all of it, and the demo runs with what the service has.
"""

from typing import Any, Final

_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "{}": {}, "[]": []}

_Lines = list[tuple[int, str]]


def parse_plain_yaml(text: str) -> dict[str, Any]:
    """Parse a document whose root is a mapping.

    Raises:
        ValueError: it is none, or more of YAML than this knows.
    """
    lines = [
        (len(line) - len(line.lstrip(" ")), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    value, rest = _mapping(lines, 0)
    if rest:
        raise ValueError(f"not a part of a mapping: {rest[0][1]!r}")
    return value


def _value(lines: _Lines, indent: int) -> tuple[Any, _Lines]:
    if not lines or lines[0][0] < indent:
        raise ValueError("a value is missing")
    at, first = lines[0]
    return _list(lines, at) if first.startswith("- ") else _mapping(lines, at)


def _mapping(lines: _Lines, indent: int) -> tuple[dict[str, Any], _Lines]:
    members: dict[str, Any] = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        name, colon, scalar = lines[0][1].partition(":")
        if not colon or name in members:
            raise ValueError(f"not a member of a mapping: {lines[0][1]!r}")
        lines = lines[1:]
        scalar = scalar.strip()
        if scalar == "|":
            members[name], lines = _block(lines, indent)
        elif scalar:
            members[name] = _CONSTANTS.get(scalar, scalar.strip('"'))
        else:
            members[name], lines = _value(lines, indent)
    return members, lines


def _list(lines: _Lines, indent: int) -> tuple[list[Any], _Lines]:
    items: list[Any] = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        inner = indent + len("- ")
        item, lines = _mapping([(inner, lines[0][1].removeprefix("- ")), *lines[1:]], inner)
        items.append(item)
    return items, lines


def _block(lines: _Lines, indent: int) -> tuple[str, _Lines]:
    end = next((at for at, (found, _) in enumerate(lines) if found <= indent), len(lines))
    return "".join(f"{text}\n" for _, text in lines[:end]), lines[end:]
