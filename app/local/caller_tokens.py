"""The tokens of callers that may call the API: bearer tokens from a file, compared in constant time.

The file is UTF-8, one token a line, with ``#`` comments. It contains one token, or two during a replacement. Only digests
stay in memory; no error and no ``repr`` contains a token (I22).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from app.local.trusted_files import find_exposures, read_lines

MIN_TOKEN_LENGTH: Final = 32
MAX_TOKEN_LENGTH: Final = 512
MAX_TOKENS: Final = 2

# Visible ASCII without "#": a program that reads "#" as the start of a comment would shorten the token.
_TOKEN: Final = re.compile(r"[!\"$-~]+", re.ASCII)
# RFC 9110, section 11.4: the scheme is case-insensitive, one or more blanks follow.
_BEARER: Final = re.compile(rb"bearer +([!-~]{1,512})", re.ASCII | re.IGNORECASE)

_BARE: Final = re.compile(rb"([!-~]{1,512})", re.ASCII)
# The header with the caller's token, for calls whose ``authorization`` header contains a proxy's credential. Envoy adds this
# header to its call to the service, and never to the request that it passes on.
OWN_HEADER: Final = b"x-kuma-aws-iam-caller-token"

Fault = Literal["no token", "not one bearer token", "unknown token"]


@dataclass(frozen=True, slots=True)
class CallerTokens:
    """The accepted tokens.

    Attributes:
        digests: the SHA-256 digest of each token, so that all compared texts have equal lengths.
    """

    digests: tuple[bytes, ...] = field(repr=False)

    def accept(self, presented: bytes) -> bool:
        """Whether a token is accepted. The time depends neither on the token nor on which accepted token it equals."""
        digest = hashlib.sha256(presented).digest()
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        return any(matches)


@dataclass(frozen=True, slots=True)
class CallerTokenFile:
    """A file of caller tokens, and its content."""

    path: Path
    tokens: CallerTokens

    def __str__(self) -> str:
        return str(self.path)

    def warnings(self) -> Iterator[str]:
        """Return warnings about other users who can read or write the file."""
        return find_exposures(self.path)


class CallerTokenSource:
    """The accepted tokens, from a file that is read again when it changes (`app.settings.watch`)."""

    def __init__(self, file: CallerTokenFile) -> None:
        self.path = file.path
        self.warnings = file.warnings
        self._tokens = file.tokens

    def load(self) -> None:
        """Read the file again. If it is invalid, the previous tokens stay accepted.

        Raises:
            ValueError: the message is a sentence with the fault and the remedy.
        """
        self._tokens = read_caller_token_file(str(self.path)).tokens

    def find_fault(self, headers: Iterable[tuple[bytes, bytes]], *, in_own_header: bool = False) -> Fault | None:
        """Return the fault of a request without exactly one accepted token; None if the request has such a token.

        Args:
            headers: the headers of the request, with lower-case names.
            in_own_header: read the token only from `OWN_HEADER`, without a scheme, because the ``authorization`` header of
                such a request contains a proxy's credential.
        """
        header = OWN_HEADER if in_own_header else b"authorization"
        values = [value for name, value in headers if name == header]
        if not values:
            return "no token"
        token = (_BARE if in_own_header else _BEARER).fullmatch(values[0]) if len(values) == 1 else None
        if token is None:
            return "not one bearer token"
        return None if self._tokens.accept(token[1]) else "unknown token"


def read_caller_token_file(text: str) -> CallerTokenFile:
    """Read the tokens that the service accepts; only their digests are kept.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of the file.
    """
    path = Path(text)
    digests = (hashlib.sha256(token.encode("ascii")).digest() for token in _tokens_of(read_lines(path)))
    return CallerTokenFile(path, CallerTokens(tuple(digests)))


def read_tokens(path: Path) -> tuple[str, ...]:
    """Read the tokens themselves, for a client that sends one. The file may be a pipe, and any user may own it.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of the file.
    """
    return _tokens_of(read_lines(path, Path.read_bytes))


def _tokens_of(lines: list[str]) -> tuple[str, ...]:
    tokens = tuple(token for number, line in enumerate(lines, start=1) if (token := _token_of(line, number)))
    if not 1 <= len(tokens) <= MAX_TOKENS:
        raise ValueError(
            f"it must hold one token, or two while one is exchanged for the other, each on a line of its own; it holds "
            f"{len(tokens)}"
        )
    return tokens


def _token_of(line: str, number: int) -> str:
    words = line.split(maxsplit=1)
    if not words or words[0].startswith("#"):
        return ""
    token, *rest = words
    if (
        (rest and not rest[0].startswith("#"))
        or not _TOKEN.fullmatch(token)
        or not MIN_TOKEN_LENGTH <= len(token) <= MAX_TOKEN_LENGTH
    ):
        raise ValueError(
            f"line {number}: a token is {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} characters of visible ASCII without blanks "
            "and #; make one with: openssl rand -base64 32"
        )
    return token
