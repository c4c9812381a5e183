"""The stage of ``make demo-envoy``: a local AWS, the service, Envoy, and a control plane that knows the public keys."""

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.core.credential import encode_jwt_clothes
from app.demo.stage import AUDIENCE, Stage, open_stage
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint, presign
from demos.envoy.certificates import Authority
from demos.envoy.control_plane import ControlPlane, Seen, open_control_plane
from demos.envoy.envoy import Envoy, Upstreams, running_envoy
from demos.envoy.keys import SigningKeys
from demos.envoy.kuma import refusal

ZONE: Final = "zone-1"
_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What proxies play on."""

    aws: Stage
    envoy: Envoy
    control_plane: ControlPlane
    keys: SigningKeys

    def credential(self, account: str, role: str, *, audience: str = AUDIENCE, expires: int = 900) -> str:
        """Sign as a task of a role does, in the form that a stock kuma-dp accepts."""
        credentials = self.aws.task_credentials(account, role)
        endpoint = find_endpoint(load_sts_endpoints(), _REGION)
        return encode_jwt_clothes(presign(credentials, endpoint, audience=audience, expires=expires))


@contextlib.asynccontextmanager
async def open_front(*, verbose: bool = False) -> AsyncIterator[Front]:
    """Start everything, and end it in the end.

    Raises:
        StageError: the service did not become ready.
        EnvoyError: Envoy did not start.
    """
    authority = Authority()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kuma-aws-iam-front-")))
        (folder / "keys").mkdir()
        keys = SigningKeys(folder / "keys")
        keys.make()
        aws = stack.enter_context(open_stage(verbose=verbose, settings={**keys.settings(), "KMESH_AWSIAM_ZONE": ZONE}))
        control_plane = await stack.enter_async_context(open_control_plane(authority.issue("control plane")))
        control_plane.judge = lambda seen, request: _judge(keys, seen, request)
        (folder / "envoy").mkdir()
        envoy = await stack.enter_async_context(
            running_envoy(
                folder / "envoy",
                authority,
                Upstreams(
                    service=aws.service_url,
                    streams_port=control_plane.streams_port,
                    bootstrap_port=control_plane.bootstrap_port,
                ),
            )
        )
        yield Front(aws=aws, envoy=envoy, control_plane=control_plane, keys=keys)


def _judge(keys: SigningKeys, seen: Seen, request: bytes) -> str | None:
    """Compare the token with the resource, which here is the first message of the stream."""
    values = seen.values("authorization")
    if len(values) != 1:
        return f'request must have exactly 1 "authorization" header, got {len(values)}'
    return refusal(values[0], json.loads(request), keys.public, ZONE)
