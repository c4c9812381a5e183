"""Which package may import which one, which may read the environment, and that an import only defines names."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "app").rglob("*.py"))
}


class _Trees(Mapping[str, ast.Module]):
    """The syntax tree of each module, made when it is first asked for: each of pytest's workers collects these tests."""

    def __getitem__(self, name: str) -> ast.Module:
        return _parsed(MODULES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


TREES = _Trees()

# Pure modules outside the core.
PURE = [
    "app.core",
    "app.tokens.claims",
    "app.tokens.codec",
    "app.tokens.reading",
    "app.tokens.subject",
    "app.policy.verdict",
]
# The core is pure: no I/O, no clock, no logging, no environment, no randomness.
PURE_LIBRARY = {
    "base64",
    "binascii",
    "collections.abc",
    "dataclasses",
    "datetime",
    "decimal",  # numbers without a loss of digits
    "enum",
    "functools",  # caches the results of a pure function
    "hashlib",
    "json",
    "re",
    "types",
    "typing",
    "urllib.parse",
    "xml.etree",
}
IMPURE_CALLS = {"now", "utcnow", "today", "fromtimestamp", "open", "print", "input", "exec", "eval", "urlopen", "parse"}
# Besides the settings: the demo passes the environment, without AWS's and the service's variables, to its processes.
MAY_READ_ENVIRONMENT = {"app.settings.environment", "app.demo.stage"}
# Calls that take time, read files or use the network. They belong in functions that somebody calls.
HEAVY_CALLS = {
    "open",
    "print",
    "read_text",
    "read_bytes",
    "run",
    "Popen",
    "connect",
    "socket",
    "client",
    "resource",
    "Session",
    "get_session",
    "Loader",
    "load_data",
    "load_service_model",
    "load_sts_endpoints",
    "load_settings",
    "Settings",
    "create_app",
    "now",
    "monotonic",
    "sleep",
    "getenv",
    "new_event_loop",
    "getLogger",
    "basicConfig",
    "configure",
}


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def modules_of(package: str) -> Iterator[tuple[str, ast.Module]]:
    return ((name, tree) for name, tree in TREES.items() if inside(name, package))


def imports_of(tree: ast.Module) -> set[str]:
    """Return every imported name, also within functions; ``from a import b`` counts as ``a.b`` if that is a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= modules or {str(node.module)}
    return found


def name_of_call(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)


def executed_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that an import runs: class bodies, decorators and defaults, but no function bodies."""
    yield node
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from executed_on_import(child)


def package_of(name: str) -> str:
    """Return the package below ``app`` that contains a module; ``service`` counts as a package."""
    return name.split(".")[1]


PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
# The table of the page: each package, from the lowest to the highest, with the packages that it imports.
_ROW = re.compile(r"^\| `app/(\w+)(?:\.py)?` \|.*\| ([^|]*) \|$", re.MULTILINE)
PICTURE = {row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in _ROW.finditer(PAGE)}


def test_the_picture_of_the_packages_is_exact() -> None:
    arrows = {
        package: {
            package_of(imported)
            for name, tree in TREES.items()
            if name.startswith(f"app.{package}.") or name == f"app.{package}"
            for imported in imports_of(tree)
            if imported.startswith("app.") and package_of(imported) != package
        }
        for package in {package_of(name) for name in MODULES if name not in {"app", "app.__main__"}}
    }
    assert arrows == PICTURE


def test_a_package_imports_only_what_stands_above_it_in_the_picture() -> None:
    """So there is no cycle, and no two packages import each other."""
    order = list(PICTURE)
    assert [(name, used) for name in order for used in PICTURE[name] if order.index(used) >= order.index(name)] == []


def test_the_top_has_the_service_and_nothing_else() -> None:
    assert {path.name for path in (ROOT / "app").glob("*.py")} == {"__init__.py", "__main__.py", "service.py"}


def test_the_service_itself_does_not_import_the_emulator() -> None:
    """The code that verifies SigV4 for the demo and the tests must never replace AWS."""
    users = {
        name for name, tree in TREES.items() if any(inside(imported, "app.emulator") for imported in imports_of(tree))
    }
    assert {name for name in users if not inside(name, "app.emulator")} <= {
        "app.cli.demo",
        "app.cli.emulator",
        "app.demo.sidecars",
        "app.demo.stage",
    }


# The controller's modules that decide whether and why a token is put.
_PURE_OF_THE_CONTROLLER = [f"app.controller.{name}" for name in ("held_token", "plan", "reasons", "secret", "tasks")]


@pytest.mark.parametrize("package", [*PURE, "app.policy.verdict", *_PURE_OF_THE_CONTROLLER])
def test_the_core_imports_nothing_of_the_library_that_reaches_out(package: str) -> None:
    strays = {
        f"{name} → {imported}"
        for name, tree in modules_of(package)
        for imported in imports_of(tree)
        if not inside(imported, "app") and imported not in PURE_LIBRARY
    }
    assert not strays


def test_the_core_calls_nothing_that_reads_a_clock_or_a_file() -> None:
    strays = {
        f"{name}:{node.lineno} {name_of_call(node)}"
        for name, tree in modules_of("app.core")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name_of_call(node) in IMPURE_CALLS
    }
    assert not strays


def test_importing_the_core_loads_the_standard_library_and_itself_alone() -> None:
    names = sorted(name for name, _ in modules_of("app.core"))
    program = (
        "import sys; before = set(sys.modules)\n"
        + "".join(f"import {name}\n" for name in names)
        + "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        + "print(*sorted(loaded - set(sys.stdlib_module_names) - {'app'}))"
    )
    run = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_the_settings_alone_read_the_environment() -> None:
    readers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os")
    }
    assert readers == MAY_READ_ENVIRONMENT


def test_the_options_of_the_command_line_alone_have_click_read_variables() -> None:
    readers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in {"envvar", "auto_envvar_prefix"}
    }
    assert readers <= {"app.cli.options", "app.cli.service_access", "app.cli.controller_options"}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "app.__main__"])
def test_importing_a_module_does_nothing_heavy(name: str) -> None:
    """No file, socket, process, clock or client at import. Expensive work happens in a call."""
    done = [
        f"line {node.lineno}: {name_of_call(node)}"
        for node in executed_on_import(TREES[name])
        if isinstance(node, ast.Call) and name_of_call(node) in HEAVY_CALLS
    ]
    assert not done
