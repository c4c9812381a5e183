"""Replay the Dockerfile without a Docker engine, and test the result: ``make image-steps``.

The steps of both stages run in a plain folder (tools/image_replay.py). The result is checked, made read-only, and run as
the image would be: by its ENTRYPOINT, CMD, HEALTHCHECK, USER and STOPSIGNAL, without privileges, unable to write to any
file, and with a local AWS from the same environment.

What it cannot show is the base image itself. It needs Linux, util-linux, and pip's index for the locked wheels. The
user is changed only when root starts it.

Usage: python -m tools.image_steps      (in the root of the repository)
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from packaging.utils import canonicalize_name

from app import __version__
from tools.dockerfile import DockerfileError, stages
from tools.image_replay import INSTALLERS, SHELLS, Clock, Image, Replay, StepsError, run
from tools.lock_file import pins_of

ROOT: Final = Path(__file__).resolve().parent.parent
SECONDS: Final = 170
START_SECONDS: Final = 30

_PROJECT: Final = "kuma-aws-iam"
_UNWANTED: Final = {"pip", "setuptools", "wheel"}
_ANY_WRITE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_MEGABYTE: Final = 1_000_000
_ACCOUNT: Final = "111122223333"  # of the emulator's example world
# Where anybody may write; looked at, not written to.
_SHARED: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108
_SETTINGS: Final = {
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
    "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": _ACCOUNT,
    "KMESH_AWSIAM_AUDIENCE": "image-steps",
}
_AWS: Final = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
_FAULTS_OF_CHILDREN: Final = 8  # in /proc/PID/stat, counted behind the program's name
_LISTENS_ON: Final = "listens on "


def main() -> int:
    """Replay, check, run; return the exit status."""
    clock = Clock(SECONDS)
    signal.signal(signal.SIGALRM, _time_is_up)  # also while files are copied and checked
    signal.alarm(SECONDS)
    os.umask(0o022)  # as in a build
    workspace = Path(tempfile.mkdtemp(prefix="image-steps-"))
    workspace.chmod(0o755)  # the image's user must be able to enter
    try:
        image = Replay(ROOT, workspace, clock).play(stages((ROOT / "Dockerfile").read_text("utf-8")))
        for check in (check_packages, check_files, check_programs):
            print(f"ok  {check(image)}", flush=True)
        make_read_only(image.root)
        for said in try_out(image, workspace / "run", clock):
            print(f"ok  {said}", flush=True)
    except (StepsError, DockerfileError) as error:
        print(f"image-steps: {error}", file=sys.stderr)
        return 1
    finally:
        signal.alarm(0)
        remove(workspace)
    print(f"The image's steps work: {clock.spent:.0f} s.")
    return 0


def _time_is_up(_number: int, _frame: object) -> NoReturn:
    raise StepsError(f"time is up: {SECONDS} s")


# ---- what is in it --------------------------------------------------------------------------------------------------


def environment_of(image: Image) -> Path:
    """Return the virtual environment that contains the entry point."""
    program = shutil.which(image.entrypoint[0], path=image.variables()["PATH"])
    if program is None:
        raise StepsError(f"the entry point {image.entrypoint[0]} is not in PATH")
    return Path(program).parent.parent


def check_packages(image: Image) -> str:
    """Check that the installed packages are those of the lock file, and the project."""
    (site,) = environment_of(image).glob("lib/python3.*/site-packages")
    installed = {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions(path=[str(site)])
    }
    if unwanted := _UNWANTED & set(installed):
        raise StepsError(f"in the environment and of no use there: {', '.join(sorted(unwanted))}")
    wanted = {pin.name: pin.version for pin in pins_of(ROOT / "requirements/runtime.txt") if pin.holds_here}
    wanted[_PROJECT] = __version__
    if differing := set(installed.items()) ^ set(wanted.items()):
        raise StepsError(f"installed and locked differ: {sorted(differing)}")
    return f"{len(installed)} packages, as locked; no {', '.join(sorted(_UNWANTED))}"


def check_files(image: Image) -> str:
    """Check that nobody may write, that no file changes the user, and that all bytecode exists."""
    environment = environment_of(image)
    files = [path for path in image.root.rglob("*") if not path.is_symlink()]
    for path in files:
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH:
            raise StepsError(f"writable by anybody: {path}")
        if path.is_file() and mode & _SET_ID:
            raise StepsError(f"changes the user: {path}")
    sources = [path for path in files if path.suffix == ".py" and path.is_relative_to(environment / "lib")]
    for path in sources:
        if not Path(importlib.util.cache_from_source(str(path))).is_file():
            raise StepsError(f"without bytecode, which a read-only service would make anew at each start: {path}")
    ours = [path for path in files if path.is_relative_to(environment) and path.is_file()]
    size = sum(path.stat().st_size for path in ours)
    return (
        f"the environment: {size / _MEGABYTE:.1f} MB in {len(ours)} files, {len(sources)} modules with bytecode; "
        f"nothing writable by anybody, nothing that changes the user"
    )


def check_programs(image: Image) -> str:
    """Check that there is no shell, no installer, and no script that needs a shell."""
    for name in (*SHELLS, *INSTALLERS):
        if found := shutil.which(name, path=image.variables()["PATH"]):
            raise StepsError(f"still there: {found}")
    for name in ("pip", "ensurepip"):
        if place := next(image.root.rglob(name), None):
            raise StepsError(f"still there: {place}")
    environment = environment_of(image)
    python = f"#!{environment}/bin/python"
    scripts = 0
    for path in (environment / "bin").iterdir():
        first = path.read_bytes().partition(b"\n")[0]
        if first.startswith(b"#!"):
            scripts += 1
            if not first.decode().startswith(python):
                raise StepsError(f"not started by the environment's own Python: {path} ({first.decode()})")
    return f"no {', '.join((*SHELLS, *INSTALLERS))}; {scripts} scripts, each started by the environment's Python"


def make_read_only(root: Path) -> None:
    """Remove every write permission, as in a read-only root file system."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~_ANY_WRITE)


def remove(workspace: Path) -> None:
    """Remove the folder, also its read-only parts."""
    for folder, _, _ in os.walk(workspace):
        Path(folder).chmod(0o700)
    shutil.rmtree(workspace)


# ---- running it -----------------------------------------------------------------------------------------------------


class Closed:
    """Commands of the image, as its user, without privileges, and unable to write to any file."""

    def __init__(self, image: Image, clock: Clock) -> None:
        self._image = image
        self._clock = clock
        self.is_root = os.geteuid() == 0
        """Whether the user can be changed."""
        user, _, group = image.user.partition(":")
        self.user = int(user) if self.is_root else os.geteuid()
        self._prefix = [_tool("prlimit"), "--fsize=0:0", "--core=0:0", _tool("setpriv"), "--no-new-privs"]
        if self.is_root:
            self._prefix += [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
            self._prefix += ["--inh-caps=-all", "--bounding-set=-all"]

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of the process: those of the image, and those that an operator sets."""
        return self._image.variables() | {"HOME": "/"} | dict(more)

    def run(self, command: Sequence[str], more: Mapping[str, str]) -> str:
        """Run a command to its end, and return its output."""
        words = [*self._prefix, *(self._image.inside(word) for word in command)]
        return run(words, self.variables(more), self._image.root, self._clock)

    @contextlib.contextmanager
    def running(self, command: Sequence[str], more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command until the end of the block."""
        with subprocess.Popen(  # noqa: S603 - the image's own commands
            [*self._prefix, *command],
            cwd=self._image.root,
            env=self.variables(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise StepsError(f"{name} of util-linux is needed")
    return path


def try_out(image: Image, folder: Path, clock: Clock) -> Iterator[str]:
    """Start the service as the image does, call it, and stop it. Yield the observations."""
    closed = Closed(image, clock)
    folder.mkdir(mode=0o700)
    if closed.is_root:
        os.chown(folder, closed.user, closed.user)
    before, strays = snapshot(image.root), files_of(closed.user)
    closed.run([*image.entrypoint, "--help"], {})
    said = closed.run([*image.entrypoint, "check-config"], _SETTINGS)
    yield f"--help and check-config as user {closed.user}: {said.splitlines()[-1]}"
    yield from _serve(closed, image, folder)
    changed = {path for path, _ in before.items() ^ snapshot(image.root).items()}
    left = {*folder.iterdir(), *(files_of(closed.user) - strays if closed.is_root else ())}
    if changed or left:
        raise StepsError(f"written although nothing is to be: {', '.join(sorted(map(str, changed | left))[:10])}")
    elsewhere = f", no file of user {closed.user} where anybody may write" if closed.is_root else ""
    yield f"wrote nothing: the root is as it was, the socket's folder is empty{elsewhere}"


def _serve(closed: Closed, image: Image, folder: Path) -> Iterator[str]:
    listen = {"KMESH_AWSIAM_LISTEN": f"unix:{folder}/api.sock"}
    with closed.running([*image.entrypoint, "emulator", "--listen", "127.0.0.1:0"], _AWS) as emulator:
        url = wait_for_line(emulator, _LISTENS_ON).partition(_LISTENS_ON)[2].split()[0].rstrip(".")
        aws = _AWS | {"AWS_ENDPOINT_URL_STS": url, "AWS_ENDPOINT_URL_IAM": url}
        own = aws | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/ecs/{_ACCOUNT}/kuma-aws-iam"}
        start = time.monotonic()
        with closed.running([*image.entrypoint, *image.command], _SETTINGS | listen | own) as service:
            health = wait_for_health(lambda: closed.run(image.health, listen), service)
            yield f"healthy after {time.monotonic() - start:.1f} s, by the image's HEALTHCHECK: {health.strip()}"
            if found := {path.name for path in folder.iterdir()} - {"api.sock"}:
                raise StepsError(f"in the socket's folder: {found}")
            proxy = aws | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/ecs/{_ACCOUNT}/demo-app"}
            said = closed.run([*image.entrypoint, "authenticate"], _SETTINGS | listen | proxy)
            yield f"a sidecar: {' '.join(said.split())[:70]}"
            yield watch(service.pid)
            start = time.monotonic()
            service.send_signal(signal.Signals[image.stop_signal])
            wait_for_end(service, image.stop_signal)
            yield f"{image.stop_signal}: exit status 0 after {time.monotonic() - start:.1f} s"


def wait_for_end(process: subprocess.Popen[bytes], name: str, seconds: float = START_SECONDS) -> None:
    """Wait for a process that got a signal to stop, and check that it ends without an error."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise StepsError(f"{name} did not end it in {seconds} s") from None
    if process.returncode:
        raise StepsError(f"{name} ended it with {process.returncode}:\n{output.decode()}")


def wait_for_line(process: subprocess.Popen[bytes], wanted: str, seconds: float = START_SECONDS) -> str:
    """Wait for a line that contains these words."""
    if process.stdout is None:
        raise StepsError("no output to read")
    seen = b""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(end - time.monotonic()):
            read = os.read(process.stdout.fileno(), 65536)
            seen += read
            for line in seen.decode().splitlines():
                if wanted in line:
                    return line
            if not read:
                break
    raise StepsError(f"never said {wanted!r}, but: {seen.decode()}")


def wait_for_health(ask: Callable[[], str], process: subprocess.Popen[bytes]) -> str:
    """Repeat the health check until it succeeds, as Docker does."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return ask()
        except StepsError as error:
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                output = process.stdout.read().decode() if process.stdout else ""
                raise StepsError(f"not healthy: {error}\nThe service said:\n{output}") from None
            time.sleep(0.1)


def watch(pid: int) -> str:
    """Check that a process has no privilege and has started no other program. Return its size."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if int(after_name[_FAULTS_OF_CHILDREN]):
        raise StepsError("the service started another program, which may have been a shell")
    if status["NoNewPrivs"] != "1" or int(status["CapEff"], 16) or int(status["CapPrm"], 16):
        raise StepsError("the service holds a privilege")
    kilobytes = int(status.get("VmHWM", "0 kB").split()[0])  # a process that has just ended has none
    return f"no privilege, no program started, {status['Threads']} threads, {kilobytes // 1000} MB at most"


# ---- what was written -----------------------------------------------------------------------------------------------


def snapshot(root: Path) -> dict[Path, tuple[int, int, int]]:
    """Return the facts that would change if a process wrote to the folder."""
    found = {}
    for path in root.rglob("*"):
        state = path.lstat()
        found[path] = (state.st_mode, state.st_size, state.st_mtime_ns)
    return found


def files_of(user: int) -> set[Path]:
    """Return the files of a user in the folders that everybody may write to."""
    found = set()
    for place in _SHARED:
        for folder, _, names in os.walk(place):
            for name in (*names, "."):
                with contextlib.suppress(OSError):
                    path = Path(folder, name)
                    if path.lstat().st_uid == user:
                        found.add(path)
    return found


if __name__ == "__main__":
    sys.exit(main())
