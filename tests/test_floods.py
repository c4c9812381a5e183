"""Floods: a client that invents credentials, or has those of roles without tags, excludes no other caller."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from starlette.types import Message

from app import service as service_module
from app.core.base64_text import decode_base64url
from app.emulator import FaultKind
from app.emulator.identities import new_access_key_id
from app.sts.known_credentials import KnownCredentials
from tests.conftest import StartService
from tests.support.service import AUTHENTICATE, RunningService
from tests.support.signing import base64url
from tests.support.world import ACCOUNT, OTHER_ACCOUNT, PROXY, STRANGERS_ACCOUNT, Aws, recipe_of

# Small waves: while a wave starts, no other task runs.
OF_A_WAVE = 200
# So few calls go to STS that nearly all of them wait.
SLOWLY = {"KMESH_AWSIAM_STS_RATE": "100", "KMESH_AWSIAM_DECISION_TIMEOUT": "60"}
BACKEND = {**PROXY, "tags": {"kuma.io/service": ["backend"]}}


async def call(service: RunningService, credential: str, claim: object = PROXY) -> dict[str, Any]:
    """Call the API as its server does, which costs less than a call over HTTP."""
    body = json.dumps({"credential": credential, "proxy": claim}).encode()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": AUTHENTICATE, "headers": headers}
    await service.service.api(scope, receive, send)
    answer: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in sent))
    return {
        **answer,
        "status": sent[0]["status"],
        "retry_after": dict(sent[0]["headers"]).get(b"retry-after"),
    }


def invented(valid: str, accounts: Sequence[str]) -> Iterator[str]:
    """Yield well-formed credentials with invented key ids, which name these accounts in turn."""
    form, _, encoded = valid.partition(".")
    before, _, rest = decode_base64url(encoded).decode().partition("X-Amz-Credential=")
    after = rest.partition("%2F")[2]
    for name in itertools.cycle(accounts):
        key_id = new_access_key_id("ASIA", name)
        yield f"{form}.{base64url(f'{before}X-Amz-Credential={key_id}%2F{after}')}"


def fifty_accounts() -> list[str]:
    return [ACCOUNT, *(f"{number:012}" for number in range(300_000_000_001, 300_000_000_050))]


@pytest.mark.parametrize(
    ("named", "waves"),
    [
        # More than the limit of decisions in progress.
        pytest.param([ACCOUNT], 28, id="one-account"),
        # More than the limit of waiting calls with keys that STS has not confirmed.
        pytest.param(fifty_accounts(), 14, id="fifty-accounts"),
        pytest.param([STRANGERS_ACCOUNT], 14, id="no-listed-account"),
    ],
)
async def test_invented_keys_keep_out_no_other_account_and_no_known_key(
    aws: Aws, start_service: StartService, named: list[str], waves: int
) -> None:
    """I20: each account that a key id encodes gets a part of the waiting places, and known keys have their own."""
    listed = ",".join(sorted({ACCOUNT, OTHER_ACCOUNT, *named} - {STRANGERS_ACCOUNT}))
    async with start_service(KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=listed, **SLOWLY) as service:
        known = recipe_of(aws.task())
        assert (await call(service, known.credential()))["status"] == 200
        assert (await call(service, aws.credential("backend", OTHER_ACCOUNT), BACKEND))["status"] == 200
        attack = invented(known.credential(), named)
        flood: list[asyncio.Task[dict[str, Any]]] = []
        for wave in range(waves):
            flood += [asyncio.create_task(call(service, next(attack))) for _ in range(OF_A_WAVE)]
            answers = await asyncio.gather(
                call(service, aws.credential("backend", OTHER_ACCOUNT), BACKEND),
                call(service, replace(known, expires=899 - wave).credential()),
            )
            assert [answer["status"] for answer in answers] == [200, 200], answers
        refused = [task.result() for task in flood if task.done() and task.result().get("reason") == "overloaded"]
        assert all(answer["retry_after"] is not None for answer in refused)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


async def test_one_invented_credential_presented_again_and_again_takes_no_more_than_its_accounts_places(
    aws: Aws, start_service: StartService
) -> None:
    """A decision that waits for the answer to another one takes a place too."""
    async with start_service() as service:
        known = recipe_of(aws.task())
        assert (await call(service, known.credential()))["status"] == 200
        forged = next(invented(known.credential(), [ACCOUNT]))
        aws.emulator.faults.sts.inject(FaultKind.HANG, times=1, action="GetCallerIdentity")
        flood = [asyncio.create_task(call(service, forged)) for _ in range(4_200)]
        await asyncio.to_thread(aws.emulator.calls.wait_for, 2)
        answer = await call(service, aws.credential("backend", OTHER_ACCOUNT), BACKEND)
        assert answer["status"] == 200, answer
        aws.emulator.faults.clear()
        await asyncio.gather(*flood)


async def test_credentials_of_roles_that_are_no_proxies_evict_none_that_was_approved(
    aws: Aws, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I20: STS confirms every role of a listed account, and its owner can sign as often as they like."""
    monkeypatch.setattr(service_module, "KnownCredentials", partial(KnownCredentials, max_known=4))
    untagged = recipe_of(aws.session_of(aws.add_role(tags={})))
    approved = aws.credential()
    async with start_service() as service:
        assert (await call(service, approved))["status"] == 200
        for number in range(8):
            answer = await call(service, replace(untagged, expires=899 - number).credential())
            assert answer["reason"] == "role_type_missing", answer
        aws.emulator.faults.sts.inject(FaultKind.SERVICE_UNAVAILABLE)
        assert (await call(service, approved))["status"] == 200
        assert service.decisions()[-1]["sts"]["cache"] == "hit"
