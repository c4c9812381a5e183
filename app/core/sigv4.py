"""Parse the parts of AWS Signature Version 4. Nothing here verifies a signature: only STS can.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from app.core.errors import malformed

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
STS_SERVICE: Final = "sts"

# The access key id and the four parts of the scope.
_SCOPE: Final = re.compile(r"([A-Z0-9]{16,128})" + 4 * r"/([A-Za-z0-9_-]{1,64})", re.ASCII)
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
# The pattern rejects the hour 24: newer Python versions would read it as midnight of the next day.
_AMZ_DATE: Final = re.compile(r"[0-9]{8}T(?:[01][0-9]|2[0-3])[0-9]{4}Z", re.ASCII)
_SECURITY_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{1,8192}", re.ASCII)
_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9-]{1,64}(?:;[A-Za-z0-9-]{1,64})*", re.ASCII)
# Every signer writes Credential, SignedHeaders and Signature in this order.
_AUTHORIZATION: Final = re.compile(
    r"(?P<algorithm>[A-Z0-9-]{1,64}) Credential=(?P<credential>[^,\s]{1,512}), ?"
    r"SignedHeaders=(?P<signed_headers>[^,\s]{1,2048}), ?Signature=(?P<signature>[^,\s]{1,512})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The five texts ``AKID/date/region/service/terminator`` of the signer. They are unverified until STS answers.

    The signing key depends on these texts. The client chooses ``access_key_id`` and ``region``. The service never builds a
    host from them. ``access_key_id`` has no effect on a decision, and a rule compares ``region`` with that of the host.
    """

    access_key_id: str = field(repr=False)
    date: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        return f"{self.access_key_id}/{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The parts of a SigV4 signature, unverified.

    Attributes:
        algorithm: unverified; a rule requires ``AWS4-HMAC-SHA256``.
        scope: the five texts on which the signing key depends.
        signed_headers: the names of the signed headers in the order of the text; a rule requires canonical order.
        value: 64 lower-case hexadecimal digits.
    """

    algorithm: str
    scope: Scope
    signed_headers: tuple[str, ...]
    value: str = field(repr=False)

    def authorization(self) -> str:
        """Return the ``Authorization`` value in the only spelling that this service sends."""
        return (
            f"{self.algorithm} Credential={self.scope}, SignedHeaders={';'.join(self.signed_headers)}, "
            f"Signature={self.value}"
        )


def parse_authorization(value: str) -> Signature:
    """Parse a SigV4 ``Authorization`` value.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    match = _AUTHORIZATION.fullmatch(value)
    if match is None:
        raise malformed("the Authorization value is not SigV4")
    return parse_signature(
        algorithm=match["algorithm"],
        credential=match["credential"],
        signed_headers=match["signed_headers"],
        signature=match["signature"],
    )


def parse_signature(*, algorithm: str, credential: str, signed_headers: str, signature: str) -> Signature:
    """Make a `Signature` from its four texts in a query or in an ``Authorization`` header.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise malformed("the signature is not 64 hexadecimal digits")
    if not _HEADER_NAMES.fullmatch(signed_headers):
        raise malformed("SignedHeaders holds something that is no header name")
    return Signature(
        algorithm=algorithm,
        scope=_parse_scope(credential),
        signed_headers=tuple(signed_headers.split(";")),
        value=signature,
    )


def _parse_scope(credential: str) -> Scope:
    match = _SCOPE.fullmatch(credential)
    if match is None:
        raise malformed("the credential scope is not a valid access key id with four valid parts")
    access_key_id, date, region, service, terminator = match.groups()
    return Scope(access_key_id=access_key_id, date=date, region=region, service=service, terminator=terminator)


def parse_amz_date(text: str) -> datetime:
    """Read an ``X-Amz-Date`` (``YYYYMMDD'T'HHMMSS'Z'``), in UTC.

    Raises:
        CredentialError: ``credential_malformed``: the text has another format, or names a date or time that does not exist.
    """
    if not _AMZ_DATE.fullmatch(text):
        raise malformed("X-Amz-Date breaks its grammar")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise malformed("X-Amz-Date is no moment in time") from error


def require_security_token(text: str) -> str:
    """Return ``text`` if it has the grammar of a session token.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    if not _SECURITY_TOKEN.fullmatch(text):
        raise malformed("the security token breaks its grammar")
    return text
