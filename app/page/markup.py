"""HTML without a template: every text is escaped, unless it is the result of `element`.

What the page shows comes from clients, from IAM and from STS. So no other module writes an angle bracket (I23).
"""

import html
import re
from typing import Final

# Every character that may need another spelling: all but line breaks and visible ASCII.
_UNUSUAL: Final = re.compile(r"[^\n -~]")
_VOID: Final = frozenset({"input", "meta"})


class Markup(str):
    """Text that is HTML. Only this module makes it."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Args:
        tag: the name of the element.
        children: texts, which are escaped, and elements.
        attributes: the attributes. An underscore at the end of a name is dropped (``class_``), and other underscores become
            hyphens. True is an attribute without a value; an attribute with the value None or False is left out.
    """
    named = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Return texts, which are escaped, and elements, one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def constant(text: str) -> Markup:
    """Return a constant of this package, the style or the script, without escaping it."""
    return Markup(text)


def escape(text: str) -> str:
    """Return a text with the characters escaped that have a meaning in HTML, and those that cannot be seen.

    Control characters, and characters that change the direction of the text, could make the page show something else than
    the text contains (https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing).
    """
    return html.escape(_UNUSUAL.sub(_spell, text))


def _spell(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else f"\\u{ord(character):04x}"


def _name(attribute: str) -> str:
    return attribute.rstrip("_").replace("_", "-")
