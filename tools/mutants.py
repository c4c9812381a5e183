"""Remove each rule of app/core in turn and see a test fail: ``make mutants``.

A mutant is one module of the core with one small thing undone: a ``raise`` left out, a condition that always or never
holds, one half of an ``and``, a rule out of its table, a name out of its closed set, ``fullmatch`` become ``match``. The
module's own test file runs first, if it has one, and all quick tests only if that one passes. A mutant that survives them
is a rule that nobody tests: a line names it, and the exit status is 1.

Usage: python tools/mutants.py [MODULE ...]      (such as ``sigv4``; every module of app/core without)
"""

import ast
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = Path("app/core")
QUICK_TESTS: Final = ("tests/core", "tests/test_cves.py")
WORKERS: Final = 2
# Far more than the tests take, even on a busy machine. A mutant that exceeds it counts as killed.
TIMEOUT_SECONDS: Final = 300

# Mutants with the same behaviour as the code, and why. A row that matches none is an error.
EQUIVALENT: Final = {
    (
        "key_account",
        "140737488355200 with 140737488355201 for 140737488355200",
    ): "the lowest bit of the mask is shifted away",
    (
        "presigned",
        "never: _CANONICAL.fullmatch(query) and query.count('=') == len(PARAMETERS)",
    ): "the values are decoded and encoded again, so it only saves time",
    ("presigned", "never: '%' not in value"): "what is replaced is not there; it is for speed",
    (
        "forwarding",
        "without the operand request.encoded",
    ): "each value is encoded to the same text; it is for speed",
    (
        "role_grant",
        "always: grant.type is not ProxyType.DATAPLANE",
    ): "a data plane's grant has a mesh and no zone, so the check finds at most the proxy's zone; it is for speed",
    ("sigv4", "_AMZ_DATE.fullmatch → _AMZ_DATE.match"): "datetime.fromisoformat takes nothing behind the Z",
    (
        "signed_request",
        "_URL.fullmatch → _URL.match",
    ): "the pattern matches any text after it, and an earlier rule refuses line breaks",
    (
        "strict_json",
        "never: b'[' * (MAX_NESTING + 1) in brackets",
    ): "the brackets of the outer levels are then left over in the end; it is for speed",
}

_PYTEST: Final = (
    *("-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "--noconftest", "-p", "no:cacheprovider"),
    # They take half a second at every start, and are not needed here.
    *("-p", "no:xdist", "-p", "no:cov", "-p", "no:hypothesispytest", "-p", "no:anyio"),
)
_PASSED: Final = 0
_FAILED: Final = (1, 2)  # a test failed; a module or a test file could not be imported


@dataclass(frozen=True, slots=True)
class Site:
    """One part of a tree that can be undone."""

    line: int
    what: str
    undo: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One module with one part undone."""

    module: str
    line: int
    what: str
    source: str


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module of the core."""
    text = (ROOT / CORE / f"{module}.py").read_text()
    for number in range(len(_sites(ast.parse(text)))):
        tree = ast.parse(text)
        site = _sites(tree)[number]
        site.undo()
        yield Mutant(module, site.line, site.what, ast.unparse(ast.fix_missing_locations(tree)))


def _sites(tree: ast.Module) -> list[Site]:
    """Return the parts of a tree that can be undone, in an order that depends only on the tree."""
    kinds = (_raises, _conditions, _operands, _bounds, _limits, _pairs, _handlers, _rules, _members, _fullmatches)
    return [site for kind in kinds for site in kind(tree)]


def _raises(tree: ast.Module) -> Iterator[Site]:
    for node in ast.walk(tree):
        for body in (getattr(node, name, None) for name in ("body", "orelse")):
            if not isinstance(body, list):
                continue
            for at, statement in enumerate(body):
                if isinstance(statement, ast.Raise):
                    what = f"never: {_said(node.test)}" if isinstance(node, ast.If) else f"no {_said(statement)}"
                    yield Site(statement.lineno, what, _setter(body, at, ast.Pass()))


def _conditions(tree: ast.Module) -> Iterator[Site]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            yield Site(node.lineno, f"always: {_said(node.test)}", _attribute_setter(node, "test", ast.Constant(True)))
            if not (isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)):  # that is `_raises`
                yield Site(
                    node.lineno, f"never: {_said(node.test)}", _attribute_setter(node, "test", ast.Constant(False))
                )
        if isinstance(node, ast.comprehension):
            for at, test in enumerate(node.ifs):
                yield Site(test.lineno, f"always: {_said(test)}", _setter(node.ifs, at, ast.Constant(True)))


def _operands(tree: ast.Module) -> Iterator[Site]:
    for node in ast.walk(tree):
        if isinstance(node, ast.BoolOp):
            for at, value in enumerate(node.values):
                yield Site(value.lineno, f"without the operand {_said(value)}", _remover(node.values, at=at))


def _bounds(tree: ast.Module) -> Iterator[Site]:
    other = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in other:
            yield Site(node.lineno, f"bound of {_said(node)}", _setter(node.ops, 0, other[type(node.ops[0])]()))


def _limits(tree: ast.Module) -> Iterator[Site]:
    for value in _values_of_constants(tree):
        for node in ast.walk(value):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                what = f"{_said(value)} with {node.value + 1} for {node.value}"
                yield Site(node.lineno, what, _attribute_setter(node, "value", node.value + 1))


def _pairs(tree: ast.Module) -> Iterator[Site]:
    """Comparisons of several things at once: (a, b) != (c, d), and {a, b} != {c}."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        left, right = node.left, node.comparators[0]
        if isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple) and len(left.elts) == len(right.elts):
            for at, element in enumerate(left.elts):
                yield Site(node.lineno, f"without comparing {_said(element)}", _remover(left.elts, right.elts, at=at))
        elif isinstance(left, ast.Set) and len(left.elts) > 1:
            for at, element in enumerate(left.elts):
                yield Site(node.lineno, f"without comparing {_said(element)}", _remover(left.elts, at=at))


def _handlers(tree: ast.Module) -> Iterator[Site]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Tuple):
            for at, name in enumerate(node.type.elts):
                yield Site(node.lineno, f"without catching {_said(name)}", _remover(node.type.elts, at=at))


def _rules(tree: ast.Module) -> Iterator[Site]:
    for table in _values_of_constants(tree):
        if isinstance(table, ast.Tuple) and all(isinstance(entry, ast.Name) for entry in table.elts):
            for at, rule in enumerate(table.elts):
                yield Site(rule.lineno, f"without the rule {_said(rule)}", _remover(table.elts, at=at))


def _members(tree: ast.Module) -> Iterator[Site]:
    closed = [node for value in _values_of_constants(tree) for node in ast.walk(value) if isinstance(node, ast.Set)]
    asked = [
        choices
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)  # codespell:ignore notin
        for choices in node.comparators
        if isinstance(choices, ast.Tuple | ast.Set)
    ]
    for names in (*closed, *asked):
        for at, name in enumerate(names.elts):
            yield Site(name.lineno, f"without the member {_said(name)}", _remover(names.elts, at=at))


def _fullmatches(tree: ast.Module) -> Iterator[Site]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "fullmatch":
            pattern = _said(node.value)
            what = f"{pattern}.fullmatch → {pattern}.match"
            yield Site(node.lineno, what, _attribute_setter(node, "attr", "match"))


def _values_of_constants(tree: ast.Module) -> list[ast.expr]:
    return [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None]


def _said(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _setter(nodes: list[Any], at: int, node: ast.AST) -> Callable[[], None]:
    return lambda: nodes.__setitem__(at, node)


def _attribute_setter(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, name, value)


def _remover(*lists: list[Any], at: int) -> Callable[[], None]:
    def undo() -> None:
        for nodes in lists:
            del nodes[at]

    return undo


class Workbench:
    """A copy of the repository, in which the mutants are tried one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        caches = shutil.ignore_patterns("__pycache__")
        for name in ("app", "tests"):
            shutil.copytree(ROOT / name, root / name, ignore=caches)
        shutil.copy(ROOT / "pyproject.toml", root)

    def kills(self, mutant: Mutant) -> bool:
        """Return whether a test fails with this mutant."""
        original = (self.root / CORE / f"{mutant.module}.py").read_text()
        self._write(mutant.module, mutant.source)
        try:
            own = f"tests/core/test_{mutant.module}.py"
            return not ((not (self.root / own).exists() or self.passes(own)) and self.passes(*QUICK_TESTS))
        finally:
            self._write(mutant.module, original)

    def passes(self, *tests: str) -> bool:
        """Run some tests.

        Raises:
            RuntimeError: pytest itself did not work.
        """
        command = [sys.executable, *_PYTEST, *tests]
        try:
            run = subprocess.run(  # noqa: S603 - our own interpreter and constants
                command, cwd=self.root, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False  # it hangs, which is a visible failure
        if run.returncode not in (_PASSED, *_FAILED):
            raise RuntimeError(f"pytest ended with {run.returncode}:\n{run.stdout}{run.stderr}")
        return run.returncode == _PASSED

    def _write(self, module: str, source: str) -> None:
        path = self.root / CORE / f"{module}.py"
        path.write_text(source)
        # Python identifies a cached file by size and second, which two mutants can share.
        for cache in path.parent.glob(f"__pycache__/{module}.*"):
            cache.unlink()


def main(modules: list[str]) -> int:
    """Try every mutant and report; return the exit status."""
    names = modules or sorted(path.stem for path in (ROOT / CORE).glob("*.py") if path.stem != "__init__")
    mutants = [mutant for name in names for mutant in mutants_of(name)]
    tried = [mutant for mutant in mutants if (mutant.module, mutant.what) not in EQUIVALENT]
    start = time.monotonic()
    with TemporaryDirectory(prefix="mutants-") as directory:
        benches = [Workbench(Path(directory, str(number))) for number in range(WORKERS)]
        if not benches[0].passes(*QUICK_TESTS):
            print("The tests fail without any mutant; mend them first.", file=sys.stderr)
            return 1
        survivors = list(_survivors(tried, benches))
    print(f"{len(tried)} mutants, {len(survivors)} survived, {time.monotonic() - start:.0f} s")
    stale = [row for row in EQUIVALENT if row[0] in names and row not in {(each.module, each.what) for each in mutants}]
    for row in stale:
        print(f"EQUIVALENT names a mutant that does not exist: {row}")
    return 1 if survivors or stale else 0


def _survivors(mutants: list[Mutant], benches: list[Workbench]) -> Iterator[Mutant]:
    """Yield and print the mutants with which no test fails, in the order of the code."""
    free: SimpleQueue[Workbench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def is_killed(mutant: Mutant) -> bool:
        bench = free.get()
        try:
            return bench.kills(mutant)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as pool:
        for mutant, killed in zip(mutants, pool.map(is_killed, mutants), strict=True):
            if not killed:
                print(f"survived: {CORE / mutant.module}.py:{mutant.line}: {mutant.what}", flush=True)
                yield mutant


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
