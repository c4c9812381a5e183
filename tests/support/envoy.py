"""A real Envoy with the shipped configuration, and a control plane behind it, for one test.

Whoever imports this is skipped where there is no Envoy or no gRPC. In CI that is a failure: what we ship would go untested
in silence.
"""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("envoy") is None:
    REMEDY = "there is no Envoy here; install it: make install-envoy"
    if os.environ.get("CI"):
        pytest.fail(REMEDY, pytrace=False)
    pytest.skip(REMEDY, allow_module_level=True)

from demos.envoy.certificates import Authority
from demos.envoy.control_plane import ControlPlane, open_control_plane
from demos.envoy.envoy import Envoy, Upstreams, find_envoy, running_envoy
from demos.envoy.streams import Answer, Proxy, connected

__all__ = ["Front", "find_envoy", "open_front"]


@dataclass(frozen=True)
class Front:
    """Envoy, and what is behind it."""

    envoy: Envoy
    control_plane: ControlPlane

    def connected(self) -> contextlib.AbstractAsyncContextManager[Proxy]:
        """A proxy with its own connection."""
        return connected(self.envoy.port, self.envoy.authority.cert)

    async def answer_to(self, *presented: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Return how a stream with these values of ``authorization`` begins or ends."""
        async with self.connected() as proxy:
            return (await proxy.open(*presented, headers=tuple(headers))).answer


@contextlib.asynccontextmanager
async def open_front(service: str, *changes: tuple[str, str], **variables: str) -> AsyncIterator[Front]:
    """Start both in front of the program that listens on the service's address."""
    authority = Authority()
    async with open_control_plane(authority.issue("control plane")) as control_plane:
        upstreams = Upstreams(
            service=service,
            streams_port=control_plane.streams_port,
            bootstrap_port=control_plane.bootstrap_port,
        )
        with tempfile.TemporaryDirectory(prefix="kuma-") as folder:
            async with running_envoy(Path(folder), authority, upstreams, changes, **variables) as envoy:
                yield Front(envoy, control_plane)
