"""The options of ``python -m bench.storm``, and what ``--help`` says about them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.storm.catalogue import STORMS
from bench.storm.shape import MOST_ACCOUNTS, STREAMS, Shape

USUAL_SECONDS: Final = 360.0
ALL_SECONDS: Final = 2_400.0
_EXAMPLES: Final = """\
examples (make bench-storm B="..."):
  --only one-4k one-8k                      two of the storms above
  --only one-4k --sidecars 1000 --roles 40  the same, smaller: a look that takes some seconds
  --accounts 1 --sidecars 2000              the restarts, in another shape
  --only one-4k --gives-up-after 2 --tls    the same with callers that give up, and TLS to AWS
  --all --plot build/storms                 every storm (15 to 20 minutes), and their plots

The bound of a storm is the larger of roles / KMESH_AWSIAM_IAM_RATE and credentials / KMESH_AWSIAM_STS_RATE of the
fullest account. A storm may take 1.25 times its bound; 1.5 times where callers give up or ignore Retry-After.
"""


def read_options(words: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Read the command line; `changes_of` turns the options of the shape into a change of each storm."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.storm",
        description=description,
        epilog=f"storms (* those that are played without being asked for):\n{_list_storms()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_argument_group("which storms")
    which.add_argument(
        "--only", nargs="+", metavar="NAME", choices=list(STORMS), help="play these storms, and those that they need"
    )
    which.add_argument("--all", action="store_true", help="play every storm")
    which.add_argument(
        "--seconds",
        type=float,
        help=f"for all storms together; one that comes too late is a broken promise (default: {USUAL_SECONDS:g}, with "
        f"--all {ALL_SECONDS:g})",
    )
    which.add_argument("--plot", type=Path, metavar="DIR", help="write SVG plots there, three for each group of storms")
    shape = parser.add_argument_group(
        "their shape", "Changes every storm that is played. Without --only or --all those are the restarts."
    )
    shape.add_argument(
        "--accounts", type=int, choices=range(1, MOST_ACCOUNTS + 1), help="over which the roles are spread"
    )
    shape.add_argument("--roles", type=_positive, metavar="N", help="over all accounts")
    shape.add_argument("--sidecars", type=_positive, metavar="N", help="over all roles, a credential each")
    shape.add_argument("--presentations", type=int, choices=sorted(STREAMS), help="of each credential")
    shape.add_argument(
        "--connections",
        type=_positive,
        metavar="N",
        help="kept alive, over all replicas; the service holds 8,192 decisions at once",
    )
    shape.add_argument(
        "--gives-up-after",
        type=_seconds,
        metavar="S",
        help="a caller without an answer after S seconds closes its connection, and comes again at once",
    )
    shape.add_argument(
        "--comes-again-after",
        type=_seconds,
        metavar="S",
        help="a caller that was refused comes again after S seconds, whatever Retry-After says",
    )
    shape.add_argument("--tls", action="store_true", default=None, help="reach STS and IAM over TLS, as AWS has it")
    options = parser.parse_args(words)
    if options.all and options.only:
        parser.error("--all and --only exclude each other")
    if options.seconds is None:
        options.seconds = ALL_SECONDS if options.all else USUAL_SECONDS
    return options


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the attributes of `Shape` that were given."""
    given = {name: getattr(options, name) for name in Shape.__dataclass_fields__}
    return {name: value for name, value in given.items() if value is not None}


def _list_storms() -> str:
    lines = []
    for storm in STORMS.values():
        mark = "*" if storm.is_usual else " "
        lines.append(f"  {mark} {storm.name:14} {storm.words}")
    return "\n".join(lines)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number
