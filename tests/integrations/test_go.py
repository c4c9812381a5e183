"""The Go client in integrations/go: its own tests, which call real services on the emulated AWS."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.core.signed_request import CredentialForm
from app.emulator import FaultKind
from tests.support.process import ROOT, free_address, served, socket_address
from tests.support.tls import Authority
from tests.support.world import (
    ACCOUNT,
    DATAPLANE,
    EGRESS,
    INGRESS,
    OTHER_ACCOUNT,
    PROXY,
    STRANGERS_ACCOUNT,
    Aws,
    recipe_of,
)

MODULE: Final = ROOT / "integrations" / "go"
GO: Final = shutil.which("go")
SECONDS: Final = 900  # a first build compiles Go's standard library, with the race detector too

HANGING_ACCOUNT: Final = "555566667777"  # a listed account, for which STS does not answer

pytestmark = [
    pytest.mark.go,
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(GO is None, reason="Go is not installed, so the Go client in integrations/go is NOT tested"),
]


def go(*arguments: str, **variables: str) -> str:
    """Run a command of Go in the module, offline and with the installed toolchain; return what it prints."""
    assert GO is not None
    environment = {**os.environ, "GOFLAGS": "", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOWORK": "off", **variables}
    done = subprocess.run(  # noqa: S603 - the installed Go
        [GO, *arguments], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def race_detector() -> tuple[str, ...]:
    """The race detector needs cgo and a C compiler."""
    compiler = go("env", "CC").split()
    return ("-race",) if go("env", "CGO_ENABLED").strip() == "1" and compiler and shutil.which(compiler[0]) else ()


def test_the_module_is_formatted_and_vetted() -> None:
    assert GO is not None
    gofmt = Path(GO).with_name("gofmt")
    listed = subprocess.run([gofmt, "-l", MODULE], capture_output=True, text=True, check=True)  # noqa: S603 - Go's own
    assert not listed.stdout
    go("vet", "./...")


def test_the_module_needs_the_standard_library_alone() -> None:
    assert go("list", "-m", "all").split() == ["kuma-aws-iam/integrations/go"]


@dataclass(frozen=True)
class Scene:
    """The facts that the Go tests get: see the type of this name in integrations/go/service_test.go."""

    aws: Aws

    def cases(self) -> Iterator[dict[str, Any]]:
        yield from self._allowed()
        yield from self._rejected()
        yield from self._denied()
        yield self._case("sts_throttled", self.aws.credential("backend", OTHER_ACCOUNT), PROXY, 503, "sts_throttled")
        too_many = {**PROXY, "labels": {f"label-{number}": "x" for number in range(257)}}
        yield self._case("too many labels", self.aws.credential(), too_many, 400, "malformed_request")

    def _allowed(self) -> Iterator[dict[str, Any]]:
        identity = {"Type": "dataplane", "Mesh": "default", "Service": "demo-app"}
        yield self._case("dataplane", self.aws.credential(), PROXY, 200, identity=identity)
        yield self._case("no proxy", self.aws.credential(), None, 200, identity=identity)
        yield self._case(
            "workload",
            self._credential({**DATAPLANE, "kuma.io/workload": "demo"}),
            {**PROXY, "labels": {"kuma.io/workload": "demo"}},
            200,
            identity={**identity, "Workload": "demo"},
        )
        yield self._case(
            "ingress",
            self._credential({**INGRESS, "kuma.io/zone": "east"}),
            {"type": "ingress", "name": "in-1", "zone": "east"},
            200,
            identity={"Type": "ingress", "Zone": "east"},
        )
        yield self._case(
            "egress in a Dataplane",
            self._credential({**EGRESS, "kuma.io/mesh": "default"}),
            {"type": "dataplane", "mesh": "default", "name": "out-1", "listeners": ["ZoneEgress"]},
            200,
            identity={"Type": "egress", "Mesh": "default"},
        )

    def _rejected(self) -> Iterator[dict[str, Any]]:
        recipe = recipe_of(self.aws.task())
        late = replace(recipe, now=datetime.now(UTC) - timedelta(minutes=20))
        # The service adds its own audience to a presigned URL, so only an envelope shows another one before STS is asked.
        envelope = recipe_of(self.aws.task(), CredentialForm.PLAIN_ENVELOPE)
        soon = replace(recipe, now=datetime.now(UTC) + timedelta(minutes=20))
        for reason, credential in {
            "credential_malformed": "no credential",
            "audience_mismatch": replace(envelope, audience="another-control-plane").credential(),
            "credential_expired": late.credential(),
            "credential_not_yet_valid": soon.credential(),
            "sts_rejected": replace(recipe, secret_key="another key").credential(),
        }.items():
            yield self._case(reason, credential, PROXY, 401, reason)
        yield self._case("an empty credential", "", PROXY, 401, "credential_malformed")
        yield self._case("a credential beyond the bound", "x" * 12_289, PROXY, 401, "credential_malformed")

    def _denied(self) -> Iterator[dict[str, Any]]:
        demo_app = self.aws.credential()
        zone = self._credential({**INGRESS, "kuma.io/zone": "east"})
        for reason, credential, proxy in (
            ("account_not_authorized", self.aws.credential(account=STRANGERS_ACCOUNT), PROXY),
            ("role_type_missing", self._credential({}), PROXY),
            ("proxy_type_mismatch", demo_app, {**PROXY, "type": "ingress"}),
            ("proxy_type_mismatch", demo_app, {**PROXY, "listeners": ["ZoneEgress"]}),
            ("proxy_mesh_mismatch", demo_app, {**PROXY, "mesh": "another"}),
            ("proxy_service_mismatch", demo_app, {**PROXY, "tags": {"kuma.io/service": ["demo-app", "another"]}}),
            ("proxy_workload_mismatch", demo_app, {**PROXY, "labels": {"kuma.io/workload": "another"}}),
            ("proxy_zone_mismatch", zone, {"type": "ingress", "zone": "west"}),
        ):
            yield self._case(reason, credential, proxy, 403, reason)

    def _credential(self, tags: Mapping[str, str]) -> str:
        return recipe_of(self.aws.session_of(self.aws.add_role(tags))).credential()

    def _case(
        self,
        name: str,
        credential: str,
        proxy: Mapping[str, Any] | None,
        status: int,
        reason: str = "",
        **more: Mapping[str, str],
    ) -> dict[str, Any]:
        identity = more.get("identity", {})
        return {
            "Name": name,
            "Credential": credential,
            "Proxy": proxy,
            "Status": status,
            "Reason": reason,
            "Identity": identity,
        }

    def storm(self) -> list[str]:
        return [self.aws.credential() for _ in range(16)]


@contextlib.contextmanager
def services(aws: Aws, folder: Path) -> Iterator[dict[str, str]]:
    """Four services: on loopback, on a Unix socket, over TLS with caller authentication, and one with small limits."""
    authority = Authority(folder / "authority")
    server = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    caller = authority.issue("caller", ExtendedKeyUsageOID.CLIENT_AUTH)
    tokens = folder / "tokens"
    tokens.write_text("# of the control plane\ncanary-token-0123456789-abcdefghijkl\n")
    tokens.chmod(0o600)
    variables = {
        **aws.service_environment(),
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": f"{ACCOUNT},{OTHER_ACCOUNT},{HANGING_ACCOUNT}",
        "KMESH_AWSIAM_DECISION_TIMEOUT": "60",
    }
    known_callers = {
        "KMESH_AWSIAM_TLS_CERT_FILE": str(server.cert),
        "KMESH_AWSIAM_TLS_KEY_FILE": str(server.key),
        "KMESH_AWSIAM_TLS_CLIENT_CA_FILE": str(authority.cert),
        "KMESH_AWSIAM_CALLER_TOKEN_FILE": str(tokens),
    }
    slow = {"KMESH_AWSIAM_STS_RATE": "1", "KMESH_AWSIAM_DECISION_TIMEOUT": "2"}
    with contextlib.ExitStack() as running:
        addresses = {
            "Plain": free_address(),
            "Unix": running.enter_context(socket_address()),
            "TLS": free_address(),
            "Slow": free_address(),
        }
        more = {"Plain": {}, "Unix": {}, "TLS": known_callers, "Slow": slow}
        for name, address in addresses.items():
            service = running.enter_context(served(address, **{**variables, **more[name]}))
            service.wait_for("own account")
        yield {
            **addresses,
            "CAFile": str(authority.cert),
            "CertFile": str(caller.cert),
            "KeyFile": str(caller.key),
            "TokenFile": str(tokens),
        }


def test_the_client_calls_the_real_service(aws: Aws, tmp_path: Path) -> None:
    # Compiled first, since a credential is valid for 15 minutes.
    program = tmp_path / "client.test"
    go("test", *race_detector(), "-c", "-o", str(program), ".")
    aws.add_named_role(HANGING_ACCOUNT, "demo-app", tags=DATAPLANE)
    with services(aws, tmp_path) as addresses:
        aws.emulator.faults.sts.inject(FaultKind.THROTTLE, account=OTHER_ACCOUNT)
        aws.emulator.faults.sts.inject(FaultKind.HANG, account=HANGING_ACCOUNT)
        scene = Scene(aws)
        described = {
            **addresses,
            "Cases": list(scene.cases()),
            "Hanging": aws.credential(account=HANGING_ACCOUNT),
            "Storm": scene.storm(),
        }
        done = subprocess.run(  # noqa: S603 - the program that was just built
            [program, "-test.v", "-test.count=1"],
            cwd=MODULE,
            env={"KUMA_AWS_IAM_GO_SCENE": json.dumps(described), "PATH": os.defpath, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        aws.settle()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- SKIP" not in done.stdout, done.stdout
    assert "--- PASS: TestServiceDecides" in done.stdout
