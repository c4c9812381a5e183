"""``keys generate``: a key pair that the service reads, and the matching configuration of the control plane."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.core.token_kind import TokenKind
from app.tokens.key_files import read_dataplane_key_file, read_zone_key_file
from tests.cli.conftest import Invoke
from tests.support.process import run_cold


def generate(invoke: Invoke, folder: Path, *options: str) -> Result:
    return invoke("keys", "generate", "--out", str(folder), *options)


def line_of(result: Result) -> str:
    """Return the line for the service's file of keys."""
    return result.stdout.splitlines()[1].removeprefix("#   ")


def test_the_line_and_the_files_are_what_the_service_reads(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path, "--kind", "dataplane", "--mesh", "payments", "--kid", "payments-1")
    assert result.exit_code == 0
    assert line_of(result) == "payments-1 payments payments-1.pem"
    (tmp_path / "keys").write_text(line_of(result))
    [key] = read_dataplane_key_file(str(tmp_path / "keys")).keys
    assert (key.kid, key.kind, key.mesh, key.private.key_size) == ("payments-1", TokenKind.DATAPLANE, "payments", 2048)
    printed = yaml.safe_load(result.stdout)["dpServer"]["authn"]["dpProxy"]["dpToken"]["validator"]
    [entry] = printed["publicKeys"]
    assert printed["useSecrets"] is True
    assert (entry["kid"], entry["mesh"]) == ("payments-1", "payments")
    assert load_pem_public_key(entry["key"].encode()) == key.public
    assert entry["key"].startswith("-----BEGIN RSA PUBLIC KEY-----\n"), (
        "Kuma reads PKCS#1 since an earlier release than PKIX"
    )


def authn_of(result: Result) -> dict[str, Any]:
    """What Kuma reads. Of several YAML documents Kuma drops all but one without an error, so there must be one."""
    [document] = yaml.safe_load_all(result.stdout)
    assert document.keys() == {"dpServer"}
    authn: dict[str, Any] = document["dpServer"]["authn"]
    return authn


def test_both_kinds_are_one_document_and_what_the_service_reads(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path, "--kind", "both", "--for", "2.x", "--mesh", "default", "--kid", "1")
    assert result.exit_code == 0
    comments = [line.removeprefix("#   ") for line in result.stdout.splitlines() if line.startswith("#   ")]
    variables = dict(line.split("=") for line in comments)
    [dataplane] = read_dataplane_key_file(variables["KMESH_AWSIAM_DATAPLANE_KEYS_FILE"]).keys
    [zone] = read_zone_key_file(variables["KMESH_AWSIAM_ZONE_KEYS_FILE"]).keys
    assert (dataplane.kid, dataplane.mesh, zone.kid, zone.mesh) == ("dataplane-1", "default", "zone-1", None)
    accounts = {"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "111122223333", "AWS_REGION": "eu-west-1"}
    assert run_cold("check-config", **variables, **accounts).status == 0

    authn = authn_of(result)
    assert authn["enableReloadableTokens"] is True
    for section, key in ((authn["dpProxy"], dataplane), (authn["zoneProxy"], zone)):
        [entry] = section[section["type"]]["validator"]["publicKeys"]
        assert (entry["kid"], entry.get("mesh")) == (key.kid, key.mesh)
        assert load_pem_public_key(entry["key"].encode()) == key.public
    assert stat.S_IMODE((tmp_path / "zone-1.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in result.output


def test_kuma_3_gets_no_zone_key(invoke: Invoke, tmp_path: Path) -> None:
    """No proxy of 3.0 presents a zone token, and the control plane ignores the section."""
    result = generate(invoke, tmp_path, "--kind", "both", "--kid", "1")
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataplane-1.pem",
        "dataplane-1.pub.pem",
        "dataplane.keys",
    ]
    assert authn_of(result).keys() == {"enableReloadableTokens", "dpProxy"}
    assert "ZONE" not in result.stdout


@pytest.mark.parametrize("name", ["dataplane.keys", "zone.keys", "dataplane-1.pem", "zone-1.pub.pem"])
def test_both_kinds_overwrite_nothing_and_write_nothing_then(invoke: Invoke, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    result = generate(invoke, tmp_path, "--kind", "both", "--for", "2.x", "--kid", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_no_key_stays_if_a_later_file_cannot_be_written(invoke: Invoke, tmp_path: Path) -> None:
    """Otherwise a forgotten private key would stay on disk, and the same command would never succeed again."""
    last = tmp_path / "zone.keys"
    last.symlink_to("nowhere")
    result = generate(invoke, tmp_path, "--kind", "both", "--for", "2.x", "--kid", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing was written" in result.stderr
    assert list(tmp_path.iterdir()) == [last]


def test_a_zone_key_has_no_mesh(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path, "--kind", "zone", "--bits", "3072")
    (tmp_path / "keys").write_text(line_of(result))
    [key] = read_zone_key_file(str(tmp_path / "keys")).keys
    assert (key.kind, key.mesh, key.private.key_size) == (TokenKind.ZONE, None, 3072)
    [entry] = yaml.safe_load(result.stdout)["dpServer"]["authn"]["zoneProxy"]["zoneToken"]["validator"]["publicKeys"]
    assert entry.keys() == {"kid", "key"}
    assert entry["kid"] == key.kid


def test_a_key_of_every_mesh_names_none_to_the_control_plane(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path, "--kind", "dataplane")
    kid, mesh, path = line_of(result).split()
    assert (mesh, path) == ("*", f"{kid}.pem")
    [entry] = yaml.safe_load(result.stdout)["dpServer"]["authn"]["dpProxy"]["dpToken"]["validator"]["publicKeys"]
    assert "mesh" not in entry


def test_each_key_has_an_id_of_its_own(invoke: Invoke, tmp_path: Path) -> None:
    kids = {line_of(generate(invoke, tmp_path, "--kind", "zone")).split()[0] for _ in range(2)}
    assert len(kids) == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_the_private_key_is_its_owners_alone_and_is_not_printed(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path, "--kind", "zone", "--kid", "zone-1")
    private = tmp_path / "zone-1.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "zone-1.pub.pem").stat().st_mode) & 0o022 == 0
    assert private.read_text().splitlines()[1] not in result.output
    assert "PRIVATE" not in result.output


@pytest.mark.parametrize("name", ["zone-1.pem", "zone-1.pub.pem"])
def test_nothing_is_overwritten(invoke: Invoke, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    result = generate(invoke, tmp_path, "--kind", "zone", "--kid", "zone-1")
    assert result.exit_code == 1
    assert f"{name} is there already" in result.stderr
    assert result.stdout == ""
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "--kind"),
        (["--kind", "user"], "user"),
        (["--kind", "zone", "--mesh", "default"], "--mesh"),
        (["--kind", "dataplane", "--mesh", "Default"], "--mesh"),
        (["--kind", "zone", "--kid", "1"], "--kid"),
        (["--kind", "zone", "--kid", "../zone"], "--kid"),
        (["--kind", "both", "--kid", "../zone"], "--kid"),
        (["--kind", "both", "--mesh", "Default"], "--mesh"),
        (["--kind", "zone", "--bits", "1024"], "--bits"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    invoke: Invoke, tmp_path: Path, options: list[str], word: str
) -> None:
    result = generate(invoke, tmp_path, *options)
    assert result.exit_code == 2
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(invoke: Invoke, tmp_path: Path) -> None:
    result = generate(invoke, tmp_path / "nowhere", "--kind", "zone")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
