"""The audience hint: what a caller says about the audience that a credential was signed for. It names a denial's cause.

A presigned URL does not contain its audience. If it was signed for another audience, STS only says that the signature is
wrong. So the agent and the command ``authenticate`` send the audience in a header. The hint is untrusted: it can change the
reason of a rejection by STS from ``sts_rejected`` to ``audience_mismatch``, and has no other effect.
"""

import re
from collections.abc import Iterable
from typing import Final

AUDIENCE_HINT_HEADER: Final = "X-Kuma-Aws-Iam-Audience-Hint"
# An audience has 1 to 255 printable ASCII characters (KMESH_AWSIAM_AUDIENCE).
MAX_HINT_CHARS: Final = 255
_HINT: Final = re.compile(rb"[ -~]{1,255}")
_NAME: Final = AUDIENCE_HINT_HEADER.lower().encode("ascii")


def read_audience_hint(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the hint. Return None if no header or more than one has this name, or if its value cannot be an audience.

    Args:
        headers: the headers of a call, with lower-case names.
    """
    values = [value for name, value in headers if name == _NAME]
    return values[0].decode("ascii") if len(values) == 1 and _HINT.fullmatch(values[0]) else None
