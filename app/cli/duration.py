"""Durations as Go programs write them: ``5s``, ``10m``, ``720h``, ``1h30m``."""

import re
from datetime import timedelta
from typing import Any, Final

import click

_DURATION: Final = re.compile(r"(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,6})s)?", re.ASCII)


class Duration(click.ParamType[timedelta]):
    """A duration between two bounds."""

    name = "DURATION"

    def __init__(self, least: timedelta, most: timedelta) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse a duration."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(value)
        if match is None or not value:
            self.fail("write a duration such as 5s, 10m, 720h or 1h30m", param, ctx)
        hours, minutes, seconds = (int(match[unit] or 0) for unit in "hms")
        duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not self._least <= duration <= self._most:
            self.fail(f"it must be from {_text(self._least)} to {_text(self._most)}", param, ctx)
        return duration


def _text(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
