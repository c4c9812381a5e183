"""Calls by their exact bytes: a proxy sends the same body at each stream that it opens, and it is read once.

What a body says depends on its bytes alone. Only bodies whose credential is known are kept, so whoever floods the service
with others takes no place here, and nothing is held of the credential but the key that it is known by.
"""

import hashlib
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

from app.api.schemas import parse_call
from app.core.known_credential import KnownCredential
from app.core.proxy import ProxyRequest
from app.decision.authenticator import KnownTexts

# About 900 bytes each: 18 MB when full.
MAX_CALLS: Final = 20_000
# Of all texts of a claim; a usual one has 200. The largest takes 31 KB, and the owner of one approved credential could fill
# 620 MB with such claims; of those that are kept, 8 KB each.
MAX_KEPT_CHARACTERS: Final = 1024
_KEY_BYTES: Final = 32

Credential = str | KnownCredential


class _Call(NamedTuple):
    credential_key: bytes
    claimed: ProxyRequest | None


class KnownCalls:
    """Reads bodies, and remembers what those say that come again."""

    def __init__(self, credentials: KnownTexts) -> None:
        self._credentials = credentials
        self._calls: OrderedDict[bytes, _Call] = OrderedDict()
        self._key = secrets.token_bytes(_KEY_BYTES)

    def __len__(self) -> int:
        return len(self._calls)

    def recall(self, credential: str) -> Credential:
        """Return what is known of a credential, or itself."""
        return self._credentials.recall(self._credentials.key_of(credential)) or credential

    def read(self, body: bytes) -> tuple[Credential, ProxyRequest | None]:
        """Return the credential, or what is known of it, and what the proxy says it is.

        Raises:
            RequestError: ``malformed_request``.
        """
        key = hashlib.blake2b(body, key=self._key, digest_size=_KEY_BYTES).digest()
        call = self._calls.get(key)
        if call is not None:
            known = self._credentials.recall(call.credential_key)
            if known is not None:
                self._calls.move_to_end(key)
                return known, call.claimed
            del self._calls[key]
        credential, claimed = parse_call(body)
        credential_key = self._credentials.key_of(credential)
        known = self._credentials.recall(credential_key)
        if known is None:
            return credential, claimed
        if claimed is not None and _count_characters(claimed) > MAX_KEPT_CHARACTERS:
            return known, claimed
        if len(self._calls) >= MAX_CALLS:
            self._calls.popitem(last=False)
        self._calls[key] = _Call(credential_key, claimed)
        return known, claimed


def _count_characters(claimed: ProxyRequest) -> int:
    texts = (claimed.mesh or "", claimed.name or "", claimed.zone or "", *claimed.labels.values())
    return sum(map(len, texts)) + sum(len(value) for values in claimed.tags.values() for value in values)
