"""The packages of the image, told apart from those for development: what is measured is what is shipped.

Some libraries load whatever optional package they find, so a package for development would add to the measured memory.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

_LOCK: Final = Path(__file__).parents[1] / "requirements" / "runtime.txt"
_OWN: Final = "kuma-aws-iam"
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
# Runs the service as `python -m app serve`, but the modules that are named in the first argument cannot be imported.
_LAUNCHER: Final = (
    "import runpy, sys\n"
    "for name in sys.argv.pop(1).split(','): sys.modules.setdefault(name, None)\n"
    "runpy.run_module('app', run_name='__main__', alter_sys=True)\n"
)


def command_without(python: str, hidden: Collection[str]) -> list[str]:
    """Return the command that serves while some modules cannot be imported."""
    return [python, "-c", _LAUNCHER, ",".join(hidden), "serve"]


def development_modules() -> list[str]:
    """Return the installed top-level modules that no package of the image brings."""
    return sorted(not_of(_pinned(_LOCK.read_text(encoding="utf-8")), packages_distributions()))


def not_of(wanted: Collection[str], distributions: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the modules of distributions that are not wanted.

    Args:
        wanted: normalized names of distributions.
        distributions: those that bring each top-level module.
    """
    for module, names in distributions.items():
        if module.isidentifier() and not {_normalize(name) for name in names} & {*wanted, _OWN}:
            yield module


def _pinned(lock: str) -> set[str]:
    return {_normalize(name) for name in _PIN.findall(lock)}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
