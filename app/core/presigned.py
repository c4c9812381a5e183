"""Decode a query-signed GET into a `SignedRequest`. The native, JWT and EKS forms contain the URL of such a GET."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from app.core.errors import malformed
from app.core.signed_request import CredentialForm, SignedRequest, parse_url
from app.core.sigv4 import parse_signature, require_security_token

# Contract, section 3: the query has exactly these parameters, each once, in exactly this spelling. CVE-2022-2385 arose in a
# program that ignored case here.
PARAMETERS: Final = frozenset(
    {
        "Action",
        "Version",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-Security-Token",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    }
)

# This pattern matches a query whose values are in SigV4's canonical percent-encoding: RFC 3986's unreserved characters are
# literal, and the reserved characters of a token, a scope and SignedHeaders ("/", "+", "=" and ";") are escapes with
# upper-case digits. Each value has exactly one such spelling, and nearly all signers use it.
_CANONICAL: Final = re.compile(r"[A-Za-z0-9._~=&-]*+(?:%(?:2[BF]|3[BD])[A-Za-z0-9._~=&-]*+)*+", re.ASCII)
# This pattern allows RFC 3986's unreserved characters, complete percent escapes, and the few reserved characters that some
# signers do not escape. It allows no literal "+": some parsers read "+" as a blank, others do not.
# Possessive quantifiers prevent backtracking, and are ten times as fast on a session token as an alternation.
_ENCODED_VALUE: Final = re.compile(r"[A-Za-z0-9._~/;:=,@-]*+(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._~/;:=,@-]*+)*+", re.ASCII)
_VISIBLE_ASCII: Final = re.compile(rb"[!-~]*")


def decode_presigned_url(text: str, form: CredentialForm) -> SignedRequest:
    """Decode a presigned URL into a `SignedRequest`. Check only the grammar and the closed set of parameters.

    Raises:
        CredentialError: ``credential_malformed``.
    """
    url = parse_url(text)
    query = url.query or ""
    texts = _parse_query(query)
    # If there are as many equals signs as names, no value contains one.
    if _CANONICAL.fullmatch(query) and query.count("=") == len(PARAMETERS):
        parameters, encoded = {name: _decode_canonical(text) for name, text in texts.items()}, texts
    else:
        parameters, encoded = {name: _percent_decode(name, text) for name, text in texts.items()}, {}
    signature = parse_signature(
        algorithm=parameters["X-Amz-Algorithm"],
        credential=parameters["X-Amz-Credential"],
        signed_headers=parameters["X-Amz-SignedHeaders"],
        signature=parameters["X-Amz-Signature"],
    )
    return SignedRequest(
        form=form,
        method="GET",
        url=url,
        parameters=parameters,
        headers={},
        body=b"",
        signature=signature,
        amz_date=parameters["X-Amz-Date"],
        expires=parameters["X-Amz-Expires"],
        security_token=require_security_token(parameters["X-Amz-Security-Token"]),
        encoded=encoded,
    )


def _parse_query(query: str) -> dict[str, str]:
    """Return the nine parameters by name. Reject a name that is unknown, missing, repeated, or in another case (I3)."""
    texts: dict[str, str] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if not equals or name not in PARAMETERS:
            raise malformed("the query contains a parameter that is not allowed")
        if name in texts:
            raise malformed(f"the parameter {name} appears twice")
        texts[name] = value
    if len(texts) != len(PARAMETERS):
        missing = PARAMETERS - texts.keys()
        raise malformed(f"the query lacks {', '.join(sorted(missing))}")
    return texts


def _decode_canonical(value: str) -> str:
    if "%" not in value:
        return value
    return value.replace("%2F", "/").replace("%2B", "+").replace("%3D", "=").replace("%3B", ";")


def _percent_decode(name: str, value: str) -> str:
    if not _ENCODED_VALUE.fullmatch(value):
        raise malformed(f"the value of {name} is not percent-encoded")
    decoded = unquote_to_bytes(value)
    if not _VISIBLE_ASCII.fullmatch(decoded):
        raise malformed(f"the value of {name} decodes to something unprintable")
    return decoded.decode("ascii")
