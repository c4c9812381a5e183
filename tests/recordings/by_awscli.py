"""What awscli makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capture import LOOPBACK_URL, clean_environment, loopback
from recording import AUDIENCE, REGION, Recording, Seen, plain_envelope, url_in_eks_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_AWS = (str(Path(sys.executable).with_name("aws")),)
_AWS_HELD_BACK = (sys.executable, str(Path(__file__).with_name("awscli_held_back.py")))
_GET_TOKEN = ("eks", "get-token", "--cluster-name", AUDIENCE)
_GET_CALLER_IDENTITY = ("sts", "get-caller-identity")
_REGION = {"AWS_DEFAULT_REGION": REGION}
_GLOBAL = {**_REGION, "AWS_STS_REGIONAL_ENDPOINTS": "legacy"}
_FIPS = {**_REGION, "AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}
_LOCAL = {**_REGION, "AWS_ENDPOINT_URL_STS": LOOPBACK_URL}


def recordings() -> Iterator[Recording]:
    """Yield the tokens for EKS, then GetCallerIdentity as it arrives and as it is signed for the real hosts."""
    yield _eks_token("us-east-1", _REGION)
    yield _eks_token("eu-west-1", {"AWS_DEFAULT_REGION": "eu-west-1"})
    yield _eks_token("global", _GLOBAL)
    yield _eks_token("fips-dual-stack", _FIPS)
    yield _eks_token("aws-region-alone", {"AWS_REGION": "eu-west-1"})  # as ECS sets it; awscli 1 reads another name
    yield _eks_token("endpoint-url", _LOCAL)
    with loopback() as server:
        _run(_AWS, _GET_CALLER_IDENTITY, _LOCAL)
        yield _call("loopback", f"{_shell(_GET_CALLER_IDENTITY, _LOCAL)}  (as it arrived)", server.request)
    for case, settings in (("us-east-1", _REGION), ("global", _GLOBAL)):
        how = f"{_shell(_GET_CALLER_IDENTITY, settings)}  (held back at before-send)"
        yield _call(case, how, _held_back(settings))


def _eks_token(case: str, settings: Mapping[str, str]) -> Recording:
    output = _run(_AWS, _GET_TOKEN, settings)
    token = json.loads(output)["status"]["token"]
    return Recording(
        case=f"awscli-eks-get-token-{case}",
        tool="awscli",
        how=_shell(_GET_TOKEN, settings),
        request=Seen.of("GET", url_in_eks_token(token), [("x-k8s-aws-id", AUDIENCE)], ""),
        form="EKS, made by the tool",
        credential=token,
        output=output,
    )


def _call(case: str, how: str, request: Seen) -> Recording:
    return Recording(
        case=f"awscli-get-caller-identity-{case}",
        tool="awscli",
        how=how,
        request=request,
        form="plain envelope, assembled",
        credential=plain_envelope(request),
    )


def _run(program: tuple[str, ...], command: tuple[str, ...], settings: Mapping[str, str]) -> str:
    everything = {**clean_environment(), **settings}
    done = subprocess.run([*program, *command], env=everything, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - programs and commands stand above
    return done.stdout


def _held_back(settings: Mapping[str, str]) -> Seen:
    return Seen.of(**json.loads(_run(_AWS_HELD_BACK, _GET_CALLER_IDENTITY, settings)))


def _shell(command: tuple[str, ...], settings: Mapping[str, str]) -> str:
    return " ".join([*(f"{name}={value}" for name, value in settings.items()), "aws", *command])
