"""The service behind a real Envoy, on the emulated AWS: which proxies reach the control plane, with which token."""

import asyncio
import functools
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import jwt
import pytest

from app.core.signed_request import CredentialForm
from app.emulator import Emulator, FaultKind
from tests.support.envoy import Front, open_front
from tests.support.process import Served, free_address, served, socket_address
from tests.support.service import until
from tests.support.signing import FORMS
from tests.support.world import EGRESS, INGRESS, PROXY, STRANGERS_ACCOUNT, Aws, recipe_of

# isort: split
# After what skips all of this where gRPC is not there.
from demos.envoy.control_plane import ADS, DELTA, HDS, Seen
from demos.envoy.keys import SigningKeys
from demos.envoy.kuma import refusal
from demos.envoy.streams import Proxy, Stream

ZONE = "east"
FORM_IDS = [form.name.lower() for form in FORMS]
"""The two envelopes come as JSON, which a header can hold."""


@dataclass(frozen=True)
class Running:
    """A service in a separate process, and its signing keys."""

    served: Served
    keys: SigningKeys

    def refusal(self, seen: Seen, proxy: Mapping[str, Any] = PROXY) -> str | None:
        """Return why a control plane with the public keys would refuse the token; None if it would not."""
        (value,) = seen.values("authorization")
        return refusal(value, proxy, self.keys.public, ZONE)


@pytest.fixture(scope="module")
def running(running_aws: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    keys = SigningKeys(tmp_path_factory.mktemp("keys"))
    keys.make()
    variables = {**Aws(running_aws).service_environment(), **keys.settings(), "KMESH_AWSIAM_ZONE": ZONE}
    with served(free_address(), **variables) as service:
        service.wait_for("own account")  # otherwise the first test would count this call to STS
        yield Running(service, keys)


@pytest.fixture
async def front(running: Running) -> AsyncIterator[Front]:
    async with open_front(running.served.address) as opened:
        yield opened


@pytest.mark.parametrize("method", [ADS, DELTA, HDS], ids=["ads", "delta", "hds"])
async def test_a_stream_reaches_the_control_plane_with_a_token_in_the_credentials_place(
    aws: Aws, running: Running, front: Front, method: str
) -> None:
    credential = aws.credential(form=CredentialForm.JWT)
    async with front.connected() as proxy:
        stream = await proxy.open(credential, method=method)
        assert stream.answer.code == "OK"
        assert await stream.ask()
        (seen,) = front.control_plane.streams
        assert seen.method == method
        assert running.refusal(seen) is None
        assert credential not in str(seen.headers)


@pytest.mark.parametrize("form", FORMS, ids=FORM_IDS)
async def test_every_form_of_a_credential_passes(
    aws: Aws, running: Running, front: Front, form: CredentialForm
) -> None:
    assert (await front.answer_to(aws.credential(form=form))).code == "OK"
    assert running.refusal(front.control_plane.streams[0]) is None


async def test_the_token_is_for_its_own_mesh_and_service_and_its_kind_alone(
    aws: Aws, running: Running, front: Front
) -> None:
    await front.answer_to(aws.credential())
    (seen,) = front.control_plane.streams
    for other in (
        {**PROXY, "mesh": "payments"},
        {**PROXY, "tags": {"kuma.io/service": ["backend"]}},
        {"type": "ingress"},
        {"type": "egress"},
    ):
        assert running.refusal(seen, other) is not None


@pytest.mark.parametrize(("tags", "proxy_type"), [(INGRESS, "ingress"), (EGRESS, "egress")], ids=["ingress", "egress"])
async def test_zone_proxies_get_a_token_of_their_zone_and_scope(
    aws: Aws, running: Running, front: Front, tags: dict[str, str], proxy_type: str
) -> None:
    session = aws.session_of(aws.add_role(tags))
    assert (await front.answer_to(recipe_of(session).credential())).code == "OK"
    (seen,) = front.control_plane.streams
    assert running.refusal(seen, {"type": proxy_type}) is None
    assert running.refusal(seen, {"type": {"ingress": "egress", "egress": "ingress"}[proxy_type]}) is not None
    assert running.refusal(seen) is not None


async def test_a_token_of_ours_passes_too_and_without_aws(aws: Aws, running: Running, front: Front) -> None:
    answer = running.served.client.post("/v1/token", json={"credential": aws.credential()})
    aws.emulator.calls.clear()
    aws.emulator.faults.of("sts").inject(FaultKind.THROTTLE)
    assert (await front.answer_to(answer.json()["token"])).code == "OK"
    assert running.refusal(front.control_plane.streams[0]) is None
    assert aws.sts_calls() == aws.iam_calls() == []


async def test_a_denial_tells_the_proxy_its_reason_and_the_operator_where_to_look(
    aws: Aws, running: Running, front: Front
) -> None:
    """The proxy's log, the audit line and Envoy's log contain the same request id."""
    credential = aws.credential(account=STRANGERS_ACCOUNT)
    answer = await front.answer_to(credential)
    assert answer.code == "PERMISSION_DENIED"
    problem = json.loads(answer.details)
    assert problem["reason"] == "account_not_authorized"
    assert dict(answer.headers)["x-request-id"] == problem["requestId"]
    running.served.wait_for(problem["requestId"])
    await until(lambda: problem["requestId"] in front.envoy.log())
    assert credential not in front.envoy.log() + "".join(running.served.lines)
    assert front.control_plane.streams == []


async def test_an_expired_credential_is_not_acceptable(aws: Aws, front: Front) -> None:
    recipe = recipe_of(aws.task(), now=datetime.now(UTC) - timedelta(minutes=16))
    answer = await front.answer_to(recipe.credential())
    assert (answer.code, json.loads(answer.details)["reason"]) == ("UNAUTHENTICATED", "credential_expired")
    assert front.control_plane.streams == []


async def test_one_that_was_altered_is_not_acceptable(aws: Aws, front: Front) -> None:
    recipe = recipe_of(aws.task())
    answer = await front.answer_to(replace(recipe, secret_key="another").credential())
    assert (answer.code, json.loads(answer.details)["reason"]) == ("UNAUTHENTICATED", "sts_rejected")


@pytest.mark.parametrize("form", FORMS, ids=FORM_IDS)
async def test_two_values_of_authorization_are_refused(aws: Aws, front: Front, form: CredentialForm) -> None:
    """Also two valid values: otherwise a client could choose which one the service checks."""
    one, two = (aws.credential(form=form) for _ in range(2))
    for presented in ((one, two), (one, one), (one, "a"), ("a", one)):
        answer = await front.answer_to(*presented)
        assert answer.code == "UNAUTHENTICATED"
        # The second one, if the first value makes it look like a token.
        assert json.loads(answer.details)["reason"] in {"credential_malformed", "token_rejected"}
    assert aws.sts_calls() == aws.iam_calls() == []
    assert front.control_plane.streams == []


async def test_a_token_beside_a_credential_is_refused_too(aws: Aws, running: Running, front: Front) -> None:
    token = running.served.client.post("/v1/token", json={"credential": aws.credential()}).json()["token"]
    for presented in ((token, aws.credential()), (aws.credential(), token), (token, token)):
        assert (await front.answer_to(*presented)).code == "UNAUTHENTICATED"
    assert front.control_plane.streams == []


async def test_without_authorization_nobody_gets_in(front: Front) -> None:
    answer = await front.answer_to()
    assert (answer.code, json.loads(answer.details)["reason"]) == ("UNAUTHENTICATED", "credential_malformed")
    assert front.control_plane.streams == []


@pytest.mark.parametrize("service", ["sts", "iam"])
async def test_what_could_not_be_decided_is_unavailable(aws: Aws, front: Front, service: Literal["sts", "iam"]) -> None:
    session = aws.session_of(aws.add_role())
    aws.emulator.faults.of(service).inject(FaultKind.THROTTLE)
    assert (await front.answer_to(recipe_of(session).credential())).code == "UNAVAILABLE"
    assert front.control_plane.streams == []


async def test_a_service_without_keys_lets_nobody_in_and_denies_nobody(aws: Aws) -> None:
    with served(free_address(), **aws.service_environment()) as service:
        async with open_front(service.address) as front:
            assert (await front.answer_to(aws.credential())).code == "UNAVAILABLE"
            assert front.control_plane.streams == []


async def test_streams_that_stand_outlive_the_service_and_new_ones_wait_for_the_next(
    aws: Aws, running: Running
) -> None:
    variables = {**aws.service_environment(), **running.keys.settings()}
    address = free_address()
    async with AsyncExitStack() as stack:
        front, proxy = await _front_with_proxy(stack, address)
        with served(address, **variables) as first:
            stream = await proxy.open(aws.credential())
            assert stream.answer.code == "OK"
            first.stop()
        assert (await proxy.open(aws.credential())).answer.code == "UNAVAILABLE"
        assert await stream.ask()
        with served(address, **variables):
            assert (await proxy.open(aws.credential())).answer.code == "OK"
        assert len(front.control_plane.streams) == 2


async def _front_with_proxy(stack: AsyncExitStack, address: str) -> tuple[Front, Proxy]:
    front = await stack.enter_async_context(open_front(address))
    return front, await stack.enter_async_context(front.connected())


@pytest.mark.parametrize("sent", ["known-token", "another-token", None])
async def test_a_service_that_wants_to_know_its_callers_is_asked_with_envoys_token(
    aws: Aws, running: Running, tmp_path: Path, sent: str | None
) -> None:
    """Without Envoy's token, or with a wrong one, nothing is decided, and no proxy is denied."""
    known = "a-token-that-envoy-and-the-service-share-0"
    (tmp_path / "tokens").write_text(known)
    change = (r"#(authorization_request:\n *)#( *headers_to_add:\n *)#( *- )", r"\1\2\3")
    environment = {} if sent is None else {"KUMA_AWS_IAM_CALLER_TOKEN": known if sent == "known-token" else known[::-1]}
    variables = {"KMESH_AWSIAM_CALLER_TOKEN_FILE": str(tmp_path / "tokens"), **running.keys.settings()}
    with served(free_address(), **aws.service_environment(), **variables) as service:
        async with open_front(service.address, *([change] if sent else []), **environment) as front:
            headers = [] if sent == "known-token" else [("x-kuma-aws-iam-caller-token", known)]
            answer = await front.answer_to(aws.credential(), headers=headers)
    assert answer.code == ("OK" if sent == "known-token" else "UNAVAILABLE")
    assert len(front.control_plane.streams) == (sent == "known-token")
    assert known not in str(front.control_plane.streams)


async def test_by_a_unix_socket_it_is_the_same(aws: Aws, running: Running) -> None:
    with socket_address() as address, served(address, **aws.service_environment(), **running.keys.settings()):
        async with open_front(address) as front:
            assert (await front.answer_to(aws.credential())).code == "OK"


async def test_more_streams_than_envoys_defaults_allow_stand_at_once(aws: Aws, running: Running, front: Front) -> None:
    """1,100 streams of 55 proxies. By default Envoy's circuit breakers allow 1,024 requests."""
    credentials = [aws.credential() for _ in range(55)]
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(front.connected()) for _ in credentials]

        async def open_twenty(proxy: Proxy, credential: str) -> list[Stream]:
            return [await proxy.open(credential) for _ in range(20)]

        opened = await asyncio.gather(*(open_twenty(*pair) for pair in zip(proxies, credentials, strict=True)))
        streams = list(itertools.chain.from_iterable(opened))
        assert [stream.answer.code for stream in streams] == ["OK"] * 1100
        assert front.control_plane.open_streams == 1100
        assert await asyncio.gather(*(stream.ask() for stream in streams)) == [True] * 1100
        assert [running.refusal(seen) for seen in front.control_plane.streams] == [None] * 1100
        assert len({seen.values("authorization")[0] for seen in front.control_plane.streams}) == 55
    assert len(aws.sts_calls()) == 55


async def test_keys_are_exchanged_while_streams_keep_being_accepted(aws: Aws, tmp_path: Path) -> None:
    """The steps of docs/how-to.

    At each moment the control plane has the public keys that the page tells an operator to give it.
    """
    keys = SigningKeys(tmp_path)
    keys.make()
    with served(free_address(), **aws.service_environment(), **keys.settings()) as service:
        async with open_front(service.address) as front, asyncio.TaskGroup() as group:
            stands = Running(service, keys)
            front.control_plane.judge = lambda seen, _request: stands.refusal(seen)
            codes: list[str] = []
            is_over = asyncio.Event()

            async def keep_opening() -> None:
                async with front.connected() as proxy:
                    while not is_over.is_set():
                        stream = await proxy.open(aws.credential())
                        codes.append(stream.answer.code)
                        stream.cancel()

            async def some_more() -> None:
                wanted = len(codes) + 3
                await until(lambda: len(codes) >= wanted)

            opening = group.create_task(keep_opening())
            async with front.connected() as proxy:
                old = await proxy.open(aws.credential())
                await some_more()
                steps = (
                    functools.partial(keys.add_dataplane_key, "dataplane-2"),
                    functools.partial(keys.sign_with, "dataplane-2"),
                    functools.partial(keys.remove, "dataplane-1"),
                )
                for number, step in enumerate(steps, start=1):
                    step()
                    service.process.send_signal(signal.SIGHUP)
                    await asyncio.to_thread(service.wait_for, '"reloaded"', number)
                    await some_more()
                is_over.set()
                await opening
                assert set(codes) == {"OK"}
                assert len(codes) >= 12
                signers = [_kid(seen) for seen in front.control_plane.streams]
                assert signers == sorted(signers)
                assert set(signers) == {"dataplane-1", "dataplane-2"}
                assert old.answer.code == "OK"


def _kid(seen: Seen) -> str:
    kid: str = jwt.get_unverified_header(seen.values("authorization")[0])["kid"]
    return kid
