"""Files that decide whom the service trusts: their owner and mode, and the messages about wrong ones."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from app.local.caller_tokens import CallerTokenSource, read_caller_token_file, read_tokens
from app.local.tls import ServerTls, TlsFileError, TlsFiles, find_problems
from app.settings.loading import SettingsError
from app.settings.warnings import find_warnings
from app.settings.watch import FileWatch
from app.store.keys import StoreKeySource, read_store_key_file
from app.telemetry.metrics import Metrics
from app.tokens.key_files import SigningKeySource, read_dataplane_key_file, read_zone_key_file
from tests.conftest import LoadSettings
from tests.support.keys import KeyFiles, private_pem, rsa_key
from tests.support.process import run
from tests.support.tls import make_certificate
from tests.support.world import NEW_GENERATION

TOKEN = "canary-token-0123456789-abcdefghijkl"
STRANGER = 4321


@dataclass(frozen=True)
class Stage:
    """An environment that names one file of each kind, each readable only by its owner."""

    variables: dict[str, str]
    files: dict[str, tuple[str, Path]]
    """By a name for it: the variable that it belongs to, and the file."""

    def path(self, name: str) -> Path:
        return self.files[name][1]


NAMES = ("dataplane-list", "dataplane-key", "zone-list", "zone-key", "store-key", "caller-token", "tls-key")
SECRETS = tuple(name for name in NAMES if not name.endswith("-list"))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    keys = KeyFiles.make(tmp_path)
    store, token, tls = tmp_path / "store-keys", tmp_path / "caller-tokens", make_certificate(tmp_path)
    store.write_text(f"{bytes(range(32)).hex()}\n")
    token.write_text(f"{TOKEN}\n")
    variables = {
        **NEW_GENERATION,
        **keys.settings(),
        "KMESH_AWSIAM_STORE": "redis://127.0.0.1:6379",
        "KMESH_AWSIAM_STORE_KEY_FILE": str(store),
        "KMESH_AWSIAM_CALLER_TOKEN_FILE": str(token),
        "KMESH_AWSIAM_TLS_CERT_FILE": str(tls.cert),
        "KMESH_AWSIAM_TLS_KEY_FILE": str(tls.key),
    }
    files = {
        "dataplane-list": ("KMESH_AWSIAM_DATAPLANE_KEYS_FILE", keys.dataplane),
        "dataplane-key": ("KMESH_AWSIAM_DATAPLANE_KEYS_FILE", tmp_path / "dp-1.pem"),
        "zone-list": ("KMESH_AWSIAM_ZONE_KEYS_FILE", keys.zone),
        "zone-key": ("KMESH_AWSIAM_ZONE_KEYS_FILE", tmp_path / "zone-1.pem"),
        "store-key": ("KMESH_AWSIAM_STORE_KEY_FILE", store),
        "caller-token": ("KMESH_AWSIAM_CALLER_TOKEN_FILE", token),
        "tls-key": ("KMESH_AWSIAM_TLS_KEY_FILE", tls.key),
    }
    for _, path in files.values():
        path.chmod(0o600)
    return Stage(variables, files)


def open_to_all(path: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o602)


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the owner to a user who is neither root nor this one. Only root can do that to the file itself."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


Spoil = Callable[[Path, pytest.MonkeyPatch], None]
SPOILS: dict[Spoil, str] = {open_to_all: "every user can write to the file", give_away: "owns the file"}


def file_warnings(settings_of: LoadSettings, stage: Stage) -> list[str]:
    variables = {variable for variable, _ in stage.files.values()}
    return [line for line in find_warnings(settings_of(**stage.variables)) if line.partition(":")[0] in variables]


# At the start.


def test_files_of_the_services_user_for_itself_alone_start_without_a_word(
    settings_of: LoadSettings, stage: Stage
) -> None:
    assert file_warnings(settings_of, stage) == []


@pytest.mark.parametrize("spoil", SPOILS, ids=["writable-by-all", "owned-by-a-stranger"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_somebody_else_can_write_ends_the_start(
    settings_of: LoadSettings, stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Spoil
) -> None:
    variable, path = stage.files[name]
    spoil(path, monkeypatch)
    with pytest.raises(SettingsError) as raised:
        settings_of(**stage.variables)
    found = {problem.variable: problem.remedy for problem in raised.value.problems}
    assert variable in found
    assert SPOILS[spoil] in found[variable]
    assert set(found) == {variable} or spoil is give_away  # one user is enough for all files


def test_serve_and_check_config_end_with_status_2(stage: Stage) -> None:
    stage.path("dataplane-key").chmod(0o666)
    for command in ("serve", "check-config"):
        done = run(command, **stage.variables)
        assert done.status == 2
        assert "KMESH_AWSIAM_DATAPLANE_KEYS_FILE: line 1: every user can write to the file (mode 0666)" in done.err


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_its_owner_and_a_group_may_read_it(settings_of: LoadSettings, stage: Stage, mode: int) -> None:
    for name in NAMES:
        stage.path(name).chmod(mode)
    assert file_warnings(settings_of, stage) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_that_everybody_can_read_is_warned_about(settings_of: LoadSettings, stage: Stage, name: str) -> None:
    variable, path = stage.files[name]
    path.chmod(0o644)
    told = [f"{variable}: {path} is readable by every user (mode 0644); remove the permission: chmod o-r {path}"]
    assert file_warnings(settings_of, stage) == (told if name in SECRETS else [])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_its_group_can_write_is_warned_about(settings_of: LoadSettings, stage: Stage, name: str) -> None:
    variable, path = stage.files[name]
    path.chmod(0o660)
    [warning] = file_warnings(settings_of, stage)
    assert warning.startswith(f"{variable}: {path} is writable by its group (mode 0660)")


@pytest.mark.parametrize(("mode", "is_told"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_folder_in_which_everybody_can_rename_is_warned_about(
    settings_of: LoadSettings,
    stage: Stage,
    mode: int,
    is_told: bool,  # noqa: FBT001 - a column
) -> None:
    stage.path("tls-key").parent.chmod(mode)
    told = file_warnings(settings_of, stage)
    assert all(f"is writable by every user (mode {mode:04o})" in line for line in told)
    assert bool(told) is is_told


# Mounted secrets.


def mount(folder: Path, moment: str, path: Path) -> Path:
    """Mount a secret as Kubernetes does: two links, in a folder with the sticky bit that everybody may write to."""
    real = folder / f"..{moment}"
    real.mkdir(parents=True)
    folder.chmod(0o1777)
    (real / path.name).write_bytes(path.read_bytes())
    (real / path.name).chmod(0o400)
    data = folder / "..data_tmp"
    data.symlink_to(real.name)
    data.replace(folder / "..data")
    link = folder / path.name
    if not link.is_symlink():
        link.symlink_to(f"..data/{path.name}")
    return link


def test_a_secret_that_is_mounted_as_a_link_is_read(settings_of: LoadSettings, stage: Stage, tmp_path: Path) -> None:
    link = mount(tmp_path / "secret", "2026_11_24", stage.path("caller-token"))
    stage.variables["KMESH_AWSIAM_CALLER_TOKEN_FILE"] = str(link)
    assert file_warnings(settings_of, stage) == []


def test_what_counts_of_a_link_is_the_file_that_it_leads_to(
    settings_of: LoadSettings, stage: Stage, tmp_path: Path
) -> None:
    link = mount(tmp_path / "secret", "2026_11_24", stage.path("caller-token"))
    link.resolve().chmod(0o602)
    stage.variables["KMESH_AWSIAM_CALLER_TOKEN_FILE"] = str(link)
    with pytest.raises(SettingsError, match="KMESH_AWSIAM_CALLER_TOKEN_FILE: every user can write"):
        settings_of(**stage.variables)


# Pipes.


def test_the_service_waits_for_no_pipe(settings_of: LoadSettings, stage: Stage, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    stage.variables["KMESH_AWSIAM_CALLER_TOKEN_FILE"] = str(pipe)
    with pytest.raises(SettingsError, match="no regular file"):
        settings_of(**stage.variables)


def test_whoever_sends_a_token_may_have_it_out_of_a_pipe() -> None:
    """As from a shell: ``--caller-token-file <(aws secretsmanager ...)``."""
    reader, writer = os.pipe()
    try:
        os.write(writer, f"{TOKEN}\n".encode())
        os.close(writer)
        assert read_tokens(Path(f"/dev/fd/{reader}")) == (TOKEN,)
    finally:
        os.close(reader)


def test_whoever_sends_a_token_need_not_own_its_file(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root calls the service of another user with that user's file."""
    give_away(stage.path("caller-token"), monkeypatch)
    assert read_tokens(stage.path("caller-token")) == (TOKEN,)


# Read again.


def watches(stage: Stage, metrics: Metrics) -> Iterator[tuple[Sequence[str], FileWatch, Callable[[], object]]]:
    """Each kind of file: its names here, its watch, and the content in use."""
    signing = SigningKeySource(
        read_dataplane_key_file(str(stage.path("dataplane-list"))), read_zone_key_file(str(stage.path("zone-list")))
    )
    yield (
        ("dataplane-list", "dataplane-key", "zone-list", "zone-key"),
        FileWatch("signing_keys", lambda: signing.paths, signing.load, metrics, warnings=signing.warnings),
        lambda: signing.keys,
    )
    store = StoreKeySource(read_store_key_file(str(stage.path("store-key"))))
    yield (
        ("store-key",),
        FileWatch("store_key", [store.path], store.load, metrics, warnings=store.warnings),
        lambda: store.keys,
    )
    tokens = CallerTokenSource(read_caller_token_file(str(stage.path("caller-token"))))
    header = [(b"authorization", f"Bearer {TOKEN}".encode())]
    yield (
        ("caller-token",),
        FileWatch("caller_token", [tokens.path], tokens.load, metrics, warnings=tokens.warnings),
        lambda: tokens.find_fault(header),
    )
    tls_key = stage.path("tls-key")
    tls = ServerTls(TlsFiles(cert=tls_key.with_name("cert.pem"), key=tls_key, client_ca=None), lambda _: None)
    yield (
        ("tls-key",),
        FileWatch("tls", tls.files.paths, tls.load, metrics, warnings=tls.files.warnings),
        lambda: tls.context.current,
    )


@pytest.mark.parametrize("spoil", SPOILS, ids=["writable-by-all", "owned-by-a-stranger"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_somebody_else_can_write_is_not_taken_over_loudly(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Spoil
) -> None:
    [(_, watch, in_force)] = [found for found in watches(stage, Metrics()) if name in found[0]]
    watch.check()
    before = in_force()
    spoil(stage.path(name), monkeypatch)
    with capture_logs() as log:
        watch.check(forced=True)
    assert in_force() == before
    assert watch.bad_for() > 0
    [event] = log
    assert (event["event"], event["log_level"]) == ("not reloaded", "error")
    assert SPOILS[spoil] in event["problem"]
    assert TOKEN not in repr(log)


def test_a_file_that_becomes_readable_by_everybody_is_warned_about_when_it_is_read_again(stage: Stage) -> None:
    for names, watch, _ in watches(stage, Metrics()):
        watch.check()
        path = stage.path(names[-1])
        path.chmod(0o644)
        with capture_logs() as log:
            watch.check()
        assert [event["event"] for event in log] == ["reloaded", "setting"]
        assert f"{path} is readable by every user" in log[1]["detail"]


# PEM files.

EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PEM = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize(
    "second", [private_pem(rsa_key(2)), EC_PEM, private_pem(rsa_key(0))], ids=["rsa", "ec", "same"]
)
def test_a_signing_key_file_with_two_private_keys_is_refused(stage: Stage, second: bytes) -> None:
    """OpenSSL silently reads only the first key, but whoever appends a second one wants to replace the first."""
    path = stage.path("dataplane-key")
    path.write_bytes(private_pem(rsa_key(0)) + second)
    with pytest.raises(ValueError, match="line 1: the file holds 2 private keys"):
        read_dataplane_key_file(str(stage.path("dataplane-list")))


def test_a_tls_key_file_with_two_private_keys_is_refused(stage: Stage) -> None:
    path = stage.path("tls-key")
    files = TlsFiles(cert=path.with_name("cert.pem"), key=path, client_ca=None)
    assert list(find_problems(files)) == []
    path.write_bytes(path.read_bytes() + EC_PEM)
    [problem] = find_problems(files)
    assert (problem.part, "2 private keys" in problem.remedy) == ("key", True)
    with pytest.raises(TlsFileError, match="2 private keys"):
        ServerTls(files, lambda _: None)


def test_a_tls_key_may_stand_beside_its_certificate_and_its_parameters(stage: Stage) -> None:
    path = stage.path("tls-key")
    cert = path.with_name("cert.pem")
    path.write_bytes(cert.read_bytes() + PARAMETERS + path.read_bytes())
    assert list(find_problems(TlsFiles(cert=cert, key=path, client_ca=None))) == []
