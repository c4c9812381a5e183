"""``keys generate``: make a key pair for signing tokens, and the configuration for the service and the control plane."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.cli.options import fail
from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind
from app.tokens.codec import is_key_id
from app.tokens.control_plane_config import control_plane_yaml, public_pem
from app.tokens.key_files import MAX_KEY_BITS, MIN_KEY_BITS, is_mesh

_EXPONENT: Final = 65537
_PRIVATE_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_FINGERPRINT_BYTES: Final = 6


@click.group(short_help="Make the keys that tokens are signed with.")
def keys() -> None:
    """Make the keys that sign tokens for the control plane."""


@keys.command(short_help="Write a key pair, and print the configuration that goes with it.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in TokenKind]),
    required=True,
    help="dataplane: for data plane tokens. zone: for those of ingresses and egresses. One key is never both.",
)
@click.option(
    "--mesh",
    help="The mesh whose data planes' tokens it signs; * for every mesh, which needs Kuma with pull request 8169 (October "
    "2023).  [default: *]",
)
@click.option(
    "--kid",
    help="The key's id: letters, digits and ._-, not a number alone.  [default: the kind and a part of the key's digest]",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="The folder to write KID.pem (private, mode 0600) and KID.pub.pem into; neither may be there.",
)
@click.option(
    "--bits",
    type=click.IntRange(MIN_KEY_BITS, MAX_KEY_BITS),
    default=MIN_KEY_BITS,
    show_default=True,
    help="Size of the RSA key. Each doubling makes a signature cost some six times as much.",
)
def generate(kind: str, mesh: str | None, kid: str | None, folder: Path, bits: int) -> None:
    """Write a key pair, and print the configuration that goes with it.

    The command prints YAML for the control plane. A comment in it is the line for the service's file of keys:

    \b
    kuma-aws-iam keys generate --kind dataplane --mesh default --out /etc/kuma-aws-iam > kuma-cp.yaml

    If a control plane has several keys, put them as entries into one publicKeys list.
    """
    token_kind = TokenKind(kind)
    mesh = _checked_mesh(token_kind, mesh)
    key = generate_private_key(_EXPONENT, bits)
    public = key.public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    kid = kid or f"{kind}-{digest[:_FINGERPRINT_BYTES].hex()}"
    if not is_key_id(kid):
        raise click.BadParameter(
            "1 to 64 letters, digits and ._-, and not a number alone: the control plane numbers its own keys",
            param_hint="--kid",
        )
    private_path, public_path = folder / f"{kid}.pem", folder / f"{kid}.pub.pem"
    if public_path.exists():
        fail(f"{public_path} is there already; nothing was written")
    _write_new(private_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), _PRIVATE_MODE)
    _write_new(public_path, public_pem(public).encode("ascii"), _PUBLIC_MODE)
    line = " ".join(word for word in (kid, mesh, private_path.name) if word is not None)
    is_dataplane = token_kind is TokenKind.DATAPLANE
    variable = "KMESH_AWSIAM_DATAPLANE_KEYS_FILE" if is_dataplane else "KMESH_AWSIAM_ZONE_KEYS_FILE"
    click.echo(f"# A line for the file of {variable}; its path counts from that file's folder:")
    click.echo(f"#   {line}")
    click.echo("# For the control plane, kuma-cp run --config-file:")
    click.echo(control_plane_yaml(token_kind, kid, mesh, public), nl=False)


def _checked_mesh(kind: TokenKind, mesh: str | None) -> str | None:
    if kind is TokenKind.ZONE:
        if mesh is not None:
            raise click.BadParameter("zone proxies are of no mesh; leave it out", param_hint="--mesh")
        return None
    if mesh is not None and not is_mesh(mesh):
        raise click.BadParameter("1 to 253 characters of 0-9 a-z . _ -, or *", param_hint="--mesh")
    return mesh or ANY_MESH


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a new file, which has its mode from the first moment on. If the file exists, end the command with an error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        fail(f"{path} is there already; nothing was written")
    except OSError as error:
        fail(f"{path} cannot be written ({error.strerror})")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        fail(f"{path} cannot be written ({error.strerror})")
