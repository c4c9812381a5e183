"""Where the service listens, what it requires before others can reach it, and how its own commands then reach it."""

import contextlib
import errno
import grp
import os
import signal
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.cli import main
from app.local.addresses import TcpAddress
from app.local.unix_socket import (
    SocketGroup,
    SocketGroupError,
    SocketMode,
    open_unix_socket,
    parse_socket_group,
    parse_socket_mode,
)
from app.server.sockets import ListenError, _open, _require_loopback
from app.settings.loading import SettingsError
from app.settings.warnings import find_warnings
from tests.conftest import LoadSettings
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE
from tests.support.process import free_address, run, served, socket_address
from tests.support.tls import Authority, Certificate
from tests.support.world import NEW_GENERATION, OLD_GENERATION, Aws

LISTEN = "KMESH_AWSIAM_LISTEN"
DIAGNOSTICS = "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"
TLS_CERT = "KMESH_AWSIAM_TLS_CERT_FILE"
TLS_KEY = "KMESH_AWSIAM_TLS_KEY_FILE"
TLS_CLIENT_CA = "KMESH_AWSIAM_TLS_CLIENT_CA_FILE"
TOKENS = "KMESH_AWSIAM_CALLER_TOKEN_FILE"
MODE = "KMESH_AWSIAM_SOCKET_MODE"
GROUP = "KMESH_AWSIAM_SOCKET_GROUP"

ANYWHERE = "0.0.0.0:5690"
SOCKET = "unix:/run/kuma-aws-iam/api.sock"
TOKEN = "canary-token-0123456789-abcdefghijkl"
# A group that the process may assign to a file: root any group, others their own.
GID = 65532 if os.geteuid() == 0 else os.getgid()

Variables = dict[str, str]
Invoke = Callable[..., Result]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)


@pytest.fixture
def material(tmp_path: Path, authority: Authority, certificate: Certificate) -> Variables:
    """Return a valid file for every variable."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    return {
        TLS_CERT: str(certificate.cert),
        TLS_KEY: str(certificate.key),
        TLS_CLIENT_CA: str(authority.cert),
        TOKENS: str(tokens),
    }


def pick(material: Variables, *names: str) -> Variables:
    return {name: material[name] for name in names}


# What the settings require of a listener.

GOOD: list[tuple[str, tuple[str, ...]]] = [
    ("127.0.0.1:5690", ()),
    ("127.0.0.1:5690", (TOKENS,)),
    ("127.0.0.1:5690", (TLS_CERT, TLS_KEY)),
    ("[::1]:5690", (TLS_CERT, TLS_KEY, TLS_CLIENT_CA)),
    (SOCKET, ()),
    (SOCKET, (TOKENS,)),
    (ANYWHERE, (TLS_CERT, TLS_KEY, TLS_CLIENT_CA)),
    (ANYWHERE, (TLS_CERT, TLS_KEY, TOKENS)),
    ("[::]:5690", (TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS)),
    ("control-plane:5690", (TLS_CERT, TLS_KEY, TOKENS)),
]

BAD: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = [  # address, files, variable at fault, what to set
    (ANYWHERE, (), LISTEN, (TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS, "127.0.0.1:5690", "unix:/path")),
    ("[::]:5690", (), LISTEN, (TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS)),
    ("10.0.0.7:5690", (TLS_CERT, TLS_KEY), LISTEN, (TLS_CLIENT_CA, TOKENS)),
    ("control-plane:5690", (TOKENS,), LISTEN, (TLS_CERT, TLS_KEY, "in clear")),
    ("127.0.0.1:5690", (TLS_CERT,), TLS_CERT, (TLS_KEY,)),
    ("127.0.0.1:5690", (TLS_KEY, TLS_CLIENT_CA), TLS_KEY, (TLS_CERT,)),
    ("127.0.0.1:5690", (TLS_CLIENT_CA,), TLS_CLIENT_CA, (TLS_CERT, TLS_KEY)),
    (ANYWHERE, (TLS_CLIENT_CA,), TLS_CLIENT_CA, (TLS_CERT, TLS_KEY)),
    (ANYWHERE, (TLS_CERT, TOKENS), TLS_CERT, (TLS_KEY,)),
    (SOCKET, (TLS_CERT, TLS_KEY), TLS_CERT, (LISTEN,)),
]


@pytest.mark.parametrize(("address", "files"), GOOD)
def test_a_listener_is_allowed(
    settings_of: LoadSettings, material: Variables, address: str, files: tuple[str, ...]
) -> None:
    settings = settings_of(**NEW_GENERATION, **pick(material, *files), **{LISTEN: address})
    assert settings.caller_checks == [
        check for check, name in (("certificate", TLS_CLIENT_CA), ("token", TOKENS)) if name in files
    ]
    assert (settings.tls_files is not None) == (TLS_CERT in files)


@pytest.mark.parametrize(("address", "files", "variable", "remedy"), BAD)
def test_a_listener_is_refused_and_what_to_set_is_said(
    settings_of: LoadSettings,
    material: Variables,
    address: str,
    files: tuple[str, ...],
    variable: str,
    remedy: tuple[str, ...],
) -> None:
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **pick(material, *files), **{LISTEN: address})
    [problem] = raised.value.problems
    assert problem.variable == variable
    assert [word for word in remedy if word not in problem.remedy] == []


@pytest.mark.parametrize("name", [TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS])
@pytest.mark.parametrize("content", [None, b"", b"canary"], ids=["gone", "empty", "nonsense"])
def test_a_file_that_does_not_do_ends_the_start(
    settings_of: LoadSettings, material: Variables, name: str, content: bytes | None
) -> None:
    path = Path(material[name])
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **material, **{LISTEN: ANYWHERE})
    assert [problem.variable for problem in raised.value.problems] == [name]
    assert "canary" not in str(raised.value)


def test_bad_files_are_reported_beside_everything_else(settings_of: LoadSettings, material: Variables) -> None:
    Path(material[TLS_CLIENT_CA]).unlink()
    Path(material[TOKENS]).write_text("short")
    variables = {**NEW_GENERATION, **material, LISTEN: ANYWHERE, MODE: "rw", GROUP: "nobody-has-this-name"}
    with pytest.raises(SettingsError) as raised:
        settings_of(**variables)
    assert {problem.variable for problem in raised.value.problems} == {TLS_CLIENT_CA, TOKENS, MODE, GROUP}


@pytest.mark.parametrize(
    ("text", "shown"), [("0660", "0660"), ("660", "0660"), ("0o600", "0600"), ("0600", "0600"), ("0755", "0755")]
)
def test_a_mode_is_octal(text: str, shown: str) -> None:
    assert str(parse_socket_mode(text)) == shown


@pytest.mark.parametrize("text", ["", "rw", "0668", "66", "04660", "1660", "0x1b0", "432", "0060", "0460", " 0660"])
def test_what_is_no_mode_that_the_service_itself_can_use_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="0660"):
        parse_socket_mode(text)


@pytest.mark.parametrize("mode", ["0666", "0662", "0777"])
def test_a_socket_for_everybody_needs_a_token(settings_of: LoadSettings, material: Variables, mode: str) -> None:
    variables = {**NEW_GENERATION, LISTEN: SOCKET, MODE: mode}
    with pytest.raises(SettingsError) as raised:
        settings_of(**variables)
    [problem] = raised.value.problems
    assert problem.variable == MODE
    assert TOKENS in problem.remedy
    assert settings_of(**variables, **pick(material, TOKENS)).socket_mode.is_world_writable


def test_a_socket_for_everybody_may_hold_the_diagnostics(settings_of: LoadSettings) -> None:
    settings = settings_of(**NEW_GENERATION, **{DIAGNOSTICS: SOCKET, MODE: "0666"})
    assert settings.socket_mode == SocketMode(0o666)


def test_a_group_is_a_name_of_this_system_or_a_number() -> None:
    known = grp.getgrgid(os.getgid())
    assert parse_socket_group(known.gr_name).gid == known.gr_gid
    assert parse_socket_group("65532") == SocketGroup("65532", 65532)
    for unknown in ("nobody-has-this-name", "-1", "4294967295", "６５５３２", "a\0b"):  # noqa: RUF001 - digits of another script
        with pytest.raises(ValueError, match="group"):
            parse_socket_group(unknown)


def test_what_a_socket_would_need_is_warned_of_where_there_is_none(settings_of: LoadSettings) -> None:
    """Otherwise an operator who restricts a group would learn later that everybody on the host may call."""
    restricted = settings_of(**NEW_GENERATION, **{GROUP: "65532"})
    assert any(GROUP in warning for warning in find_warnings(restricted))
    for variables in ({LISTEN: SOCKET, GROUP: "65532"}, {DIAGNOSTICS: SOCKET, MODE: "0600"}, {}):
        assert not any(GROUP in warning for warning in find_warnings(settings_of(**NEW_GENERATION, **variables)))


# Unix sockets.


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_address() as address:
        yield Path(address.removeprefix("unix:"))


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda mask: f"umask-{mask:03o}")
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    assert os.umask(before) == request.param, "the process's umask was not put back"


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_mode_and_group_whatever_the_umask_is(path: Path, mode: int) -> None:
    listener, remove = open_unix_socket(path, SocketMode(mode), SocketGroup("a group", GID), 1)
    with listener:
        made = path.stat()
        assert (stat.S_IMODE(made.st_mode), made.st_gid) == (mode, GID)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        remove()
    assert not path.exists()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_socket_is_never_laxer_and_nobody_connects_before_it_is_as_it_should_be(
    path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    chown = os.chown

    def spy(target: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            seen.append((stat.S_IMODE(target.lstat().st_mode), client.connect_ex(str(target))))
        chown(target, uid, gid, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "chown", spy)
    before = os.umask(umask)
    try:
        listener, remove = open_unix_socket(path, SocketMode(0o660), SocketGroup("a group", GID), 1)
    finally:
        os.umask(before)
    remove()
    listener.close()
    assert seen == [(0o660, errno.ECONNREFUSED)]


def test_a_group_that_it_may_not_be_given_to_leaves_nothing_behind(
    path: Path, settings_of: LoadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(SocketGroupError, match="65532"):
        open_unix_socket(path, SocketMode(0o660), SocketGroup("65532", 65532), 1)
    assert not path.exists()
    settings = settings_of(**NEW_GENERATION, **{LISTEN: f"unix:{path}", GROUP: "65532"})
    with contextlib.ExitStack() as sockets, pytest.raises(ListenError, match=f"{GROUP}.*member"):
        _open(sockets, LISTEN, settings.listen, settings)


def test_the_socket_of_a_process_that_is_gone_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener, remove = open_unix_socket(path, SocketMode(0o600), None, 1)
    remove()
    listener.close()


@pytest.mark.parametrize("backlog", [0, 1], ids=["full", "free"])
def test_the_socket_of_a_process_that_lives_is_not(path: Path, backlog: int) -> None:
    """Nor if the process is too busy to answer."""
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(str(path))
        living.listen(backlog)
        waiting.connect(str(path))
        with pytest.raises(OSError, match="in use"):
            open_unix_socket(path, SocketMode(0o600), None, 1)
    assert path.is_socket()


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        open_unix_socket(path, SocketMode(0o600), None, 1)
    assert path.read_text() == "precious"


def test_only_the_own_socket_is_removed_at_the_end(path: Path) -> None:
    """Another process may listen at the same path by then."""
    listener, remove = open_unix_socket(path, SocketMode(0o600), None, 1)
    listener.close()
    successor, remove_successor = open_unix_socket(path, SocketMode(0o600), None, 1)
    with successor:
        remove()
        assert path.is_socket()
        remove_successor()
    assert not path.exists()


# TCP.


def test_a_name_that_says_loopback_must_lead_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as loopback:
        _require_loopback(loopback, TcpAddress("localhost", 5690))
    with socket.create_server(("0.0.0.0", 0)) as everywhere:  # noqa: S104 - the fault that the test expects
        with pytest.raises(ListenError, match="no loopback"):
            _require_loopback(everywhere, TcpAddress("localhost", 5690))
        with pytest.raises(ListenError, match=DIAGNOSTICS):
            _require_loopback(everywhere, TcpAddress("localhost", 5690), DIAGNOSTICS)
        _require_loopback(everywhere, TcpAddress("0.0.0.0", 5690))  # noqa: S104 - allowed, with further requirements


# Processes, as an operator runs them.


@pytest.mark.parametrize("files", [(), (TLS_CERT, TLS_KEY), (TOKENS,)], ids=["nothing", "server-tls", "token-in-clear"])
@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_it_does_not_start_where_unknown_callers_can_reach_it(
    material: Variables, command: str, files: tuple[str, ...]
) -> None:
    """Issue 3: starting on 0.0.0.0 without caller authentication exits 2 and says what to set."""
    done = run(command, **OLD_GENERATION, **pick(material, *files), **{LISTEN: ANYWHERE})
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    missing = {TLS_CERT, TLS_KEY, TOKENS} - set(files)
    assert [name for name in (LISTEN, *missing) if name not in done.err] == []


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def reachable_address() -> str:
    return f"0.0.0.0:{port_of(free_address())}"


def url_of(address: str) -> str:
    return f"https://127.0.0.1:{port_of(address)}"


def trusting(authority: Authority, certificate: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate is not None:
        context.load_cert_chain(certificate.cert, certificate.key)
    return context


def statuses(address: str, context: ssl.SSLContext, path: str, *headers: dict[str, str]) -> list[int]:
    with httpx.Client(verify=context, base_url=url_of(address), trust_env=False, timeout=PATIENCE) as client:
        return [client.get(path, headers=given).status_code for given in headers]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    def call(*arguments: str, stdin: str | None = None, **variables: str) -> Result:
        for name in (LISTEN, DIAGNOSTICS, TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS):
            monkeypatch.delenv(name, raising=False)
        return CliRunner().invoke(main, arguments, input=stdin, env=variables, catch_exceptions=False)

    return call


def test_a_token_over_tls_lets_known_callers_in_from_everywhere(
    material: Variables, authority: Authority, aws: Aws, invoke: Invoke, tmp_path: Path
) -> None:
    """From the start to a rotation, on the real server: without a restart, by SIGHUP."""
    address = reachable_address()
    variables = pick(material, TLS_CERT, TLS_KEY, TOKENS)
    with served(address, **aws.service_environment(), **variables) as service:
        service.wait_for("own account")
        assert [event["callers"] for event in service.events() if event["event"] == "listening"] == [["token"]]
        context, known = trusting(authority), {"authorization": f"Bearer {TOKEN}"}
        assert statuses(address, context, "/healthy", {}, known) == [401, 200]

        # The commands in the service's own container need no arguments.
        own = {**variables, LISTEN: address}
        assert invoke("health", **own).exit_code == 0
        assert invoke("authenticate", stdin=aws.credential(), **own).stdout.startswith("allowed")
        # Commands on another host need the authority and the caller's credentials.
        options = ["--service", address, "--tls-ca-file", str(authority.cert)]
        tokens = ["--caller-token-file", material[TOKENS]]
        assert invoke("authenticate", *options, *tokens, stdin=aws.credential()).exit_code == 0
        unknown = invoke("authenticate", *options, stdin=aws.credential())
        assert unknown.exit_code == 1
        assert unknown.stdout.startswith("undecided: caller_not_authenticated (401)")
        stranger = Authority(tmp_path / "stranger")
        untrusted = invoke(
            "authenticate", "--service", address, "--tls-ca-file", str(stranger.cert), *tokens, stdin="x"
        )
        assert untrusted.exit_code == 1
        assert "is not trusted" in untrusted.stderr

        renewed = "renewed-token-0123456789-abcdefghijkl"
        Path(material[TOKENS]).write_text(f"{TOKEN}\n{renewed}\n")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for('"what":"caller_token"')  # the certificate is read first, and has a line of its own
        both = [{"authorization": f"Bearer {token}"} for token in (TOKEN, renewed)]
        assert statuses(address, context, "/healthy", *both) == [200, 200]
        assert service.stop() == 0
    assert TOKEN not in "".join(service.lines)
    assert sum('"unknown caller"' in line for line in service.lines) == 1


def test_a_certificate_lets_known_callers_in_and_the_diagnostics_are_apart(
    material: Variables, authority: Authority, aws: Aws, invoke: Invoke
) -> None:
    address, diagnostics = reachable_address(), reachable_address()
    variables = pick(material, TLS_CERT, TLS_KEY, TLS_CLIENT_CA)
    with served(address, **aws.service_environment(), **variables, **{DIAGNOSTICS: diagnostics}) as service:
        service.wait_for("own account")
        control_plane = authority.issue("control-plane", ExtendedKeyUsageOID.CLIENT_AUTH)
        options = ["--service", address, "--tls-ca-file", str(authority.cert)]
        shown = ["--tls-cert-file", str(control_plane.cert), "--tls-key-file", str(control_plane.key)]
        assert invoke("authenticate", *options, *shown, stdin=aws.credential()).exit_code == 0
        refused = invoke("authenticate", *options, stdin=aws.credential())
        assert (refused.exit_code, refused.stdout) == (1, "")

        own = {**variables, LISTEN: address, DIAGNOSTICS: diagnostics}
        assert invoke("health", **own).exit_code == 0
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port_of(diagnostics)}", trust_env=False, timeout=PATIENCE
        ) as client:
            samples = read_samples(client.get("/metrics").text)
            assert client.post("/v1/authenticate", json={"credential": "x"}).status_code == 404
        assert value(samples, "kuma_aws_iam_unknown_callers_total", check="certificate") == 1
        assert service.stop() == 0
    assert "Traceback" not in "".join(service.lines)


@pytest.mark.parametrize("both_uses", [True, False], ids=["both-uses", "server-alone"])
def test_health_shows_the_services_own_certificate_where_it_has_nothing_else(
    authority: Authority, invoke: Invoke, *, both_uses: bool
) -> None:
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if both_uses else [])]
    own = authority.issue("own", *uses)
    files = {TLS_CERT: str(own.cert), TLS_KEY: str(own.key), TLS_CLIENT_CA: str(authority.cert)}
    address = free_address()
    with served(address, **OLD_GENERATION, **files):
        result = invoke("health", **files, **{LISTEN: address})
    assert result.exit_code == (0 if both_uses else 1)
    assert both_uses or address in result.stderr


def test_in_the_services_own_environment_no_other_certificate_will_do(
    material: Variables, authority: Authority, invoke: Invoke
) -> None:
    """The command expects exactly this certificate, under any host name. One of the same authority is not accepted."""
    address = free_address()
    with served(address, **OLD_GENERATION, **pick(material, TLS_CERT, TLS_KEY)):
        assert invoke("health", **pick(material, TLS_CERT, TLS_KEY), **{LISTEN: address}).exit_code == 0
        other = authority.issue("other", ExtendedKeyUsageOID.SERVER_AUTH)
        files = {TLS_CERT: str(other.cert), TLS_KEY: str(other.key)}
        result = invoke("health", **files, **{LISTEN: address})
    assert result.exit_code == 1
    assert "is not trusted" in result.stderr


def test_a_command_does_not_send_a_token_across_the_network_in_clear(material: Variables, invoke: Invoke) -> None:
    result = invoke("authenticate", "--service", "192.0.2.1:5690", stdin="x", **pick(material, TOKENS))
    assert result.exit_code == 2
    assert "in clear" in result.stderr


@pytest.mark.parametrize("option", ["--caller-token-file", "--tls-ca-file", "--tls-cert-file"])
@pytest.mark.parametrize("content", ["", "canary nonsense"])
def test_a_file_that_does_not_do_is_a_usage_error(invoke: Invoke, tmp_path: Path, option: str, content: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    result = invoke("authenticate", "--service", free_address(), option, str(path), stdin="x")
    assert result.exit_code == 2
    assert str(path) in result.stderr or "TLS files" in result.stderr
    assert "canary" not in result.stderr


def test_a_socket_for_everybody_still_wants_a_token(material: Variables, aws: Aws, invoke: Invoke) -> None:
    with socket_address() as address:
        path = Path(address.removeprefix("unix:"))
        variables = {**aws.service_environment(), **pick(material, TOKENS), MODE: "0666", GROUP: str(GID)}
        with served(address, **variables) as service:
            service.wait_for("own account")
            made = path.stat()
            assert (stat.S_IMODE(made.st_mode), made.st_gid) == (0o666, GID)
            answer = service.client.post("/v1/authenticate", json={"credential": aws.credential()})
            assert answer.json()["reason"] == "caller_not_authenticated"
            assert service.client.get("/healthy").status_code == 200
            own = {LISTEN: address, **pick(material, TOKENS)}
            assert invoke("authenticate", stdin=aws.credential(), **own).exit_code == 0
            assert service.stop() == 0
        assert not path.exists()


def test_a_group_that_may_not_be_given_ends_the_start_with_a_sentence(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may give a file to every group")
    done = run("serve", **OLD_GENERATION, **{LISTEN: f"unix:{path}", GROUP: "1"})
    assert done.status == 1
    assert GROUP in done.err
    assert not path.exists()
