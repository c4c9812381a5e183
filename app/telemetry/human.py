"""One readable line for each decision, for `KMESH_AWSIAM_LOG_FORMAT=human`.

A line contains texts that clients chose. Each is one word of printable ASCII, or is quoted, and every other character is
escaped (I23). So no client can begin a line, move a terminal's cursor, or write words that look like those of the service.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_WORD: Final = re.compile(r"[A-Za-z0-9._:/@+=,-]+", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[^ -\[\]-~]")
_CLAIMED: Final = ("mesh", "name", "zone", "workload")


def decision_line(fields: Mapping[str, Any]) -> str:
    """Return the line of a decision, without a newline.

    Args:
        fields: the fields of the audit line, with its ``event`` and ``time``.
    """
    return " ".join(_words(fields)) + (f": {escape(fields['detail'])}" if fields["detail"] else "")


def _words(fields: Mapping[str, Any]) -> Iterator[str]:
    yield escape(str(fields["time"]))
    yield fields["event"]
    yield fields["outcome"]
    if fields["reason"] is not None:
        yield fields["reason"]
    yield _who(fields)
    yield "claims " + " ".join(_claimed(fields["claimed"]))
    audience = fields["audience"]
    if audience is not None:
        other = audience["hint"] if audience["presented"] is None else audience["presented"]
        # STS can also reject a credential whose audience, by the hint, is right.
        if other != audience["expected"]:
            yield f"signed for audience {_word(other)} instead of {_word(audience['expected'])}"
    yield from _candidate(fields["candidate"], fields["outcome"])
    yield f"from {_word(fields['client'] or 'a Unix socket')}"
    yield f"request {_word(fields['request_id'])}"
    yield f"in {fields['duration_ms']:.1f} ms"


def _candidate(candidate: Mapping[str, Any] | None, outcome: str) -> Iterator[str]:
    """Yield what the report-only policy would have decided, if that is not the outcome of the decision."""
    if (
        candidate is None
        or candidate["outcome"] == outcome
        or (outcome == "error" and candidate["outcome"] == "unknown")
    ):
        return
    why = candidate["reason"] or candidate["missing"]
    yield f"candidate {candidate['outcome']}{f' {why}' if why else ''}"


def _who(fields: Mapping[str, Any]) -> str:
    principal, key, token = fields["principal"], fields["access_key"], fields["token"]
    if principal is not None:
        return f"role {_word(principal['account'])}/{_word(principal['role'])}"
    if key is not None:
        account = key["unverified_account"]
        return (
            f"key {_word(key['id'])} ({'no account' if account is None else f'account {_word(account)}'}, unverified)"
        )
    return "nobody known" if token is None else f"token {_word(token['jti'])}"


def _claimed(claimed: Mapping[str, Any] | None) -> Iterator[str]:
    if claimed is None:
        yield "nothing"
        return
    yield claimed["type"]
    for name in _CLAIMED:
        if claimed[name] is not None:
            yield f"{name}={_word(claimed[name])}"
    for service in claimed["services"]:
        yield f"service={_word(service)}"
    for listener in claimed["listeners"]:
        yield f"listener={listener}"


def _word(text: str | None) -> str:
    """Return a text as one word, or in quotes if it has characters that the service's own words do not have."""
    if text is None:
        return "(none)"
    return text if _WORD.fullmatch(text) else '"' + escape(text).replace('"', '\\"') + '"'


def escape(text: str) -> str:
    """Return a text of printable ASCII, in which every other character is an escape, and so is a backslash."""
    return _UNPRINTABLE.sub(lambda match: _code(ord(match[0])), text)


def _code(point: int) -> str:
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"  # noqa: PLR2004 - the two escapes of Python
