"""The sidecars of the demo: for each, the credential that it presents, and the decision that the service must make."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from app.core.base64_text import encode_base64url
from app.core.credential import EKS_PREFIX, encode_jwt_clothes, encode_native
from app.core.endpoints import StsEndpoint
from app.core.header_rules import POST_BODY
from app.core.reasons import Reason
from app.demo.stage import AUDIENCE, CONTROL_PLANE_ACCOUNT, OTHER_ACCOUNT, STRANGERS_ACCOUNT, Stage
from app.emulator.fault_kinds import FaultKind
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint, presign

_REGION: Final = "us-east-1"
_ALLOWED_STATUS: Final = 200
_DENIED_STATUSES: Final = (401, 403)

Maker = Callable[[ReadOnlyCredentials], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One proxy that presents a credential.

    Attributes:
        title: the sidecar, in words.
        sent: what it presents, in words.
        account: the account of its task role.
        role: the name of its task role.
        make: makes the credential from the credentials of the role.
        asserted: what the proxy asserts.
        expected: the reason that the service must give; None if it must approve.
        prepare: is called before the credential is presented, for example to make the emulator throttle.
    """

    title: str
    sent: str
    account: str = CONTROL_PLANE_ACCOUNT
    role: str = "demo-app"
    make: Maker
    asserted: dict[str, Any]
    expected: Reason | None = None
    prepare: Callable[[Stage], None] = field(default=lambda _stage: None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision of the service: the verdict, its reason, and an explanation in words."""

    verdict: str
    reason: str | None
    why: str


def play(stage: Stage, sidecars: Sequence[Sidecar]) -> Iterator[tuple[Sidecar, Outcome]]:
    """Sign all credentials first, then present one after the other.

    The credential that must be expired is valid for one second. It is presented last, after a wait of two seconds.
    """
    signed = [(sidecar, sidecar.make(stage.task_credentials(sidecar.account, sidecar.role))) for sidecar in sidecars]
    for sidecar, credential in signed:
        sidecar.prepare(stage)
        response = stage.client.post("/v1/authenticate", json={"credential": credential, "proxy": sidecar.asserted})
        stage.emulator.faults.clear()
        yield sidecar, _outcome(response.status_code, response.json())


def _outcome(status: int, answer: dict[str, Any]) -> Outcome:
    if status == _ALLOWED_STATUS:
        identity, principal = answer["identity"], answer["principal"]
        granted = " ".join(f"{key}={value}" for key, value in identity.items() if value is not None)
        return Outcome("allowed", None, f"{granted}; role {principal['role']} of {principal['account']}")
    verdict = "denied" if status in _DENIED_STATUSES else "undecided"
    return Outcome(verdict, answer["reason"], f"{answer['reason']} ({status}): {answer['detail']}")


def _endpoint() -> StsEndpoint:
    return find_endpoint(load_sts_endpoints(), _REGION)


def _native(credentials: ReadOnlyCredentials) -> str:
    return encode_native(presign(credentials, _endpoint(), audience=AUDIENCE))


def _jwt(credentials: ReadOnlyCredentials) -> str:
    return encode_jwt_clothes(presign(credentials, _endpoint(), audience=AUDIENCE))


def _eks(credentials: ReadOnlyCredentials) -> str:
    url = presign(credentials, _endpoint(), audience=AUDIENCE, audience_header="x-k8s-aws-id", expires=60)
    return EKS_PREFIX + encode_base64url(url.encode("ascii"))


def _for_another_audience(credentials: ReadOnlyCredentials) -> str:
    return encode_native(presign(credentials, _endpoint(), audience="another-control-plane"))


def _another_native(credentials: ReadOnlyCredentials) -> str:
    """Make a credential that differs from `_native` in one parameter, because the service caches equal credentials.

    For a cached credential the service would not call STS.
    """
    return encode_native(presign(credentials, _endpoint(), audience=AUDIENCE, expires=600))


def _short_lived(credentials: ReadOnlyCredentials) -> str:
    return encode_native(presign(credentials, _endpoint(), audience=AUDIENCE, expires=1))


def _tampered(credentials: ReadOnlyCredentials) -> str:
    url = presign(credentials, _endpoint(), audience=AUDIENCE)
    last = "0" if url[-1] != "0" else "1"
    return encode_native(url[:-1] + last)


def _unbound(credentials: ReadOnlyCredentials) -> str:
    """Make a credential that says that only ``host`` is signed, as plain boto3 does: it could be presented anywhere."""
    url = presign(credentials, _endpoint(), audience=AUDIENCE)
    return encode_native(url.replace("host%3Bx-kuma-audience", "host"))


def _vault_envelope(credentials: ReadOnlyCredentials) -> str:
    url = f"https://{_endpoint().host}/"
    request = AWSRequest(
        method="POST",
        url=url,
        data=POST_BODY,
        headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Vault-AWS-IAM-Server-ID": AUDIENCE,
        },
    )
    SigV4Auth(credentials, "sts", _REGION).add_auth(request)
    return json.dumps(
        {
            "iam_http_request_method": "POST",
            "iam_request_url": base64.b64encode(url.encode()).decode(),
            "iam_request_body": base64.b64encode(POST_BODY).decode(),
            "iam_request_headers": base64.b64encode(json.dumps(dict(request.headers.items())).encode()).decode(),
        }
    )


def _throttle(stage: Stage) -> None:
    stage.emulator.faults.of("sts").inject(FaultKind.THROTTLE)


def _let_it_expire(stage: Stage) -> None:
    stage.wait(2.1)


def _dataplane(mesh: str = "default", workload: str = "demo-app") -> dict[str, Any]:
    return {"type": "dataplane", "mesh": mesh, "name": f"{workload}-1", "labels": {"kuma.io/workload": workload}}


def _tagged(mesh: str, service: str) -> dict[str, Any]:
    """Return a Dataplane of Kuma 2.x, whose service is a tag of its inbound."""
    return {"type": "dataplane", "mesh": mesh, "name": f"{service}-1", "tags": {"kuma.io/service": [service]}}


_DEMO_APP: Final = "dataplane of mesh default, workload demo-app"

SIDECARS: Final = (
    Sidecar(title=_DEMO_APP, sent="native form, signed with its task role", make=_native, asserted=_dataplane()),
    Sidecar(
        title="dataplane of mesh payments, service backend of Kuma 2.x, in a second account",
        sent="the same in a JWT's clothes, which a stock kuma-dp accepts; its role is read through the reader role",
        account=OTHER_ACCOUNT,
        role="backend",
        make=_jwt,
        asserted=_tagged("payments", "backend"),
    ),
    Sidecar(
        title="dataplane of mesh default, any service",
        sent="EKS form, as aws eks get-token makes it; its role names neither a workload nor a service",
        role="batch",
        make=_eks,
        asserted=_tagged("default", "nightly-report"),
    ),
    Sidecar(title=_DEMO_APP, sent="Vault envelope: a header-signed POST", make=_vault_envelope, asserted=_dataplane()),
    Sidecar(title="ingress", sent="native form", role="zone-ingress", make=_native, asserted={"type": "ingress"}),
    Sidecar(title="egress", sent="native form", role="zone-egress", make=_native, asserted={"type": "egress"}),
    Sidecar(
        title="egress of mesh default, in a Dataplane",
        sent="native form; its Dataplane has a ZoneEgress listener",
        role="mesh-egress",
        make=_native,
        asserted={**_dataplane(workload="egress"), "listeners": ["ZoneEgress"]},
    ),
    Sidecar(
        title="a stranger with a role of the same name and tags",
        sent="validly signed, from an account that is not listed",
        account=STRANGERS_ACCOUNT,
        make=_native,
        asserted=_dataplane(),
        expected=Reason.ACCOUNT_NOT_AUTHORIZED,
    ),
    Sidecar(
        title="a task that was never meant for the mesh",
        sent="validly signed; its role has no kuma.io tags",
        role="untagged",
        make=_native,
        asserted=_dataplane(),
        expected=Reason.ROLE_TYPE_MISSING,
    ),
    Sidecar(
        title="demo-app, trying to join mesh payments",
        sent="validly signed; its role is for mesh default",
        make=_native,
        asserted=_dataplane(mesh="payments"),
        expected=Reason.PROXY_MESH_MISMATCH,
    ),
    Sidecar(
        title="demo-app, trying to be workload payments",
        sent="validly signed; its role is for workload demo-app",
        make=_native,
        asserted=_dataplane(workload="payments"),
        expected=Reason.PROXY_WORKLOAD_MISMATCH,
    ),
    Sidecar(
        title="backend, trying to be service billing",
        sent="validly signed; its role is for service backend",
        account=OTHER_ACCOUNT,
        role="backend",
        make=_native,
        asserted=_tagged("payments", "billing"),
        expected=Reason.PROXY_SERVICE_MISMATCH,
    ),
    Sidecar(
        title="batch, trying to take the SPIFFE id of payments",
        sent="validly signed; label kuma.io/workload=payments, and its role has no kuma.io/workload",
        role="batch",
        make=_native,
        asserted=_dataplane(workload="payments"),
        expected=Reason.PROXY_WORKLOAD_MISMATCH,
    ),
    Sidecar(
        title="demo-app, trying to be an egress of its mesh",
        sent="validly signed; its Dataplane has a ZoneEgress listener, and its role is for a dataplane",
        make=_native,
        asserted={**_dataplane(), "listeners": ["ZoneEgress"]},
        expected=Reason.PROXY_TYPE_MISMATCH,
    ),
    Sidecar(
        title="a role whose tags somebody doubled in another case",
        sent="validly signed; kuma.io/mesh=default and KUMA.IO/mesh=payments",
        role="case-twin",
        make=_native,
        asserted=_dataplane(mesh="payments"),
        expected=Reason.ROLE_TAG_INVALID,
    ),
    Sidecar(
        title="a credential altered on the way",
        sent="the last digit of the signature is another one",
        make=_tampered,
        asserted=_dataplane(),
        expected=Reason.STS_REJECTED,
    ),
    Sidecar(
        title="a credential made for another control plane",
        sent="validly signed for another audience, and replayed here",
        make=_for_another_audience,
        asserted=_dataplane(),
        expected=Reason.STS_REJECTED,
    ),
    Sidecar(
        title="a credential that is bound to nobody",
        sent="SignedHeaders is host alone; never forwarded to STS",
        make=_unbound,
        asserted=_dataplane(),
        expected=Reason.AUDIENCE_MISSING,
    ),
    Sidecar(
        title="a good credential while AWS throttles",
        sent="validly signed; STS answers 400 Throttling: no decision, and no denial",
        make=_another_native,
        asserted=_dataplane(),
        expected=Reason.STS_THROTTLED,
        prepare=_throttle,
    ),
    Sidecar(
        title="a credential that has expired",
        sent="signed for one second, presented two seconds later; never forwarded to STS",
        make=_short_lived,
        asserted=_dataplane(),
        expected=Reason.CREDENTIAL_EXPIRED,
        prepare=_let_it_expire,
    ),
)
