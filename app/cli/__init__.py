"""The command line. Exit status: 0 done or allowed, 1 denied or failed, 2 usage or settings."""

import importlib
import importlib.util
from collections.abc import Iterator, MutableMapping
from typing import Final

import click

from app import __version__

# Each command, and the module that contains it.
_MODULES: Final = {
    "serve": "app.cli.serve",
    "check-config": "app.cli.serve",
    "credential": "app.cli.credential",
    "agent": "app.cli.agent",
    "authenticate": "app.cli.authenticate",
    "explain-role": "app.cli.explain_role",
    "doctor": "app.cli.doctor",
    "preview": "app.cli.preview",
    "health": "app.cli.health",
    "keys": "app.cli.keys",
    "controller": "app.cli.controller",
    "emulator": "app.cli.emulator",
    "demo": "app.cli.demo",
}


class LazyCommands(MutableMapping[str, click.Command]):
    """The commands. Each is imported only when it is called, so that an agent does not load libraries of other commands.

    The distribution kuma-aws-iam-agent contains some of the modules only. There the other commands do not exist.
    """

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}
        self._modules = {name: module for name, module in _MODULES.items() if importlib.util.find_spec(module)}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._modules and name not in self._added:
            command: click.Command = getattr(importlib.import_module(self._modules[name]), name.replace("-", "_"))
            self._added[name] = command
        return self._added[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._modules, *self._added)))

    def __len__(self) -> int:
        return len(self._modules.keys() | self._added.keys())


# Kong's image of its controller has the command `run`. A task definition keeps it when only the image changes.
_ALIASES: Final = {"run": "controller"}


class _Commands(click.Group):
    """The group of all commands. An alias is in no list of commands."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = _ALIASES.get(cmd_name, cmd_name)
        return super().get_command(ctx, name)


@click.group(
    cls=_Commands,
    commands=LazyCommands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kuma-aws-iam")
def main() -> None:
    """AWS IAM workload identity for Kuma and Kong Mesh.

    A proxy signs an sts:GetCallerIdentity request with its task's IAM role and presents it as its credential. This service
    sends the request to STS, which verifies the signature and names the role. Then the service reads the role's kuma.io/*
    tags, and answers which identity the proxy may have.

    \b
    Beside a control plane:   kuma-aws-iam check-config && kuma-aws-iam serve
    Beside a proxy:           kuma-aws-iam agent --mode token --token-file /run/kuma/token
    When a proxy is refused:  kuma-aws-iam explain-role 111122223333/demo-app
    When nothing works:       kuma-aws-iam doctor
    Beside a stock Kuma:      kuma-aws-iam keys generate --kind both > kuma-cp.yaml
    On ECS without agents:    kuma-aws-iam controller --api-server-url https://cp.mesh:5682
    Without AWS:              kuma-aws-iam demo

    Exit status: 0 done or allowed, 1 denied or failed, 2 usage or settings.
    """
