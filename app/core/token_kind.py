"""The kinds of Kuma's tokens."""

from enum import StrEnum


class TokenKind(StrEnum):
    """What the key of a token is for. The set is closed, so metrics use it as a label."""

    DATAPLANE = "dataplane"
    ZONE = "zone"
