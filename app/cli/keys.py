"""``keys generate``: make key pairs for signing tokens, and the configuration for the service and the control plane."""

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.cli.options import fail
from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind
from app.tokens.codec import is_key_id
from app.tokens.control_plane_config import VerificationKey, control_plane_yaml, public_pem
from app.tokens.key_files import MAX_KEY_BITS, MIN_KEY_BITS, is_mesh

_EXPONENT: Final = 65537
_PRIVATE_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_FINGERPRINT_BYTES: Final = 6
_BOTH: Final = "both"
_LABELS_ONLY: Final = "3.0"
_VARIABLES: Final = {
    TokenKind.DATAPLANE: "KMESH_AWSIAM_DATAPLANE_KEYS_FILE",
    TokenKind.ZONE: "KMESH_AWSIAM_ZONE_KEYS_FILE",
}
_AWS_IAM_TYPES: Final = {
    TokenKind.DATAPLANE: "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
    TokenKind.ZONE: "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
}


@click.group(short_help="Make the keys that tokens are signed with.")
def keys() -> None:
    """Make the keys that sign tokens for the control plane."""


@keys.command(short_help="Write a key pair, and print the configuration that goes with it.")
@click.option(
    "--kind",
    type=click.Choice([*(kind.value for kind in TokenKind), _BOTH]),
    required=True,
    help="dataplane: for data plane tokens. zone: for those of ingresses and egresses, before Kuma 3.0. One key is never "
    "both. both: a key of each kind that --for needs, and the service's files of keys.",
)
@click.option(
    "--for",
    "generation",
    type=click.Choice([_LABELS_ONLY, "2.x"]),
    default=_LABELS_ONLY,
    show_default=True,
    help="The control plane. 3.0 and later accepts no zone tokens, so --kind both makes no zone key for it.",
)
@click.option(
    "--mesh",
    help="The mesh whose data planes' tokens it signs; * for every mesh, which needs Kuma with pull request 8169 (October "
    "2023).  [default: *]",
)
@click.option(
    "--kid",
    help="The key's id: letters, digits and ._-, not a number alone. With --kind both, what follows dataplane- and zone-.  "
    "[default: the kind and a part of the key's digest]",
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
def generate(*, kind: str, generation: str, mesh: str | None, kid: str | None, folder: Path, bits: int) -> None:
    """Write a key pair, and print the configuration that goes with it.

    The command prints one YAML document for the control plane. Comments in it are for the service: with --kind both the
    variables of its container, else the line for its file of keys.

    \b
    kuma-aws-iam keys generate --kind both --out /etc/kuma-aws-iam > kuma-cp.yaml
    kuma-aws-iam keys generate --kind both --for 2.x --out /etc/kuma-aws-iam > kuma-cp.yaml
    kuma-aws-iam keys generate --kind dataplane --mesh default --out /etc/kuma-aws-iam

    If a control plane has several keys of one kind, put them as entries into one publicKeys list.
    """
    _check_mesh(kind, mesh)
    is_both = kind == _BOTH
    kinds = _kinds(kind, generation)
    names = [f"{each}-{kid}" if is_both and kid else kid for each in kinds]
    made = [_make_key(each, name, mesh or ANY_MESH, bits) for each, name in zip(kinds, names, strict=True)]
    files = [file for key in made for file in key.files(folder)]
    if is_both:
        files += [(folder / f"{key.verification.kind}.keys", f"{key.line}\n".encode(), _PUBLIC_MODE) for key in made]
    for path, _, _ in files:
        if path.exists():
            fail(f"{path} is there already; nothing was written")
    with contextlib.ExitStack() as undo:
        for path, content, mode in files:
            _write_new(path, content, mode)
            undo.callback(path.unlink, missing_ok=True)
        undo.pop_all()
    if is_both:
        click.echo("# The variables of the service's container, with the paths of this host:")
        for each in kinds:
            click.echo(f"#   {_AWS_IAM_TYPES[each]}=aws-iam")
        click.echo("#   KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS=true")
        for key in made:
            click.echo(f"#   {_VARIABLES[key.verification.kind]}={folder.resolve()}/{key.verification.kind}.keys")
    else:
        [key] = made
        click.echo(f"# For the file that {_VARIABLES[key.verification.kind]} names, in the same folder:")
        click.echo(f"#   {key.line}")
    click.echo("# For the control plane, kuma-cp run --config-file:")
    click.echo(control_plane_yaml(key.verification for key in made), nl=False)


@dataclass(frozen=True, slots=True)
class _NewKey:
    verification: VerificationKey
    private: bytes = field(repr=False)

    @property
    def line(self) -> str:
        """The line of the service's file of keys."""
        words = (self.verification.kid, self.verification.mesh, f"{self.verification.kid}.pem")
        return " ".join(word for word in words if word is not None)

    def files(self, folder: Path) -> tuple[tuple[Path, bytes, int], ...]:
        """Return the private and the public file: path, content and mode."""
        kid, public = self.verification.kid, public_pem(self.verification.public).encode("ascii")
        return (
            (folder / f"{kid}.pem", self.private, _PRIVATE_MODE),
            (folder / f"{kid}.pub.pem", public, _PUBLIC_MODE),
        )


def _kinds(kind: str, generation: str) -> tuple[TokenKind, ...]:
    if kind != _BOTH:
        return (TokenKind(kind),)
    return (TokenKind.DATAPLANE,) if generation == _LABELS_ONLY else tuple(TokenKind)


def _check_mesh(kind: str, mesh: str | None) -> None:
    if mesh is not None and kind == TokenKind.ZONE:
        raise click.BadParameter("zone proxies are of no mesh; leave it out", param_hint="--mesh")
    if mesh is not None and not is_mesh(mesh):
        raise click.BadParameter("1 to 253 characters of 0-9 a-z . _ -, or *", param_hint="--mesh")


def _make_key(kind: TokenKind, kid: str | None, mesh: str, bits: int) -> _NewKey:
    private = generate_private_key(_EXPONENT, bits)
    public = private.public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    kid = kid or f"{kind}-{digest[:_FINGERPRINT_BYTES].hex()}"
    if not is_key_id(kid):
        raise click.BadParameter(
            "1 to 64 letters, digits and ._-, and not a number alone: the control plane numbers its own keys",
            param_hint="--kid",
        )
    return _NewKey(
        VerificationKey(kind=kind, kid=kid, mesh=mesh if kind is TokenKind.DATAPLANE else None, public=public),
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


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
