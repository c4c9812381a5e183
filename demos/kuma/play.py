"""What the rows of the demonstration do: make keys, run agents, and ask a stock control plane about their tokens.

The control plane's part (`demos.kuma.validator`) has no code of the service: it reads the configuration that
``kuma-aws-iam keys generate`` prints, and the token file that an agent has written.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from app.demo.stage import Stage, StageError
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError

_VARIABLE_MARK: Final = "#   "


@dataclass(frozen=True, slots=True)
class Keys:
    """A key of each kind.

    Attributes:
        folder: holds them, and the files that name them.
        printed: what the command has printed, for the operator of the control plane.
        configuration: that text, as the control plane reads it.
        settings: of the service.
    """

    folder: Path
    printed: str
    configuration: Mapping[str, Any]
    settings: Mapping[str, str]


def make_keys(folder: Path) -> Keys:
    """Have the command make a key for data planes and another one for zone proxies, as an operator does.

    Raises:
        StageError: it did not.
    """
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "app", "keys", "generate", "--kind", "both", "--for", "2.x", "--out", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise StageError(f"the keys could not be made:\n{done.stderr}")
    variables = [
        line.removeprefix(_VARIABLE_MARK) for line in done.stdout.splitlines() if line.startswith(_VARIABLE_MARK)
    ]
    settings = dict(variable.split("=", 1) for variable in variables)
    return Keys(folder, done.stdout, yaml.safe_load(done.stdout), settings)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided, and the words for it."""

    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Played:
    """What checks look at: the stage, the keys, and the token file of each role's agent."""

    stage: Stage
    keys: Keys

    def token_file(self, role: str) -> Path:
        """Return where the agent of a role writes."""
        return self.keys.folder / f"{role}.token"

    def token(self, role: str) -> str:
        """Return what its agent has written."""
        return self.token_file(role).read_text(encoding="ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the table.

    Attributes:
        title: who does what.
        sent: with which words.
        verdict: what must be decided.
        because: a part of the reason.
        run: does it.
    """

    title: str
    sent: str
    verdict: str
    because: str
    run: Callable[[Played], Outcome]

    def is_met_by(self, outcome: Outcome) -> bool:
        """Whether it came as it must."""
        return outcome.verdict == self.verdict and self.because in outcome.why


def play(stage: Stage, keys: Keys, checks: Iterable[Check]) -> Iterator[tuple[Check, Outcome]]:
    """Run each check in turn, and yield it with its outcome."""
    played = Played(stage, keys)
    for check in checks:
        yield check, check.run(played)


# Agents.


def run_agent(role: str, *claim: str) -> Callable[[Played], Outcome]:
    """Return what runs the agent of a role once, in token mode: allowed if it wrote a token."""

    def run(played: Played) -> Outcome:
        options = ("--mode", "token", "--service-url", played.stage.service_url, "--once", "--give-up-after", "0")
        path = str(played.token_file(role))
        done = played.stage.run(role, "agent", "--token-file", path, *options, *claim)
        last = [line for line in map(_event, done.stdout.splitlines()) if line.get("event") in ("renewed", "gave up")]
        if done.returncode != 0 or not last:
            why = f"{last[-1]['reason']}: {last[-1]['detail']}" if last else done.stdout + done.stderr
            return Outcome("denied", f"agent ended with {done.returncode}; {why}")
        claims = _claims(played.token(role))
        shown = " ".join(f"{name}={_words(claims[name])}" for name in _SHOWN if name in claims)
        return Outcome("allowed", f"a token for {shown}, signed by {last[-1]['kid']}, until {last[-1]['ends_at']}")

    return run


_SHOWN: Final = ("Mesh", "Name", "Tags", "Workload", "Zone", "Scope", "Type")


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _event(line: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return event


def check_health(role: str) -> Callable[[Played], Outcome]:
    """Return what runs the health check of a role's agent: accepted if it ends with status 0."""

    def run(played: Played) -> Outcome:
        done = played.stage.run(role, "agent", "--health", "--token-file", str(played.token_file(role)))
        return Outcome("accepted" if done.returncode == 0 else "refused", (done.stdout + done.stderr).strip())

    return run


# The control plane.


def as_dataplane(role: str, resource: DataplaneResource, **how: Any) -> Callable[[Played], Outcome]:
    """Return what shows a role's token to the control plane, as the stream of this data plane."""

    def check(validator: KumaValidator, token: str, now: float) -> str:
        validator.check_dataplane(token, resource, now)
        return f"it may be the data plane {resource.name} of mesh {resource.mesh}{_identity(resource)}"

    return _ask(role, check, **how)


def _identity(resource: DataplaneResource) -> str:
    labels = [f"label {key}={value}" for key, value in resource.labels.items()]
    tags = [f"tag {key}={'+'.join(sorted(values))}" for key, values in resource.tags.items()]
    return "".join(f", {each}" for each in labels + tags)


def as_zone_proxy(role: str, scope: str, zone: str, **how: Any) -> Callable[[Played], Outcome]:
    """Return what shows a role's token to the control plane, as the stream of an ingress or egress of Kuma 2.x."""

    def check(validator: KumaValidator, token: str, now: float) -> str:
        validator.check_zone_proxy(token, scope, zone, now)
        return f"it may be the {scope} of zone {zone}"

    return _ask(role, check, **{"has_only_labels": False, **how})


def _ask(
    role: str,
    check: Callable[[KumaValidator, str, float], str],
    *,
    has_only_labels: bool = True,
    later: float = 0.0,
    change: Callable[[str], str] = str,
    is_revoked: bool = False,
) -> Callable[[Played], Outcome]:
    def run(played: Played) -> Outcome:
        token = played.token(role)
        revoked = {str(_claims(token)["jti"])} if is_revoked else set[str]()
        try:
            validator = KumaValidator(played.keys.configuration, revoked, has_only_labels=has_only_labels)
            why = check(validator, change(token), time.time() + later)
        except RefusedError as error:
            return Outcome("refused", str(error))
        return Outcome("accepted", why)

    return run


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def for_another_mesh(token: str) -> str:
    """Write another mesh into the claims, and leave the signature."""
    header, _, signature = token.split(".")
    claims = json.dumps({**_claims(token), "Mesh": "payments"}).encode()
    return f"{header}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{signature}"


def dataplane(mesh: str = "default", workload: str = "demo-app", *services: str) -> DataplaneResource:
    """Return a Dataplane of Kuma 3.0; with an inbound for each service, one that 2.14 reads too."""
    tags = {"kuma.io/service": set(services)} if services else {}
    return DataplaneResource(mesh=mesh, name="demo-app-1", tags=tags, labels={"kuma.io/workload": workload})
