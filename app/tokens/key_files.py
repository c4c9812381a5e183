"""Signing keys in PEM files. For each kind of token, one file lists the keys, one a line.

A line for data plane tokens is ``KID MESH PATH``. MESH is a mesh, or ``*`` for every mesh without a line of its own. A line
for zone tokens is ``KID PATH``. The key in the first line of a mesh signs, and the keys in all lines of the mesh verify. So
keys can be replaced while proxies run. No error contains a key (I22).
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.core.token_kind import TokenKind
from app.local.causes import explain_file
from app.local.pem import require_one_private_key
from app.local.trusted_files import find_exposures, read_lines, read_trusted
from app.tokens.codec import is_key_id
from app.tokens.keys import HOW_TO, SigningKey, SigningKeys, require_apart

# `cryptography` is imported in the functions that use it: it takes 7 MB, and a service without tokens does not need it.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

MIN_KEY_BITS: Final = 2048
MAX_KEY_BITS: Final = 8192
# Whenever one of the files changes, every key is parsed and checked again. A mesh has one key, or two during a replacement.
MAX_SIGNING_KEYS: Final = 1000
# The kind of a key, its id, and when its PEM file was changed, in seconds since 1970.
KeyDate = tuple[TokenKind, str, float]
_MESH: Final = re.compile(r"[0-9a-z._-]{1,253}|\*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SigningKeyFile:
    """A file of keys, and its content; ``paths`` are this file and the file of each key, in order."""

    path: Path
    keys: tuple[SigningKey, ...] = field(repr=False)
    paths: tuple[Path, ...] = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)

    def dates(self) -> Iterator[KeyDate]:
        """Return when the PEM file of each key was changed; a file that is gone by now is left out."""
        for key, path in zip(self.keys, self.paths[1:], strict=True):
            with contextlib.suppress(OSError):
                yield key.kind, key.kid, path.stat().st_mtime

    def warnings(self) -> Iterator[str]:
        """Return warnings about files that other users can read or write. The file that lists the keys is not a secret."""
        for path in dict.fromkeys(self.paths):
            yield from find_exposures(path, is_secret=path != self.path)


class SigningKeySource:
    """The keys of both files. They are read again when they change (`app.settings.watch`)."""

    def __init__(self, dataplane: SigningKeyFile | None, zone: SigningKeyFile | None) -> None:
        self._readers: list[tuple[Path, Callable[[str], SigningKeyFile]]] = []
        if dataplane is not None:
            self._readers.append((dataplane.path, read_dataplane_key_file))
        if zone is not None:
            self._readers.append((zone.path, read_zone_key_file))
        self._take([file for file in (dataplane, zone) if file is not None])

    @property
    def keys(self) -> SigningKeys:
        """The current keys."""
        return self._keys

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that list the keys, and all files that they name at present."""
        return self._paths

    @property
    def dates(self) -> tuple[KeyDate, ...]:
        """When the PEM file of each current key was changed; a reading of the files makes a new tuple."""
        return self._dates

    def warnings(self) -> Iterator[str]:
        """Return warnings about files that other users can read or write."""
        for file in self._files:
            yield from file.warnings()

    def load(self) -> None:
        """Read all files again. If one is invalid, the previous keys stay in force.

        Raises:
            ValueError: the message is a sentence with the fault and the remedy.
        """
        self._take([read(str(path)) for path, read in self._readers])

    def _take(self, files: list[SigningKeyFile]) -> None:
        self._keys = SigningKeys(key for file in files for key in file.keys)
        self._files = files
        self._paths = tuple(path for file in files for path in file.paths)
        self._dates = tuple(date for file in files for date in file.dates())


def read_dataplane_key_file(text: str) -> SigningKeyFile:
    """Read a file of ``KID MESH PATH`` lines, and the keys that it names.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of a key.
    """
    return _read(Path(text), TokenKind.DATAPLANE)


def read_zone_key_file(text: str) -> SigningKeyFile:
    """Read a file of ``KID PATH`` lines, and the keys that it names.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any text of a key.
    """
    return _read(Path(text), TokenKind.ZONE)


def is_mesh(text: str) -> bool:
    """Whether a text can be the mesh of a line: the name of a mesh, or ``*``."""
    return _MESH.fullmatch(text) is not None


def public_half(private: "RSAPrivateKey") -> "RSAPublicKey":
    """Return the public key, after a check of its size.

    Raises:
        ValueError: the key is too small or too large.
    """
    if not MIN_KEY_BITS <= private.key_size <= MAX_KEY_BITS:
        raise ValueError(f"an RSA key of {private.key_size} bits; it needs {MIN_KEY_BITS} to {MAX_KEY_BITS}; {HOW_TO}")
    return private.public_key()


def _read(path: Path, kind: TokenKind) -> SigningKeyFile:
    keys: list[SigningKey] = []
    paths = [path]
    for number, words in _lines_of(path):
        try:
            key, file = _key_of(words, kind, path.parent)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        keys.append(key)
        paths.append(file)
        if len(keys) > MAX_SIGNING_KEYS:
            raise ValueError(f"it holds more than {MAX_SIGNING_KEYS} keys; remove those that sign nothing any more")
    if not keys:
        raise ValueError(f"it holds no key; write a line, or unset the variable; {HOW_TO}")
    require_apart(keys)
    return SigningKeyFile(path, tuple(keys), tuple(paths))


def _lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_lines(path), start=1):
        words = line.partition("#")[0].split()
        if words:
            yield number, words


def _key_of(words: list[str], kind: TokenKind, folder: Path) -> tuple[SigningKey, Path]:
    grammar = "KID MESH PATH" if kind is TokenKind.DATAPLANE else "KID PATH"
    if len(words) != len(grammar.split()):
        raise ValueError(f"it must be {grammar}, with blanks between and none in the path")
    kid, mesh, path = words[0], words[1] if kind is TokenKind.DATAPLANE else None, folder / words[-1]
    if not is_key_id(kid):
        raise ValueError(
            "a key's id is 1 to 64 letters, digits and ._-, and not a number alone: the control plane numbers its own keys"
        )
    if mesh is not None and not is_mesh(mesh):
        raise ValueError(
            "a mesh is 1 to 253 characters of 0-9 a-z . _ -, or * for every mesh without a line of its own"
        )
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - see above

    private = _load_pem(path)
    public = public_half(private)
    fingerprint = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return SigningKey(kid=kid, kind=kind, mesh=mesh, private=private, public=public, fingerprint=fingerprint), path


def _load_pem(path: Path) -> "RSAPrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - likewise

    try:
        pem = read_trusted(path)
    except OSError as error:
        raise ValueError(f"the key file cannot be read ({explain_file(error)}); check path and mode") from error
    require_one_private_key(pem)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # the text of the error could contain a part of the file
        raise ValueError(f"the key file holds no unencrypted private key in PEM (PKCS#8 or PKCS#1); {HOW_TO}") from None
    if not isinstance(key, RSAPrivateKey):
        # pkg/core/tokens/validator.go accepts only RS256 for a configured key.
        raise ValueError(  # noqa: TRY004 - a file's fault
            f"the key is not RSA, and the control plane takes no other; {HOW_TO}"
        )
    return key
