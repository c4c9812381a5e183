"""Signing keys for one stage, in the files that the service reads, and their public halves as a control plane has them."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from demos.envoy.kuma import PublicKeys

ANY_MESH = "*"


@dataclass(slots=True)
class SigningKeys:
    """The two key files of a service, in a folder."""

    folder: Path
    public: PublicKeys = field(default_factory=PublicKeys)
    _dataplane: list[str] = field(default_factory=list)

    def settings(self) -> dict[str, str]:
        """Return what tells the service of them."""
        return {
            "KMESH_AWSIAM_DATAPLANE_KEYS_FILE": str(self.folder / "dataplane-keys"),
            "KMESH_AWSIAM_ZONE_KEYS_FILE": str(self.folder / "zone-keys"),
        }

    def make(self) -> None:
        """Make a key for each kind of token."""
        self.add_dataplane_key("dataplane-1")
        self.public.zone["zone-1"] = self._write_key("zone-1")
        (self.folder / "zone-keys").write_text("zone-1 zone-1.pem\n", "utf-8")

    def add_dataplane_key(self, kid: str) -> None:
        """Add one below those that are there: the first line goes on to sign. The control plane has its public half."""
        self.public.dataplane[kid] = self._write_key(kid)
        self._dataplane.append(kid)
        self._write()

    def sign_with(self, kid: str) -> None:
        """Move a line to the top."""
        self._dataplane.sort(key=lambda each: each != kid)
        self._write()

    def remove(self, kid: str) -> None:
        """Take a line out, and the public half from the control plane."""
        self._dataplane.remove(kid)
        del self.public.dataplane[kid]
        self._write()

    def _write(self) -> None:
        lines = "".join(f"{kid} {ANY_MESH} {kid}.pem\n" for kid in self._dataplane)
        fresh = self.folder / "dataplane-keys.new"
        fresh.write_text(lines, "utf-8")
        fresh.rename(self.folder / "dataplane-keys")

    def _write_key(self, kid: str) -> rsa.RSAPublicKey:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / f"{kid}.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        return key.public_key()
