"""The emulated AWS of a benchmark, in plain text or over TLS, and what a service has to be told about it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.emulator import Emulator, World
from bench.certificate import make_chain
from bench.service import ACCOUNT, OWN_ROLE


@dataclass(frozen=True, slots=True)
class Upstream:
    """An emulated AWS.

    Attributes:
        emulator: STS and IAM.
        variables: settings of the service beside those of `bench.service.service_environment`.
        root: the file of the certificate that a client has to trust; None without TLS.
    """

    emulator: Emulator
    variables: Mapping[str, str]
    root: Path | None = None


@contextlib.contextmanager
def open_upstream(world: World, folder: Path, *, tls: bool) -> Iterator[Upstream]:
    """Serve STS and IAM of a world.

    With TLS, the credentials of the service's own role come from a second emulator in plain text, as ECS has it: the SDK's
    provider of container credentials trusts no certificate of AWS_CA_BUNDLE.
    """
    if not tls:
        with Emulator(world) as emulator:
            yield Upstream(emulator, {})
        return
    chain = make_chain(folder)
    with (
        Emulator(world, ssl_certfile=str(chain.certificate), ssl_keyfile=str(chain.key)) as emulator,
        Emulator(world) as agent,
    ):
        variables = {
            "AWS_CA_BUNDLE": str(chain.root),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.credentials_uri(ACCOUNT, OWN_ROLE),
        }
        yield Upstream(emulator, variables, chain.root)
