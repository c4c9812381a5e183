"""A cache of calls by their exact bytes: a proxy sends the same body for each stream that it opens.

The content of a body depends only on its bytes. Only bodies about whose credential STS's answer is cached are kept, so a
flood of other bodies takes no space here. The cache stores the cache key of a credential, but not the credential itself.

Bodies whose credential no decision has approved are kept apart, because everybody can send such bodies. A refused proxy
sends its body again each second.
"""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import replace
from typing import Any, Final, NamedTuple

from app.api.schemas import parse_call
from app.core.known_credential import KnownCredential, NewCredential, PresentedCredential
from app.core.proxy import ProxyAssertion
from app.decision.authenticator import KnownTexts

# If the proxies of a Kuma service assert equal tags and labels, a call takes about 700 bytes, so a full cache takes 14 MB.
MAX_CALLS: Final = 20_000
# Bodies whose credential no decision has approved. They share nothing, so one takes about 1.2 KB.
MAX_UNAPPROVED_CALLS: Final = 4_096
# The number of different maps of tags and labels. Cached calls share them.
MAX_SHARED: Final = 4_096
# The sum of the lengths of all texts of one assertion; usually about 200. An assertion of the largest possible size takes
# 31 KB, so the owner of one approved credential could fill 620 MB. With this limit a cached assertion takes at most 8 KB.
MAX_KEPT_CHARACTERS: Final = 1024
_KEY_BYTES: Final = 32


class _Call(NamedTuple):
    credential_key: bytes
    asserted: ProxyAssertion | None


class KnownCalls:
    """Reads bodies, and caches the content of those that are sent again."""

    def __init__(
        self,
        credentials: KnownTexts,
        *,
        max_calls: int = MAX_CALLS,
        max_unapproved: int = MAX_UNAPPROVED_CALLS,
        max_shared: int = MAX_SHARED,
    ) -> None:
        self._credentials = credentials
        self._max_calls = max_calls
        self._max_unapproved = max_unapproved
        self._calls: OrderedDict[bytes, _Call] = OrderedDict()
        self._unapproved: OrderedDict[bytes, _Call] = OrderedDict()
        self._max_shared = max_shared
        self._shared: dict[tuple[Any, ...], Any] = {}
        self._key = secrets.token_bytes(_KEY_BYTES)

    def __len__(self) -> int:
        return len(self._calls) + len(self._unapproved)

    def recall(self, text: str) -> PresentedCredential:
        """Return the cached credential, or a new one for the text."""
        key = self._credentials.key_of(text)
        return self._credentials.recall(key) or NewCredential(text, key)

    def read(self, body: bytes) -> tuple[PresentedCredential, ProxyAssertion | None]:
        """Return the cached credential, or a new one, together with what the proxy asserts.

        Raises:
            RequestError: ``malformed_request``.
        """
        key = hashlib.blake2b(body, key=self._key, digest_size=_KEY_BYTES).digest()
        for calls in (self._calls, self._unapproved):
            call = calls.get(key)
            if call is not None:
                remembered = self._credentials.recall(call.credential_key)
                if remembered is not None:
                    calls.move_to_end(key)
                    return remembered, call.asserted
                del calls[key]
        text, asserted = parse_call(body)
        credential = self.recall(text)
        if isinstance(credential, NewCredential):
            return credential, asserted
        if asserted is not None and _count_characters(asserted) > MAX_KEPT_CHARACTERS:
            return credential, asserted
        is_approved = isinstance(credential, KnownCredential) and credential.is_approved
        calls, most = (self._calls, self._max_calls) if is_approved else (self._unapproved, self._max_unapproved)
        if len(calls) >= most:
            calls.popitem(last=False)
        shared = self._share_maps(asserted) if is_approved and asserted is not None else asserted
        calls[key] = _Call(credential.key, shared)
        return credential, asserted

    def _share_maps(self, asserted: ProxyAssertion) -> ProxyAssertion:
        """Replace tags and labels by equal ones of another call, because the proxies of a Kuma service assert equal ones."""
        if len(self._shared) >= self._max_shared:
            self._shared.clear()
        tags, labels = asserted.tags, asserted.labels
        return replace(
            asserted,
            tags=self._shared.setdefault(tuple(tags.items()), tags),
            labels=self._shared.setdefault(tuple(labels.items()), labels),
        )


def _count_characters(asserted: ProxyAssertion) -> int:
    texts = (asserted.mesh or "", asserted.name or "", asserted.zone or "", *asserted.labels.values())
    return sum(map(len, texts)) + sum(len(value) for values in asserted.tags.values() for value in values)
