"""The keys that sign tokens for the control plane, each for one kind of token. No ``repr`` contains a key (I22)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

HOW_TO: Final = "make one with: kuma-aws-iam keys generate"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key, and the tokens that it may sign.

    Attributes:
        kid: the id of the key, in the header of its tokens and in the control plane's configuration.
        kind: the only kind of token that the key signs.
        mesh: the mesh whose data plane tokens it signs, or ``*``; None for zone proxies.
        private: the private key, which signs.
        public: the public key, which verifies.
        fingerprint: a digest of the public key. Equal keys have equal fingerprints, even if their files and ids differ.
    """

    kid: str
    kind: TokenKind
    mesh: str | None
    private: "RSAPrivateKey" = field(repr=False, compare=False)
    public: "RSAPublicKey" = field(repr=False, compare=False)
    fingerprint: bytes = field(repr=False)

    def signs_for(self, mesh: str | None) -> bool:
        """Whether the key may sign for this mesh."""
        return self.mesh in (mesh, ANY_MESH)


class SigningKeys:
    """The keys for both kinds of token. No key and no id occurs in both kinds."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        """Take the keys of both kinds, in the order of their files.

        Raises:
            ValueError: an id appears twice, or one key is listed for both kinds.
        """
        self._keys = tuple(keys)
        self._by_kid = {key.kid: key for key in self._keys}
        # If a mesh has several keys, the first one in the key file signs. In this dict a later entry replaces an earlier
        # one, so the loop runs in reverse order.
        self._signers = {(key.kind, key.mesh): key for key in reversed(self._keys)}
        require_apart(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find_signer(self, kind: TokenKind, mesh: str | None) -> SigningKey | None:
        """Return the key that signs for a mesh, or for zone proxies (``mesh`` is None).

        This is the first key of the mesh, else the first key of ``*``. None if there is neither.
        """
        return self._signers.get((kind, mesh)) or self._signers.get((kind, ANY_MESH))

    def find(self, kid: str) -> SigningKey | None:
        """Return the key with this id, or None."""
        return self._by_kid.get(kid)


def require_apart(keys: Iterable[SigningKey]) -> None:
    """Check that no key signs both data plane tokens and zone tokens.

    If a key for data plane tokens also verified a zone token, Kuma would accept the holder of the zone token as a data
    plane of any mesh.

    Raises:
        ValueError: a key id appears twice, or one key is listed for both kinds of token.
    """
    kids: set[str] = set()
    kinds: dict[bytes, TokenKind] = {}
    for key in keys:
        if key.kid in kids:
            raise ValueError(f"the key id {key.kid} appears twice; give each key an id of its own")
        kids.add(key.kid)
        if kinds.setdefault(key.fingerprint, key.kind) is not key.kind:
            raise ValueError(
                f"the key of {key.kid} is for data planes and for zone proxies, so Kuma would accept a token of one kind as "
                f"one of the other kind; {HOW_TO}"
            )
