"""Read a CloudFormation template with the short forms of its functions."""

import functools
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[1] / "config" / "cloudformation"


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the long ones."""


def _function(loader: Loader, name: str, node: Any) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


Loader.add_multi_constructor("!", _function)


@functools.cache
def read(name: str) -> dict[str, Any]:
    """Return the template as it is written, with the long forms of the functions. Nobody changes it: it is read once."""
    template: dict[str, Any] = yaml.load((FOLDER / name).read_text("utf-8"), Loader)  # noqa: S506 - a SafeLoader
    return template
