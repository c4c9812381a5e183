"""Validators for the OpenAPI description and for answers.

The packages are imported when a test needs a validator. Otherwise each test process would import them while it collects.
"""

from typing import Any

from tests.support.json_schema import import_formats


def require_valid(description: dict[str, Any]) -> None:
    """Check that a description is OpenAPI 3.1."""
    import_formats()
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415 - see above

    OpenAPIV31SpecValidator(description).validate()


def validator(description: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A validator of one schema of the description, whose references lead into it."""
    import_formats()
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # noqa: PLC0415 - see above

    return Draft202012Validator(
        {**schema, "components": description["components"]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
