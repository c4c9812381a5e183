"""Recordings of boto3. The event `before-sign` adds the headers of this service; boto3 signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from capture import LOOPBACK_URL, BeforeSend, environment, loopback
from recording import (
    AUDIENCE,
    KUMA_HEADER,
    REGION,
    VAULT_HEADER,
    Recording,
    Seen,
    native,
    plain_envelope,
    vault_envelope,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSRequest
    from types_boto3_sts import STSClient

_GLOBAL = {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}
_LOCAL = {"AWS_ENDPOINT_URL_STS": LOOPBACK_URL}
# The variables of the Lambda runtime: botocore then sends the trace in a header that it never signs.
_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "example", "_X_AMZN_TRACE_ID": "Root=1-00000000-000000000000000000000000"}
_CLIENT = f"boto3.client('sts', region_name='{REGION}')"


def recordings() -> Iterator[Recording]:
    """Yield plain calls, calls bound to an audience as both kinds of envelope, and presigned URLs."""
    yield from _plain_calls()
    yield from _vault_envelopes()
    yield from _presigned_urls()


def _plain_calls() -> Iterator[Recording]:
    yield _call("us-east-1", {})
    yield _call("global", _GLOBAL)
    yield _call("lambda", _LAMBDA, audience_header=KUMA_HEADER)
    bound = _call("audience", {}, audience_header=KUMA_HEADER)
    yield bound
    yield bound.in_base64url()
    with loopback() as server, environment(_LOCAL):
        _client().get_caller_identity()
        yield _of_call("loopback", _how(_LOCAL, None, "as it arrived"), server.request)


def _vault_envelopes() -> Iterator[Recording]:
    call = _call("vault", {}, audience_header=VAULT_HEADER)
    headers = dict(call.request.headers)
    for case, spelling, spelt in (
        ("vault-envelope", "", headers),
        ("vault-envelope-go", ": names and lists as Go marshals http.Header", _as_go(headers)),
        ("vault-envelope-lower", ": lower-cased names, lists", {name.lower(): [headers[name]] for name in headers}),
    ):
        recording = Recording(
            case=f"boto3-{case}",
            tool="boto3",
            how=call.how,
            request=call.request,
            form=f"envelope, assembled{spelling}",
            credential=vault_envelope(call.request, spelt),
        )
        yield recording
        if not spelling:
            yield recording.in_base64url()


def _presigned_urls() -> Iterator[Recording]:
    methods: tuple[tuple[str, dict[str, Any]], ...] = (("get", {"HttpMethod": "GET"}), ("default-method", {}))
    for method_case, method in methods:
        for audience_case, audience_header in (("", None), ("audience-", KUMA_HEADER.lower())):
            with environment({}):
                url = _client(audience_header).generate_presigned_url("get_caller_identity", **method)
            arguments = "".join(f", {name}='{value}'" for name, value in method.items())
            added = f"  ({audience_header} added at before-sign)" if audience_header else ""
            headers = [(audience_header, AUDIENCE)] if audience_header else []
            yield Recording(
                case=f"boto3-presigned-{audience_case}{method_case}",
                tool="boto3",
                how=f"{_CLIENT}.generate_presigned_url('get_caller_identity'{arguments}){added}",
                request=Seen.of(method.get("HttpMethod", "POST"), url, headers, ""),
                form="native, assembled",
                credential=native(url),
            )


def _call(case: str, settings: Mapping[str, str], audience_header: str | None = None) -> Recording:
    hook = BeforeSend()
    with environment(settings):
        client = _client(audience_header)
        client.meta.events.register("before-send.sts.GetCallerIdentity", hook)
        client.get_caller_identity()
    return _of_call(case, _how(settings, audience_header, "held back at before-send"), hook.request)


def _of_call(case: str, how: str, request: Seen) -> Recording:
    return Recording(
        case=f"boto3-get-caller-identity-{case}",
        tool="boto3",
        how=how,
        request=request,
        form="plain envelope, assembled",
        credential=plain_envelope(request),
    )


def _client(audience_header: str | None = None) -> STSClient:
    client = boto3.Session(region_name=REGION).client("sts")

    def add_audience(request: AWSRequest, **_: Any) -> None:
        if audience_header:
            request.headers[audience_header] = AUDIENCE

    client.meta.events.register("before-sign.sts.GetCallerIdentity", add_audience)
    return client


def _how(settings: Mapping[str, str], audience_header: str | None, where: str) -> str:
    before = "".join(f"{name}='{value}' " for name, value in settings.items())
    added = f"{audience_header} added at before-sign, " if audience_header else ""
    return f"{before}{_CLIENT}.get_caller_identity()  ({added}{where})"


def _as_go(headers: Mapping[str, str]) -> dict[str, list[str]]:
    """Spell and sort names as Go canonicalizes and sorts them in JSON."""
    return {name: [value] for name, value in sorted((name.title(), value) for name, value in headers.items())}
