"""HTML in which every text is escaped."""

import pytest

from app.page.markup import Markup, constant, element, escape, join


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<script>", "&lt;script&gt;"),
        ("\" onerror='x'", "&quot; onerror=&#x27;x&#x27;"),
        ("&amp;", "&amp;amp;"),
        ("zoë ✓", "zoë ✓"),
        ("two\nlines", "two\nlines"),
        ("a\u202eb", "a\\u202eb"),  # turns the direction of the text around
        ("a\x00\x1bb\r", "a\\u0000\\u001bb\\u000d"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_text_is_escaped(text: str, written: str) -> None:
    assert escape(text) == written
    assert join(text) == written
    assert element("td", text) == f"<td>{written}</td>"
    assert element("td", title=text) == f'<td title="{written}"></td>'


def test_an_element_is_not_escaped_again() -> None:
    assert element("td", element("code", "a<b"), " & ") == "<td><code>a&lt;b</code> &amp; </td>"
    assert element("style", constant("a > b {}")) == "<style>a > b {}</style>"


def test_what_is_made_out_of_markup_by_other_means_is_text_again() -> None:
    """So a concatenation of markup and text does not count as markup."""
    assert not isinstance(Markup("<b>") + "<i>", Markup)
    assert not isinstance(f"{Markup('<b>')}<i>", Markup)
    assert element("p", Markup("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"


def test_attributes_can_be_left_out_or_have_no_value() -> None:
    assert element("input", class_="a", aria_label="b", hidden=True, title=None, checked=False) == (
        '<input class="a" aria-label="b" hidden>'
    )
