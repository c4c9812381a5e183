"""Signing keys in files, as an operator has them. Making a key is slow, so each test process makes a few, once."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

DATAPLANE_KID: Final = "dp-1"
ZONE_KID: Final = "zone-1"


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key; each number gives another key."""
    assert number >= 0
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()


@dataclass(frozen=True)
class KeyFiles:
    """A folder with both files of keys, and the PEM files that they name."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "KeyFiles":
        """Write one key of each kind: number 0 for the data planes of every mesh, number 1 for zone proxies."""
        files = cls(folder)
        files.write_key("dp-1.pem", rsa_key(0))
        files.write_key("zone-1.pem", rsa_key(1))
        files.dataplane.write_text(f"{DATAPLANE_KID} * dp-1.pem\n")
        files.zone.write_text(f"{ZONE_KID} zone-1.pem\n")
        return files

    @property
    def dataplane(self) -> Path:
        return self.folder / "dataplane.keys"

    @property
    def zone(self) -> Path:
        return self.folder / "zone.keys"

    def write_key(self, name: str, key: rsa.RSAPrivateKey) -> None:
        """Write a key as ``keys generate`` does: readable only by its owner."""
        path = self.folder / name
        path.write_bytes(private_pem(key))
        path.chmod(0o600)

    def settings(self) -> dict[str, str]:
        return {
            "KMESH_AWSIAM_DATAPLANE_KEYS_FILE": str(self.dataplane),
            "KMESH_AWSIAM_ZONE_KEYS_FILE": str(self.zone),
        }
