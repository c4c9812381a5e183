"""Import jsonschema with all formats, without the parsers that it does not use."""

from typing import Any

import pytest


class _LazyParser:
    """A parser of lark that is built when it first parses."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._made_of = arguments, options

    def parse(self, *arguments: Any, **options: Any) -> Any:
        from lark import Lark  # noqa: PLC0415 - see below

        made_of, with_options = self._made_of
        parser = Lark(*made_of, **with_options)
        self.parse = parser.parse  # type: ignore[method-assign]
        return parser.parse(*arguments, **options)


def import_formats() -> None:
    """Import the format ``iri`` of jsonschema, and call this before anything imports jsonschema.

    rfc3987_syntax builds 39 parsers at its import, in 2.6 s of processor time. jsonschema uses one of them. The packages are
    imported when a test needs them. Otherwise each test process would import them while it collects.
    """
    import lark  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lark, "Lark", _LazyParser)
        import rfc3987_syntax  # type: ignore[import-untyped]  # noqa: F401, PLC0415
