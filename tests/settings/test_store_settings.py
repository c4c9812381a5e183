"""The settings of the shared store: the URL, the file of keys, and the variables that need each other."""

import base64
import os
import sys
from pathlib import Path

import pytest

from app.settings.loading import SettingsError
from app.settings.warnings import find_warnings
from app.settings.watch import FileWatch
from app.store.keys import StoreKeySource, read_store_key_file
from app.store.sealing import derive_key
from app.store.url import StoreAddress, parse_store_url
from app.telemetry.metrics import Metrics
from tests.conftest import LoadSettings
from tests.support.exposition import read_samples, value
from tests.support.tls import make_certificate
from tests.support.world import ACCOUNT, NEW_GENERATION

STORE = "KMESH_AWSIAM_STORE"
KEY_FILE = "KMESH_AWSIAM_STORE_KEY_FILE"
CA_FILE = "KMESH_AWSIAM_STORE_CA_FILE"
BASE = {**NEW_GENERATION, "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ACCOUNT}

SECRET, OTHER, THIRD = (bytes(range(start, start + 32)) for start in (0, 32, 64))
TEXT, OTHER_TEXT = base64.b64encode(SECRET).decode(), base64.b64encode(OTHER).decode()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "store-keys"
    path.write_text(f"# of all replicas\n{TEXT}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


# The URL.


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://store", StoreAddress(scheme="redis", host="store"), "redis://store:6379/0"),
        ("redis://127.0.0.1:1/", StoreAddress(scheme="redis", host="127.0.0.1", port=1), "redis://127.0.0.1:1/0"),
        (
            "rediss://mesh:p%40ss%2Fw%3Ard@store.internal.:6380/15",
            StoreAddress(
                scheme="rediss",
                host="store.internal.",
                port=6380,
                database=15,
                username="mesh",
                password="p@ss/w:rd",
            ),
            "rediss://store.internal.:6380/15",
        ),
        (
            "rediss://:s:e:c=ret+@[2001:db8::1]:65535",
            StoreAddress(scheme="rediss", host="2001:db8::1", port=65535, password="s:e:c=ret+"),
            "rediss://[2001:db8::1]:65535/0",
        ),
        (
            "unix:///run/redis/redis.sock",
            StoreAddress(scheme="unix", path=Path("/run/redis/redis.sock")),
            "unix:///run/redis/redis.sock",
        ),
        (
            "unix://mesh:m%C3%BC@/run/redis.sock",
            StoreAddress(scheme="unix", path=Path("/run/redis.sock"), username="mesh", password="mü"),
            "unix:///run/redis.sock",
        ),
    ],
)
def test_a_url_says_where_the_store_is(url: str, address: StoreAddress, shown: str) -> None:
    parsed = parse_store_url(url)
    assert parsed == address
    assert str(parsed) == shown


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("store:6379", id="no-scheme"),
        pytest.param("http://store:6379", id="another-scheme"),
        pytest.param("REDIS://store", id="scheme-in-upper-case"),
        pytest.param("redis://", id="no-host"),
        pytest.param("redis://store:", id="no-port"),
        pytest.param("redis://store:0", id="port-zero"),
        pytest.param("redis://store:65536", id="port-too-high"),
        pytest.param("redis://store:637911", id="port-and-database-in-one"),
        pytest.param("redis://store/x", id="database-is-no-number"),
        pytest.param("redis://store/0/1", id="path"),
        pytest.param("rediss://store?ssl_cert_reqs=none", id="query-that-turns-verification-off"),
        pytest.param("rediss://store/0?ssl_check_hostname=false", id="query-behind-the-database"),
        pytest.param("redis://store#x", id="fragment"),
        pytest.param("redis://canary@store", id="user-without-password"),
        pytest.param("redis://mesh:@store", id="empty-password"),
        pytest.param("redis://:canary/slash@store", id="slash-in-the-password"),
        pytest.param("redis://:canary@x@store", id="at-in-the-password"),
        pytest.param("redis://:canary%zz@store", id="broken-escape"),
        pytest.param("redis://:canary%ff@store", id="escape-of-no-utf-8"),
        pytest.param("redis://sto re", id="blank"),
        pytest.param("redis://store\n", id="line-break"),
        pytest.param("redis://störe", id="not-ascii"),
        pytest.param("redis://a,b", id="two-hosts"),
        pytest.param("unix://run/redis.sock", id="relative-socket"),
        pytest.param("unix:///run/redis.sock?db=1", id="socket-with-a-query"),
        pytest.param("unix:/run/redis.sock", id="one-slash"),
    ],
)
def test_a_url_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded") as raised:
        parse_store_url(url)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "is_private"),
    [
        ("redis://store", False),
        ("redis://10.0.0.1", False),
        ("redis://localhost", True),
        ("redis://127.0.0.2", True),
        ("redis://[::1]", True),
        ("rediss://store", True),
        ("unix:///run/redis.sock", True),
    ],
)
def test_what_crosses_a_network_in_clear_is_known(url: str, is_private: bool) -> None:  # noqa: FBT001 - a column
    assert parse_store_url(url).is_private is is_private


# The file of keys.


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        pytest.param(TEXT, [SECRET], id="base64"),
        pytest.param(f"{SECRET.hex()}\n", [SECRET], id="hex"),
        pytest.param(SECRET.hex().upper(), [SECRET], id="hex-in-upper-case"),
        pytest.param(f"{TEXT}\r\n{OTHER.hex()}\r\n", [SECRET, OTHER], id="two"),
        pytest.param(f"# müsli\n\n {TEXT} # new\n\t{OTHER_TEXT}\n", [SECRET, OTHER], id="comments"),
    ],
)
def test_a_file_holds_one_key_a_line(tmp_path: Path, content: str, secrets: list[bytes]) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content.encode())
    file = read_store_key_file(str(path))
    assert list(file.secrets) == secrets
    ids = [key.key_id for key in StoreKeySource(file).keys]
    assert ids == [derive_key(secret).key_id for secret in secrets]


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        pytest.param(b"", "it holds 0", id="empty"),
        pytest.param(b"# none\n\n", "it holds 0", id="comments-alone"),
        pytest.param(f"{TEXT}\n{OTHER_TEXT}\n{THIRD.hex()}\n".encode(), "it holds 3", id="three"),
        pytest.param(f"{TEXT}\n{TEXT}\n".encode(), "twice", id="twice"),
        pytest.param(f"{TEXT}\n{SECRET.hex()}\n".encode(), "twice", id="twice-in-two-spellings"),
        pytest.param(b"canary-canary-canary-canary-canary-canary!", "line 1", id="a-password"),
        pytest.param(TEXT[:-4].encode(), "line 1", id="too-short"),
        pytest.param(base64.b64encode(SECRET + b"x"), "line 1", id="too-long"),
        pytest.param(TEXT.rstrip("=").encode(), "line 1", id="no-padding"),
        pytest.param(f"{TEXT}\n{TEXT} {OTHER_TEXT}\n".encode(), "line 2", id="two-on-a-line"),
        pytest.param(SECRET.hex()[:-1].encode(), "line 1", id="hex-less-a-digit"),
        pytest.param(b"g" * 64, "line 1", id="no-hex"),
        pytest.param(b"0" * 64, "line 1", id="zeros"),
        pytest.param(b"A" * 43 + b"=", "line 1", id="zeros-in-base64"),
        pytest.param(base64.b64encode(b"swordfish" * 3 + b"sword"), "line 1", id="words"),
        pytest.param(TEXT.encode() + b"\n\xff\n", "UTF-8", id="not-utf-8"),
    ],
)
def test_a_file_that_does_not_do_is_refused_and_not_repeated(tmp_path: Path, content: bytes, remedy: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=remedy) as raised:
        read_store_key_file(str(path))
    assert "canary" not in str(raised.value)
    assert TEXT not in str(raised.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or directory"):
        read_store_key_file(str(tmp_path / "nowhere"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_store_key_file(str(tmp_path / "pipe"))


def test_a_file_that_changes_is_taken_over_and_a_bad_one_is_not(key_file: Path) -> None:
    metrics = Metrics()
    source = StoreKeySource(read_store_key_file(str(key_file)))
    watch = FileWatch("store_key", [source.path], source.load, metrics)
    key_file.write_text(f"{OTHER_TEXT}\n{TEXT}\n", encoding="utf-8")
    watch.check()
    assert [key.key_id for key in source.keys] == [derive_key(OTHER).key_id, derive_key(SECRET).key_id]
    key_file.write_text("oops", encoding="utf-8")
    watch.check()
    assert len(source.keys) == 2
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_reload_failures_total", what="store_key") == 1


# Settings in combination.


def test_a_store_and_its_key_are_settings(settings_of: LoadSettings, key_file: Path, tmp_path: Path) -> None:
    ca_file = make_certificate(tmp_path).cert
    variables = {STORE: "rediss://mesh:canary-password@store", KEY_FILE: str(key_file), CA_FILE: str(ca_file)}
    settings = settings_of(**BASE, **variables)
    assert settings.store == parse_store_url(variables[STORE])
    assert settings.store_key_file is not None
    assert settings.store_key_file.secrets == (SECRET,)
    assert settings.store_ca_file == str(ca_file)
    assert not any(STORE in warning for warning in find_warnings(settings))


def test_no_setting_shows_the_password_or_the_key(settings_of: LoadSettings, key_file: Path) -> None:
    settings = settings_of(**BASE, **{STORE: "rediss://mesh:canary-password@store", KEY_FILE: str(key_file)})
    shown = repr(settings) + str(list(settings.effective()))
    assert "canary-password" not in shown
    assert TEXT not in shown
    assert repr(SECRET) not in shown
    effective = {variable: text for variable, text, _ in settings.effective()}
    assert (effective[STORE], effective[KEY_FILE]) == ("rediss://store:6379/0", str(key_file))


def test_a_store_on_another_host_in_clear_is_warned_about(settings_of: LoadSettings, key_file: Path) -> None:
    settings = settings_of(**BASE, **{STORE: "redis://:canary@store", KEY_FILE: str(key_file)})
    (warning,) = (warning for warning in find_warnings(settings) if STORE in warning)
    assert "rediss://" in warning
    assert "canary" not in warning


@pytest.mark.parametrize(
    ("given", "at_fault"),
    [
        pytest.param({STORE: "unix:///run/redis.sock"}, STORE, id="no-key"),
        pytest.param({KEY_FILE: ""}, KEY_FILE, id="no-store"),
        pytest.param({STORE: "store", KEY_FILE: ""}, STORE, id="no-url"),
        pytest.param({STORE: "rediss://store", KEY_FILE: "nowhere"}, KEY_FILE, id="no-file"),
        pytest.param({STORE: "redis://localhost", KEY_FILE: "", CA_FILE: "cert.pem"}, CA_FILE, id="ca-without-tls"),
        pytest.param({CA_FILE: "cert.pem"}, CA_FILE, id="ca-alone"),
        pytest.param({STORE: "rediss://store", KEY_FILE: "", CA_FILE: "nowhere"}, CA_FILE, id="no-ca"),
    ],
)
def test_half_of_a_store_ends_the_start(
    settings_of: LoadSettings, key_file: Path, tmp_path: Path, given: dict[str, str], at_fault: str
) -> None:
    """An empty file name means the valid file."""
    make_certificate(tmp_path)
    variables = {
        name: text if name == STORE else str(tmp_path / (text or key_file.name)) for name, text in given.items()
    }
    with pytest.raises(SettingsError) as raised:
        settings_of(**BASE, **variables)
    assert [problem.variable for problem in raised.value.problems] == [at_fault]


def test_without_the_package_the_start_ends_and_says_what_to_install(
    settings_of: LoadSettings, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    assert settings_of(**BASE).store is None
    with pytest.raises(SettingsError, match=r"pip install 'kuma-aws-iam\[redis\]'") as raised:
        settings_of(**BASE, **{STORE: "redis://localhost", KEY_FILE: str(key_file)})
    assert [problem.variable for problem in raised.value.problems] == [STORE]
