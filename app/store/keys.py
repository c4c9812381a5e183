"""The keys of the shared store: one or two secrets in a file. Every replica has the same file.

The file is UTF-8, one secret a line, with ``#`` comments. A secret is 32 random bytes in base64 or hex. The first secret
seals records, and both secrets open them, so that operators can replace a secret while replicas run. No error and no
``repr`` contains a secret (I22).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.core.base64_text import Base64TextError, decode_base64
from app.local.trusted_files import find_exposures, read_lines
from app.store.sealing import SECRET_BYTES, SealingKey, derive_key

MAX_STORE_KEYS: Final = 2
# Fewer different values mean that the bytes are not random: 32 random bytes have fewer than 16 different values in one of
# 10^16 cases.
MIN_DIFFERENT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class StoreKeyFile:
    """A file of store keys, and its content."""

    path: Path
    secrets: tuple[bytes, ...] = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)

    def warnings(self) -> Iterator[str]:
        """Return warnings about other users who can read or write the file."""
        return find_exposures(self.path)


class StoreKeySource:
    """The current keys, from a file that is read again when it changes (`app.settings.watch`).

    Attributes:
        keys: one or two keys. The first one seals records.
    """

    def __init__(self, file: StoreKeyFile) -> None:
        self.path = file.path
        self.warnings = file.warnings
        self.keys = _derive(file)

    def load(self) -> None:
        """Read the file again. If it is invalid, the previous keys stay in force.

        Raises:
            ValueError: the message is a sentence with the fault and the remedy.
        """
        self.keys = _derive(read_store_key_file(str(self.path)))


def read_store_key_file(text: str) -> StoreKeyFile:
    """Read the secrets of a file.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of the file.
    """
    path = Path(text)
    file = StoreKeyFile(path, tuple(_secrets_of(read_lines(path))))
    if not 1 <= len(file.secrets) <= MAX_STORE_KEYS:
        raise ValueError(
            "it must hold one key, or two while one is exchanged for the other, each on a line of its own; it holds "
            f"{len(file.secrets)}; make one with: openssl rand -base64 32"
        )
    if len(set(file.secrets)) != len(file.secrets):
        raise ValueError("it holds the same key twice; remove one line, or make another key: openssl rand -base64 32")
    _derive(file)
    return file


def _derive(file: StoreKeyFile) -> tuple[SealingKey, ...]:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - large, and not every service has a store

    try:
        return tuple(derive_key(secret) for secret in file.secrets)
    except UnsupportedAlgorithm as error:
        raise ValueError(
            "the package cryptography has no AES-GCM-SIV here, since its OpenSSL is older than 3.2; install its wheel"
        ) from error


def _secrets_of(lines: list[str]) -> Iterator[bytes]:
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        secret = _decode(text)
        if len(secret) != SECRET_BYTES or len(set(secret)) < MIN_DIFFERENT_BYTES:
            raise ValueError(
                f"line {number}: a key is {SECRET_BYTES} random bytes in base64 or hex; make one with: "
                "openssl rand -base64 32"
            )
        yield secret


def _decode(text: str) -> bytes:
    """Decode a secret from hex (64 characters) or base64 (44 characters). Other lengths are not 32 bytes."""
    try:
        return bytes.fromhex(text) if len(text) == 2 * SECRET_BYTES else decode_base64(text)
    except (Base64TextError, ValueError):
        return b""
