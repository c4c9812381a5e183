"""The client of IAM as the service opens it, with its own pool of connections."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from app.aws.own_endpoints import find_own_endpoint
from app.http.network import NetworkOptions, open_pool
from app.iam.access import IamOptions
from app.iam.client import IamRoles
from app.local.clock import Timer
from app.telemetry.metrics import Metrics


def iam_options(url: str, **changes: object) -> IamOptions:
    """Return options that lead to one URL for STS and IAM, with some changes."""
    options = IamOptions(
        partition="aws",
        region="us-east-1",
        sts=find_own_endpoint("sts", "us-east-1", url=url),
        iam=find_own_endpoint("iam", "us-east-1", url=url),
    )
    return replace(options, **changes)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def open_roles(
    options: IamOptions,
    network: NetworkOptions | None = None,
    metrics: Metrics | None = None,
    timer: Timer = time.monotonic,
) -> AsyncIterator[IamRoles]:
    """Open the client, and close it and its pool at the end."""
    network = network or NetworkOptions()
    pool = open_pool(network)
    roles = IamRoles(options, pool, network, metrics or Metrics(), timer)
    try:
        yield roles
    finally:
        roles.close()
        await pool.close()
