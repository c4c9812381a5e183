"""The emulated AWS of a stage, and credentials of its roles."""

import itertools
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.auth import SIGV4_TIMESTAMP, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from app.core.base64_text import decode_base64url
from app.core.credential import NATIVE_PREFIX, encode_native
from app.core.header_rules import ACTION, VERSION
from app.emulator.world import World
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint

HOME: Final = "111122223333"
"""The account of the service itself."""
OTHERS: Final = (
    "222233334444",
    "333344445555",
    "444455556666",
    "555566667777",
    "666677778888",
    "777788889999",
    "888899990000",
    "999900001111",
)
"""Listed accounts, which are read through a reader role."""
MORE_OTHERS: Final = (
    "121212121212",
    "131313131313",
    "141414141414",
    "151515151515",
    "161616161616",
    "171717171717",
    "181818181818",
)
"""Accounts with a reader role that one stage alone lists."""
SIXTEEN: Final = (HOME, *OTHERS, *MORE_OTHERS)
STRANGER: Final = "999988887777"
"""An account that is not listed."""
OWN_ROLE: Final = "kuma-aws-iam"
READER_ROLE: Final = "kuma-aws-iam-reader"
AUDIENCE: Final = "chaos"
CLAIM: Final = {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}
TAGS: Final = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "demo-app"}

_REGION: Final = "us-east-1"
_ENDPOINT: Final = find_endpoint(load_sts_endpoints(), _REGION)
_LIFETIME: Final = 900


class Tasks:
    """Tasks of an emulated world: each has keys of its own, as each ECS task has."""

    def __init__(self) -> None:
        """Make a world of one home account, other accounts with a reader role, and a stranger."""
        self.world = World()
        self.world.add_role(HOME, OWN_ROLE)
        for account in (*OTHERS, *MORE_OTHERS, STRANGER):
            self.world.add_role(account, READER_ROLE)
        self._numbers = itertools.count(1)
        for account in (*SIXTEEN, STRANGER):
            self.world.add_role(account, "demo-app", tags=TAGS)

    def new_role(self, account: str = HOME) -> str:
        """Make a role that nobody has asked about, tagged for mesh default."""
        name = f"role-{next(self._numbers)}"
        self.world.add_role(account, name, tags=TAGS)
        return name

    def credential(self, account: str = HOME, role: str = "demo-app", *, ahead: timedelta = timedelta()) -> str:
        """Sign for a new task of a role: keys and bytes that nobody has seen.

        Args:
            account: of the role.
            role: its name.
            ahead: how far the task's clock is ahead of ours.
        """
        return encode_native(_presign(self._keys(account, role), expires=_LIFETIME, ahead=ahead))

    def credentials_of_one_task(self, account: str, role: str, number: int) -> Iterator[str]:
        """Sign many times with the same keys; every credential has other bytes."""
        keys = self._keys(account, role)
        for expires in range(_LIFETIME, _LIFETIME - number, -1):
            yield encode_native(_presign(keys, expires=expires))

    @staticmethod
    def forgeries(credential: str, number: int) -> Iterator[str]:
        """Write credentials with the key id of another one, and signatures that are made up."""
        url = decode_base64url(credential.removeprefix(NATIVE_PREFIX)).decode("ascii")
        for made_up in range(number):
            yield encode_native(f"{url[:-16]}{made_up:016x}")

    def _keys(self, account: str, role: str) -> ReadOnlyCredentials:
        return self.world.issue_session(account, role, f"task-{next(self._numbers)}").frozen()


class _DatedSigner(SigV4QueryAuth):
    """botocore's signer with a date that is given; its own reads the clock."""

    def __init__(self, keys: ReadOnlyCredentials, expires: int, at: datetime) -> None:
        super().__init__(keys, "sts", _ENDPOINT.signing_region, expires=expires)
        self._at = at

    def _modify_request_before_signing(self, request: Any) -> None:
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]


def _presign(keys: ReadOnlyCredentials, *, expires: int, ahead: timedelta = timedelta()) -> str:
    request = AWSRequest(
        method="GET",
        url=f"https://{_ENDPOINT.host}/",
        params={"Action": ACTION, "Version": VERSION},
        headers={"x-kuma-audience": AUDIENCE},
    )
    _DatedSigner(keys, expires, datetime.now(UTC) + ahead).add_auth(request)
    url: str = request.prepare().url
    return url


def free_port() -> int:
    """Return a loopback port on which nobody listens at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
