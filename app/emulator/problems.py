"""Describe what pydantic found wrong, a line for each problem, with the table and the key."""

from pydantic import ValidationError


def describe_problems(error: ValidationError) -> list[str]:
    """Return one line for each problem of an input."""
    return [f"{_place(problem['loc'])}{problem['msg']}" for problem in error.errors(include_url=False)]


def _place(keys: tuple[int | str, ...]) -> str:
    # pydantic writes [key] behind a key that is itself at fault, and TOML needs quotes around an account id.
    words = [f'"{key}"' if str(key).isdigit() else str(key) for key in keys if key != "[key]"]
    return f"{'.'.join(words)}: " if words else ""
