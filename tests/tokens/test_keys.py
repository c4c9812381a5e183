"""The files of signing keys: their content, that the two kinds stay separate, and that changes take effect."""

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from app.core.token_kind import TokenKind
from app.settings.loading import SettingsError
from app.settings.warnings import find_warnings
from app.settings.watch import FileWatch
from app.telemetry.metrics import Metrics
from app.tokens.key_files import SigningKeySource, read_dataplane_key_file, read_zone_key_file
from app.tokens.keys import SigningKey
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import read_samples, value
from tests.support.keys import DATAPLANE_KID, ZONE_KID, KeyFiles, private_pem, public_pem, rsa_key
from tests.support.world import NEW_GENERATION

DATAPLANE_FILE = "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"
ZONE_FILE = "KMESH_AWSIAM_ZONE_KEYS_FILE"


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


def source_of(files: KeyFiles) -> SigningKeySource:
    return SigningKeySource(read_dataplane_key_file(str(files.dataplane)), read_zone_key_file(str(files.zone)))


# The content of a file.


def test_a_line_names_a_key(files: KeyFiles) -> None:
    files.dataplane.write_text(f"# ours\n\n a-1  default\tdp-1.pem  # since May\nb-1 * {files.folder}/dp-1.pem\r\n")
    file = read_dataplane_key_file(str(files.dataplane))
    assert [(key.kid, key.kind, key.mesh) for key in file.keys] == [
        ("a-1", TokenKind.DATAPLANE, "default"),
        ("b-1", TokenKind.DATAPLANE, "*"),
    ]
    assert set(file.paths) == {files.dataplane, files.folder / "dp-1.pem"}
    [zone] = read_zone_key_file(str(files.zone)).keys
    assert (zone.kid, zone.kind, zone.mesh) == (ZONE_KID, TokenKind.ZONE, None)
    assert zone.public.public_numbers() == rsa_key(1).public_key().public_numbers()


def test_a_key_is_written_in_either_form_of_pem(files: KeyFiles) -> None:
    pkcs1 = rsa_key(0).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert b"BEGIN RSA PRIVATE KEY" in pkcs1
    [pkcs8_key] = read_dataplane_key_file(str(files.dataplane)).keys
    (files.folder / "dp-1.pem").write_bytes(pkcs1)
    assert read_dataplane_key_file(str(files.dataplane)).keys == (pkcs8_key,)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        pytest.param("", "holds no key", id="empty"),
        pytest.param("# nothing\n", "holds no key", id="comments-alone"),
        pytest.param("dp-1 dp-1.pem", "KID MESH PATH", id="no-mesh"),
        pytest.param("dp-1 * dp-1.pem dp-2.pem", "KID MESH PATH", id="two-paths"),
        pytest.param("1 * dp-1.pem", "not a number alone", id="kid-of-kumas-own-keys"),
        pytest.param("dp/1 * dp-1.pem", "a key's id", id="kid-with-a-slash"),
        pytest.param("dp-1 Default dp-1.pem", "a mesh is", id="mesh-in-upper-case"),
        pytest.param("dp-1 ** dp-1.pem", "a mesh is", id="pattern"),
        pytest.param("dp-1 * nowhere.pem", "cannot be read", id="no-such-file"),
        pytest.param("dp-1 * .", "no regular file", id="folder"),
        pytest.param("dp-1 * dp-1.pem\ndp-1 default dp-1.pem", "appears twice", id="kid-twice"),
    ],
)
def test_a_file_that_is_none_is_refused(files: KeyFiles, content: str, remedy: str) -> None:
    files.dataplane.write_text(content)
    with pytest.raises(ValueError, match=remedy.replace("(", r"\(")):
        read_dataplane_key_file(str(files.dataplane))


def test_a_zone_key_has_no_mesh(files: KeyFiles) -> None:
    files.zone.write_text("zone-1 * zone-1.pem\n")
    with pytest.raises(ValueError, match="line 1: it must be KID PATH"):
        read_zone_key_file(str(files.zone))


SECRET = private_pem(rsa_key(0)).decode().splitlines()[5]


@pytest.mark.parametrize(
    ("pem", "remedy"),
    [
        pytest.param(b"", "PEM", id="empty"),
        pytest.param(public_pem(rsa_key(0)).encode(), "PEM", id="public-half"),
        pytest.param(private_pem(rsa_key(0))[:-200], "PEM", id="cut"),
        pytest.param(
            rsa_key(0).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "unencrypted",
            id="encrypted",
        ),
        pytest.param(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "not RSA",
            id="elliptic-curve",
        ),
        pytest.param(private_pem(rsa_key(0, 1024)), "1024 bits", id="too-small"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_repeated(files: KeyFiles, pem: bytes, remedy: str) -> None:
    """I22."""
    (files.folder / "dp-1.pem").write_bytes(pem)
    with pytest.raises(ValueError, match=remedy) as raised:
        read_dataplane_key_file(str(files.dataplane))
    assert "line 1: " in str(raised.value)
    chain = [raised.value, raised.value.__cause__]
    assert not any(SECRET in str(error) or SECRET in repr(error) for error in chain)


def test_no_repr_holds_a_key(files: KeyFiles) -> None:
    """I22."""
    file = read_dataplane_key_file(str(files.dataplane))
    assert SECRET not in repr(file)
    assert repr(file.keys[0]) == f"SigningKey(kid='{DATAPLANE_KID}', kind=<TokenKind.DATAPLANE: 'dataplane'>, mesh='*')"
    assert str(file) == str(files.dataplane)


# Which key signs.


def kid_of(key: SigningKey | None) -> str | None:
    return None if key is None else key.kid


def test_the_first_line_of_a_mesh_signs_and_the_star_for_meshes_without_one(files: KeyFiles) -> None:
    files.write_key("dp-2.pem", rsa_key(2))
    files.dataplane.write_text("any-1 * dp-1.pem\nb-2 b dp-2.pem\nb-1 b dp-1.pem\nany-2 * dp-2.pem\n")
    keys = source_of(files).keys
    assert kid_of(keys.find_signer(TokenKind.DATAPLANE, "b")) == "b-2"
    assert kid_of(keys.find_signer(TokenKind.DATAPLANE, "a")) == "any-1"
    assert kid_of(keys.find_signer(TokenKind.ZONE, None)) == ZONE_KID
    assert {kid_of(keys.find(kid)) for kid in ("any-1", "any-2", "b-1", "b-2")} == {"any-1", "any-2", "b-1", "b-2"}
    assert keys.find("c-1") is None


def test_a_mesh_without_a_line_and_without_a_star_has_no_key(files: KeyFiles) -> None:
    files.dataplane.write_text("a-1 a dp-1.pem\n")
    keys = source_of(files).keys
    assert keys.find_signer(TokenKind.DATAPLANE, "b") is None
    only_zones = SigningKeySource(None, read_zone_key_file(str(files.zone))).keys
    assert only_zones.find_signer(TokenKind.DATAPLANE, "a") is None


# The two kinds stay separate.


def problems(settings_of: LoadSettings, **variables: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **variables)
    return {problem.variable: problem.remedy for problem in raised.value.problems}


def test_both_files_are_settings(settings_of: LoadSettings, files: KeyFiles) -> None:
    settings = settings_of(**NEW_GENERATION, **files.settings())
    assert settings.dataplane_keys_file is not None
    assert settings.zone_keys_file is not None
    shown = {variable: shown for variable, shown, _ in settings.effective()}
    assert shown[DATAPLANE_FILE] == str(files.dataplane)
    assert SECRET not in repr(settings)


def test_one_key_of_both_kinds_ends_the_start_whatever_its_file_and_form(
    settings_of: LoadSettings, files: KeyFiles
) -> None:
    """Kuma would accept a zone token with a data plane key as a token for every data plane of every mesh."""
    (files.folder / "zone-1.pem").write_bytes(
        rsa_key(0).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    found = problems(settings_of, **files.settings())
    assert list(found) == [f"{DATAPLANE_FILE} and {ZONE_FILE}"]
    assert "keys generate" in found[f"{DATAPLANE_FILE} and {ZONE_FILE}"]


def test_one_key_id_in_both_files_ends_the_start(settings_of: LoadSettings, files: KeyFiles) -> None:
    files.zone.write_text(f"{DATAPLANE_KID} zone-1.pem\n")
    assert list(problems(settings_of, **files.settings())) == [f"{DATAPLANE_FILE} and {ZONE_FILE}"]


def test_a_file_that_cannot_be_read_is_its_own_problem(settings_of: LoadSettings, files: KeyFiles) -> None:
    files.zone.write_text("nothing\n")
    assert list(problems(settings_of, **files.settings())) == [ZONE_FILE]


def test_a_zone_needs_no_keys_that_sign_for_zones(settings_of: LoadSettings, files: KeyFiles) -> None:
    """The zone limits decisions too."""
    for keys in ({}, {DATAPLANE_FILE: str(files.dataplane)}, files.settings()):
        assert settings_of(**NEW_GENERATION, **keys, KMESH_AWSIAM_ZONE="east").zone == "east"


def test_a_start_tells_that_names_and_envoys_call_exclude_one_another(
    settings_of: LoadSettings, files: KeyFiles
) -> None:
    def is_told(**variables: str) -> bool:
        return any("/v1/ext-authz" in line for line in find_warnings(settings_of(**NEW_GENERATION, **variables)))

    names = {"KMESH_AWSIAM_TOKEN_NAMES": "true"}
    assert is_told(**names, **{DATAPLANE_FILE: str(files.dataplane)})
    assert not is_told(**{DATAPLANE_FILE: str(files.dataplane)})
    assert not is_told(**names, **{ZONE_FILE: str(files.zone)})
    assert not is_told(**names)


def test_a_start_tells_that_workloads_may_be_unbound(settings_of: LoadSettings) -> None:
    name = "KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS"
    assert any(name in line for line in find_warnings(settings_of(**NEW_GENERATION, **{name: "true"})))
    assert not any(name in line for line in find_warnings(settings_of(**NEW_GENERATION)))


def test_a_start_with_keys_tells_that_a_role_without_a_service_is_one_of_every_service(
    settings_of: LoadSettings, files: KeyFiles
) -> None:
    def is_told(**variables: str) -> bool:
        return any(name in line for line in find_warnings(settings_of(**NEW_GENERATION, **variables)))

    name = "KMESH_AWSIAM_REQUIRE_SERVICE_TAG"
    keys = {DATAPLANE_FILE: str(files.dataplane)}
    assert is_told(**keys)
    assert not is_told(**keys, **{name: "true"})
    assert not is_told(**{ZONE_FILE: str(files.zone)})
    assert not is_told()


@pytest.mark.parametrize("level", ["warning", "error"])
@pytest.mark.parametrize("variable", [DATAPLANE_FILE, ZONE_FILE])
def test_where_tokens_are_issued_their_ids_are_logged(
    settings_of: LoadSettings, files: KeyFiles, variable: str, level: str
) -> None:
    """Kuma revokes a token by its id, which only the audit line has."""
    name, keys = "KMESH_AWSIAM_LOG_LEVEL", {variable: files.settings()[variable]}
    found = problems(settings_of, **keys, **{name: level})
    assert list(found) == [name]
    assert "info" in found[name]
    assert settings_of(**NEW_GENERATION, **{name: level}).log_level == level
    assert settings_of(**NEW_GENERATION, **keys, **{name: "debug"}).log_level == "debug"


@pytest.mark.parametrize(
    ("variable", "text"), [("KMESH_AWSIAM_TOKEN_VALIDITY", "60"), ("KMESH_AWSIAM_TOKEN_NAMES", "true")]
)
def test_what_is_without_effect_is_told(settings_of: LoadSettings, files: KeyFiles, variable: str, text: str) -> None:
    told = f"{variable} does nothing"
    assert any(told in line for line in find_warnings(settings_of(**NEW_GENERATION, **{variable: text})))
    with_keys = settings_of(**NEW_GENERATION, **files.settings(), **{variable: text})
    assert not any(told in line for line in find_warnings(with_keys))


# A change takes effect.


def kids(source: SigningKeySource) -> set[str]:
    return {key.kid for key in source.keys._keys}


def test_a_changed_file_is_taken_over_with_the_files_that_it_names(files: KeyFiles) -> None:
    source, metrics = source_of(files), Metrics()
    watch = FileWatch("signing_keys", lambda: source.paths, source.load, metrics)
    watch.check()
    files.write_key("dp-2.pem", rsa_key(2))
    files.dataplane.write_text(f"dp-2 * dp-2.pem\n{DATAPLANE_KID} * dp-1.pem\n")
    watch.check()
    assert kids(source) == {"dp-2", DATAPLANE_KID, ZONE_KID}
    assert kid_of(source.keys.find_signer(TokenKind.DATAPLANE, "default")) == "dp-2"
    files.write_key("dp-2.pem", rsa_key(3))  # a file that only the new version names
    watch.check()
    found = source.keys.find("dp-2")
    assert found is not None
    assert found.public.public_numbers() == rsa_key(3).public_key().public_numbers()
    assert watch.bad_for() == 0


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda files: files.dataplane.write_text("nothing\n"), id="line"),
        pytest.param(lambda files: files.dataplane.unlink(), id="file"),
        pytest.param(lambda files: (files.folder / "dp-1.pem").write_text("nothing"), id="key"),
        pytest.param(lambda files: files.write_key("zone-1.pem", rsa_key(0)), id="one-key-of-both-kinds"),
        pytest.param(lambda files: files.zone.write_text(f"{DATAPLANE_KID} zone-1.pem\n"), id="kid-of-both-kinds"),
    ],
)
def test_a_bad_change_leaves_the_keys_of_before_in_force_loudly(files: KeyFiles, spoil: Any) -> None:
    source, metrics = source_of(files), Metrics()
    watch = FileWatch("signing_keys", lambda: source.paths, source.load, metrics)
    watch.check()
    before = source.keys
    spoil(files)
    watch.check()
    assert source.keys is before
    assert watch.bad_for() > 0
    samples = read_samples(metrics.expose().decode())
    assert value(samples, "kuma_aws_iam_reload_failures_total", what="signing_keys") == 1
    KeyFiles.make(files.folder)
    watch.check()
    assert watch.bad_for() == 0
    assert kids(source) == {DATAPLANE_KID, ZONE_KID}


def test_the_fingerprint_tells_keys_apart_and_nothing_else(files: KeyFiles) -> None:
    files.write_key("dp-2.pem", rsa_key(2))
    files.dataplane.write_text("a * dp-1.pem\nb * dp-1.pem\nc * dp-2.pem\n")
    a, b, c = read_dataplane_key_file(str(files.dataplane)).keys
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert a != b, "a key of another id"


async def test_metrics_show_when_the_file_of_each_key_was_changed(start_service: StartService, files: KeyFiles) -> None:
    """An RSA key has no date of its own."""
    os.utime(files.folder / "dp-1.pem", (0, 1_700_000_000))
    async with start_service(**files.settings()) as service:
        samples = await service.metrics()
    name = "kuma_aws_iam_signing_key_changed_timestamp_seconds"
    assert value(samples, name, kind="dataplane", kid=DATAPLANE_KID) == 1_700_000_000
    assert value(samples, name, kind="zone", kid=ZONE_KID) > 1_700_000_000
