"""Read AWS's XML strictly (invariants I10, I14): only elements and text, and each field exactly once."""

import re
from typing import Final
from xml.etree import ElementTree as ET

# The declaration of XML 1.0 (https://www.w3.org/TR/xml/#NT-XMLDecl), the version that AWS writes. The service removes the
# declaration before it calls the parser, so this pattern checks the declaration against the grammar of the standard.
_XML_DECLARATION: Final = re.compile(
    rb"""<\?xml[ \t\r\n]{1,9}version=(?:"1\.0"|'1\.0')(?:[ \t\r\n]{1,9}encoding=(?i:"UTF-8"|'UTF-8'))?"""
    rb"""(?:[ \t\r\n]{1,9}standalone=(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]{0,9}\?>[ \t\r\n]*"""
)


class DocumentError(ValueError):
    """The text is not the expected document. The error message quotes no part of the text."""


def parse_xml(body: bytes) -> ET.Element:
    """Parse one XML document that contains only elements and text, and return its root.

    AWS sends no DTD, comment, CDATA or processing instruction. A text with the start of one of these is rejected before the
    parser reads it, so the parser (expat) has no entities to expand (CVE-2013-0340 and similar).

    Raises:
        DocumentError: the text contains a DTD, comment, CDATA or processing instruction, has trailing content, or is not XML
            in UTF-8.
    """
    content = body[match.end() :] if (match := _XML_DECLARATION.match(body)) else body
    if b"<!" in content or b"<?" in content or b"\0" in content:
        raise DocumentError("the XML holds a DTD, a comment, CDATA or a processing instruction")
    try:
        text = content.decode()
        return ET.fromstring(text)  # noqa: S314 - see above: nothing is left to expand
    except (ValueError, ET.ParseError) as error:
        raise DocumentError("not XML in UTF-8") from error


def read_result(body: bytes, namespace: str, action: str) -> ET.Element:
    """Return the result element of a successful answer to an action.

    Args:
        body: the answer.
        namespace: the namespace of the service, in braces.
        action: the name of the action.

    Raises:
        DocumentError: the text is no XML document (see `parse_xml`), or answers another action.
    """
    root = parse_xml(body)
    if root.tag != f"{namespace}{action}Response":
        raise DocumentError("the answer is of another action")
    return only_child(root, f"{namespace}{action}Result")


def only_child(parent: ET.Element, tag: str) -> ET.Element:
    """Return the only child with this name.

    Args:
        parent: the element that contains the child.
        tag: a constant, with at most one pair of braces and no asterisk. ElementTree reads other names as paths.

    Raises:
        DocumentError: there is no such child, or more than one.
    """
    children = parent.findall(tag)
    if len(children) != 1:
        raise DocumentError("a field is missing or appears twice")
    return children[0]


def only_children(parent: ET.Element, *tags: str) -> list[ET.Element]:
    """Return the only child with each of these names, in the order of the names.

    Raises:
        DocumentError: for one of the names there is no child, or more than one child.
    """
    return [only_child(parent, tag) for tag in tags]


def optional_child(parent: ET.Element, tag: str) -> ET.Element | None:
    """Return the only child with this name, or None.

    Raises:
        DocumentError: there is more than one.
    """
    children = parent.findall(tag)
    if len(children) > 1:
        raise DocumentError("a field is missing or appears twice")
    return children[0] if children else None


def text_of(element: ET.Element) -> str:
    """Return the text of a field.

    Raises:
        DocumentError: the field has no text, or contains elements.
    """
    if not element.text:
        raise DocumentError("a field is empty or not text")
    return text_or_empty(element)


def text_or_empty(element: ET.Element) -> str:
    """Return the text of a field that may be empty, such as the value of a tag.

    Raises:
        DocumentError: the field contains elements.
    """
    if len(element):
        raise DocumentError("a field is empty or not text")
    return element.text or ""
