"""Recompute Signature Version 4, which proves that the signer of a request has the secret key.

Input: a request as it arrived. Output: the `Principal` that signed it. The module verifies both forms, the `Authorization`
header and the presigned query. It uses the canonicalisation of botocore, which is AWS's code, over exactly the headers that
the signer named.
The checks are in AWS's order: scope, key and token, time, signature. So each fault gets the same error code as in AWS.
"""

import functools
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from app.emulator import hosts, signature_claim
from app.emulator.hosts import Endpoint, ServiceName
from app.emulator.identities import Principal, UserCredentials
from app.emulator.query_protocol import ServiceError
from app.emulator.signature_claim import SignatureClaim
from app.emulator.wire import Request
from app.emulator.world import World

TERMINATOR: Final = "aws4_request"
TIME_WINDOW: Final = timedelta(minutes=15)
"""A request is valid for this time before and after its signing time, as in STS. STS does not use X-Amz-Expires."""


def verify(request: Request, claim: SignatureClaim, *, endpoint: Endpoint, world: World, now: datetime) -> Principal:
    """Verify a request, and return its signer.

    Raises:
        ServiceError: a check failed; the error has AWS's code for the first one.
    """
    _require_scope(claim, endpoint)
    key = _require_key(claim, endpoint, world, now)
    _require_fresh(claim, now)
    _require_signature(request, claim, key)
    return key.principal


def endpoint_of_scope(claim: SignatureClaim, service: ServiceName) -> Endpoint:
    """Return the endpoint for the region in the signature's scope, if the host has no region (a loopback address).

    Raises:
        ServiceError: SignatureDoesNotMatch, if AWS has no such region.
    """
    partition = hosts.partition_of(claim.region)
    if partition is None:
        raise _mismatch("Credential should be scoped to a valid region.")
    return Endpoint(service, partition, claim.region)


def _require_scope(claim: SignatureClaim, endpoint: Endpoint) -> None:
    if claim.region != endpoint.signing_region:
        raise _mismatch("Credential should be scoped to a valid region.")
    if claim.service != endpoint.service:
        raise _mismatch(f"Credential should be scoped to correct service: '{endpoint.service}'.")
    if claim.terminator != TERMINATOR:
        raise _mismatch(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")


def _require_key(claim: SignatureClaim, endpoint: Endpoint, world: World, now: datetime) -> UserCredentials:
    key = world.find_key(claim.access_key_id)
    # Credentials are valid only in their own partition: in other partitions, AWS does not know the key.
    if key is None or key.principal.partition != endpoint.partition or not _same(key.session_token, claim.token):
        raise _invalid_token()
    if key.expiration is not None and key.expiration <= now:
        # AWS sends this error before it checks the signature, and also if the role was deleted.
        raise ServiceError(403, "ExpiredToken", "The security token included in the request is expired")
    if not world.is_alive(key.principal):
        raise _invalid_token()
    return key


def _require_fresh(claim: SignatureClaim, now: datetime) -> None:
    signed_at = signature_claim.read_timestamp(claim.timestamp)
    if claim.date != claim.timestamp[:8]:
        raise _mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{claim.date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'."
        )
    oldest, newest = now - TIME_WINDOW, now + TIME_WINDOW
    stamp = "%Y%m%dT%H%M%SZ"
    if signed_at < oldest:
        raise _mismatch(
            f"Signature expired: {claim.timestamp} is now earlier than {oldest:{stamp}} ({now:{stamp}} - 15 min.)"
        )
    if signed_at > newest:
        raise _mismatch(
            f"Signature not yet current: {claim.timestamp} is still later than {newest:{stamp}} "
            f"({now:{stamp}} + 15 min.)"
        )


def _require_signature(request: Request, claim: SignatureClaim, key: UserCredentials) -> None:
    if "host" not in claim.signed_headers:
        raise _mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    # This also rejects names in the list that match no header of the request.
    if list(claim.signed_headers) != sorted(set(claim.signed_headers) & request.headers.keys()):
        raise _mismatch("SignedHeaders must name headers of the request, in lower case, sorted, each once.")
    if not hmac.compare_digest(_compute(request, claim, key).encode(), claim.signature.encode()):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )


def _compute(request: Request, claim: SignatureClaim, key: UserCredentials) -> str:
    """Compute the correct signature of a request. The path is always `/`, because the gateway accepts no other path."""
    signer = SigV4Auth(
        Credentials(claim.access_key_id, key.secret_access_key, key.session_token), claim.service, claim.region
    )
    pairs = [(name, value) for name, value in request.query if name != "X-Amz-Signature"]
    signed = AWSRequest(request.method, "https:///", params=pairs)  # type: ignore[arg-type]  # stubs know no pairs
    signed.context["timestamp"] = claim.timestamp
    headers = HTTPHeaders()
    for name in claim.signed_headers:
        for value in request.headers[name]:
            headers[name] = value
    canonical = (
        request.method,
        "/",
        signer.canonical_query_string(signed),
        signer.canonical_headers(headers) + "\n",
        signer.signed_headers(headers),
        # The hash is computed from the received body, even if the request has an x-amz-content-sha256 header.
        hashlib.sha256(request.body).hexdigest(),
    )
    string_to_sign = signer.string_to_sign(signed, "\n".join(canonical))
    signing_key = _derive_key(key.secret_access_key, claim.date, claim.region, claim.service)
    return hmac.digest(signing_key, string_to_sign.encode(), "sha256").hex()


@functools.lru_cache(maxsize=4096)
def _derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _same(known: str | None, claimed: str | None) -> bool:
    if known is None or claimed is None:
        return known is claimed
    return hmac.compare_digest(known.encode(), claimed.encode())


def _mismatch(message: str) -> ServiceError:
    return ServiceError(403, "SignatureDoesNotMatch", message)


def _invalid_token() -> ServiceError:
    return ServiceError(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
