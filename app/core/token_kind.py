"""The kinds of Kuma's tokens."""

from enum import StrEnum


class TokenKind(StrEnum):
    """Whether a token is for a data plane proxy or for a zone proxy. The set is closed, so metrics use it as a label."""

    DATAPLANE = "dataplane"
    ZONE = "zone"
