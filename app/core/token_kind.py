"""The kinds of Kuma's tokens."""

from enum import StrEnum


class TokenKind(StrEnum):
    """What a token's key is for. A closed set: it labels metrics."""

    DATAPLANE = "dataplane"
    ZONE = "zone"
