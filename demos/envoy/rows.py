"""The proxies of ``make demo-envoy``: what comes in, and what must become of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG
from app.core.reasons import Reason
from app.demo.stage import CONTROL_PLANE_ACCOUNT, OTHER_ACCOUNT, STRANGERS_ACCOUNT
from app.emulator.fault_kinds import FaultKind
from demos.envoy.control_plane import ADS, DELTA, HDS
from demos.envoy.kuma import NO_TOKEN, shape_of
from demos.envoy.stage import Front
from demos.envoy.streams import Answer, connected

Present = Callable[[Front], Awaitable[list[str]]]

_OK: Final = "OK"
_DENIED: Final = "PERMISSION_DENIED"
_NOT_ACCEPTABLE: Final = "UNAUTHENTICATED"
_UNDECIDED: Final = "UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stream.

    Attributes:
        title: who opens it.
        sent: what comes in, in words.
        present: makes the values of ``authorization``.
        proxy: the resource, which the control plane compares with the token.
        method: of the control plane.
        code: gRPC's name of the status that must come.
        word: that must stand in the text beside the status, a reason of the service for one.
        reaches: the stream must have come to the control plane.
    """

    title: str
    sent: str
    present: Present
    proxy: dict[str, Any]
    method: str = DELTA
    code: str = _OK
    word: str = ""
    reaches: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: the answer, and the shape of what the control plane saw; None where nothing came."""

    answer: Answer
    saw: str | None

    def problems(self, row: Row) -> Iterator[str]:
        """Yield what is not as it must be."""
        if self.answer.code != row.code:
            yield f"not {row.code}"
        if row.word not in self.answer.details:
            yield f"not {row.word}"
        if (self.saw is not None) != (row.reaches or row.code == _OK):
            yield "it came through" if self.saw else "it did not come through"
        if self.saw is not None and NO_TOKEN in self.saw:
            yield "what came in went further"


async def play(front: Front, row: Row) -> Outcome:
    """Open the stream, and look at both ends of it."""
    values = await row.present(front)
    before = len(front.control_plane.streams)
    async with connected(front.envoy.port, front.envoy.authority.cert) as proxy:
        stream = await proxy.open(*values, method=row.method, request=json.dumps(row.proxy).encode())
    front.aws.emulator.faults.clear()
    seen = front.control_plane.streams[before:]
    saw = [shape_of(value) for value in seen[-1].values("authorization")] if seen else None
    return Outcome(stream.answer, None if saw is None else " and ".join(saw) or NO_TOKEN)


def rows() -> list[Row]:
    """Return all of them, in the order in which they are played: the last one takes the service away."""
    return [*_admitted(), *_refused(), *_undecided()]


def dataplane(workload: str = "demo-app", mesh: str = "default") -> dict[str, Any]:
    """Return the part of a Dataplane that is compared."""
    return {"type": "dataplane", "mesh": mesh, "name": f"{workload}-1", "labels": {WORKLOAD_TAG: workload}}


def tagged(service: str) -> dict[str, Any]:
    """Return that part of a Dataplane of mesh payments before Kuma 3.0."""
    return {"type": "dataplane", "mesh": "payments", "name": f"{service}-1", "tags": {SERVICE_TAG: [service]}}


def _admitted() -> Iterator[Row]:
    credential = "the credential of its task role, in a JWT's clothes"
    yield Row(title="demo-app, delta ADS", sent=credential, present=_of("demo-app"), proxy=dataplane())
    yield Row(title="demo-app, HDS", sent=credential, present=_of("demo-app"), proxy=dataplane(), method=HDS)
    yield Row(title="demo-app, whose agent exchanges", sent="the token itself", present=_token, proxy=dataplane())
    yield Row(
        title="Kuma 2.14: backend of mesh payments, ADS, in a second account",
        sent=credential,
        present=_of("backend", OTHER_ACCOUNT),
        proxy=tagged("backend"),
        method=ADS,
    )
    for scope in ("ingress", "egress"):
        title = f"Kuma 2.14: {scope}, ADS"
        yield Row(title=title, sent=credential, present=_of(f"zone-{scope}"), proxy={"type": scope}, method=ADS)


def _refused() -> Iterator[Row]:
    yield Row(
        title="demo-app, whose Dataplane says backend",
        sent="its own credential; the service is not told of the Dataplane",
        present=_of("demo-app"),
        proxy=dataplane("backend"),
        code="UNKNOWN",
        word="authentication failed: dataplane workload",
        reaches=True,
    )
    yield Row(
        title="Kuma 2.14: backend, whose Dataplane says billing",
        sent="likewise",
        present=_of("backend", OTHER_ACCOUNT),
        proxy=tagged("billing"),
        method=ADS,
        code="UNKNOWN",
        word="authentication failed: dataplane contains tag",
        reaches=True,
    )
    yield Row(
        title="demo-app, whose Dataplane is of mesh payments",
        sent="likewise",
        present=_of("demo-app"),
        proxy=dataplane(mesh="payments"),
        code="UNKNOWN",
        word="authentication failed: proxy mesh",
        reaches=True,
    )
    yield Row(
        title="ingress, as a dataplane",
        sent="the credential of an ingress: a zone token comes of it",
        present=_of("zone-ingress"),
        proxy=dataplane(),
        code="UNKNOWN",
        word="authentication failed: there is no signing key with KID",
        reaches=True,
    )
    yield Row(
        title="a stranger with a role of the same name and tags",
        sent="validly signed, from an account that is not listed",
        present=_of("demo-app", STRANGERS_ACCOUNT),
        proxy=dataplane(),
        code=_DENIED,
        word=Reason.ACCOUNT_NOT_AUTHORIZED,
    )
    yield Row(
        title="a task that was never meant for the mesh",
        sent="validly signed; its role has no kuma.io tags",
        present=_of("untagged"),
        proxy=dataplane(),
        code=_DENIED,
        word=Reason.ROLE_TYPE_MISSING,
    )
    for title, sent, present, word in (
        ("demo-app, twice", "two values of authorization, both valid", _twice, Reason.CREDENTIAL_MALFORMED),
        ("nobody", "no authorization", _nothing, Reason.CREDENTIAL_MALFORMED),
        ("demo-app, of another control plane", "signed for another audience", _elsewhere, Reason.STS_REJECTED),
        ("demo-app, late", "signed for one second, presented two seconds later", _late, Reason.CREDENTIAL_EXPIRED),
    ):
        yield Row(title=title, sent=sent, present=present, proxy=dataplane(), code=_NOT_ACCEPTABLE, word=word)
    yield Row(
        title="demo-app, elsewhere",
        sent="a method that no proxy needs; the service is not asked",
        present=_of("demo-app"),
        proxy=dataplane(),
        method="/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        code="UNIMPLEMENTED",
    )


def _undecided() -> Iterator[Row]:
    yield Row(
        title="demo-app, while AWS throttles",
        sent="a credential that is not known yet",
        present=_while_throttled,
        proxy=dataplane(),
        code=_UNDECIDED,
    )
    yield Row(
        title="demo-app, while the service is away",
        sent="likewise",
        present=_while_away,
        proxy=dataplane(),
        code=_UNDECIDED,
    )


def _of(role: str, account: str = CONTROL_PLANE_ACCOUNT) -> Present:
    async def present(front: Front) -> list[str]:
        return [front.credential(account, role)]

    return present


async def _token(front: Front) -> list[str]:
    call = {"credential": front.credential(CONTROL_PLANE_ACCOUNT, "demo-app"), "proxy": dataplane()}
    return [front.aws.client.post("/v1/token", json=call).json()["token"]]


async def _twice(front: Front) -> list[str]:
    return [front.credential(CONTROL_PLANE_ACCOUNT, "demo-app") for _ in range(2)]


async def _nothing(_front: Front) -> list[str]:
    return []


async def _elsewhere(front: Front) -> list[str]:
    return [front.credential(CONTROL_PLANE_ACCOUNT, "demo-app", audience="another-control-plane")]


async def _late(front: Front) -> list[str]:
    credential = front.credential(CONTROL_PLANE_ACCOUNT, "demo-app", expires=1)
    await asyncio.sleep(2.1)
    return [credential]


async def _while_throttled(front: Front) -> list[str]:
    front.aws.emulator.faults.of("sts").inject(FaultKind.THROTTLE)
    return await _of("demo-app")(front)


async def _while_away(front: Front) -> list[str]:
    front.aws.service.terminate()
    front.aws.service.wait()
    return await _of("demo-app")(front)
