"""The parsers of environment variables.

If a text is invalid, its parser raises `ValueError`. The message is a sentence with the fault and the remedy.
"""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from app.core.endpoints import can_be_region
from app.core.signed_request import CredentialForm
from app.local.addresses import is_loopback
from app.local.causes import explain_file
from app.local.trusted_files import read_lines, require_regular

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_MESH: Final = re.compile(r"[0-9a-z._-]{1,253}|\*", re.ASCII)
_NETLOC: Final = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:%-]*@)?(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?",
    re.ASCII,
)
_VISIBLE_ASCII: Final = re.compile(r"[!-~]+", re.ASCII)
DEFAULT_AUDIENCE: Final = "kuma-control-plane"
DEFAULT_LISTEN: Final = "127.0.0.1:5690"


def parse_accounts(text: str) -> frozenset[str]:
    """Parse the comma-separated list of account ids."""
    return _accounts([entry.strip() for entry in text.split(",")])


@dataclass(frozen=True, slots=True)
class AccountsFile:
    """A file of account ids, and its content."""

    path: Path
    accounts: frozenset[str]

    def __str__(self) -> str:
        return str(self.path)


def read_accounts_file(text: str) -> AccountsFile:
    """Read account ids from a file: UTF-8, one a line, ``#`` comments."""
    path = Path(text)
    require_regular(path)
    entries = [line.partition("#")[0].strip() for line in read_lines(path, Path.read_bytes)]
    return AccountsFile(path, _accounts([entry for entry in entries if entry]))


def _accounts(entries: list[str]) -> frozenset[str]:
    wrong = [entry for entry in entries if not _ACCOUNT.fullmatch(entry)]
    if wrong or not entries:
        named = f" (wrong: {', '.join(repr(entry[:20]) for entry in wrong[:3])})" if any(wrong) else ""
        raise ValueError(
            f"it must list at least one AWS account id of 12 digits{named}; there is no wildcard, and leading zeros count: "
            "111122223333,444455556666"
        )
    return frozenset(entries)


def _matching(pattern: str, remedy: str) -> Callable[[str], str]:
    """Return a parser of ASCII text that matches a pattern in full. Its error does not repeat the text."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(remedy)
        return text

    return parse


# The audience is the value of a signed header. SigV4 replaces several blanks by one, so "a  b" and "a b" would be the same
# audience. Therefore two blanks in a row are rejected.
parse_audience: Final = _matching(
    r"(?!.*  )[!-~](?:[ -~]{0,253}[!-~])?",
    "it must be 1 to 255 printable ASCII characters, without blanks at the ends or two in a row",
)
parse_zone: Final = _matching(
    r"[0-9a-z._-]{1,253}", "it must be the name of a zone: 1 to 253 characters of 0-9 a-z . _ -"
)
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html; a path may precede the name.
parse_role_name: Final = _matching(
    r"(?:[\w+=,.@-]{1,128}/){0,16}[\w+=,.@-]{1,64}",
    "it must be the name of an IAM role, with its path if it has one: kuma-reader or mesh/kuma-reader",
)
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html, but without the wildcards * and ?. The slash at
# the end is required, because /mesh would also match /mesh-test/.
parse_role_path_prefix: Final = _matching(
    r"/(?:[!-)+->@-~]{1,510}/)?",
    "it must be the beginning of an IAM path, with a / at both ends and no pattern: /mesh/",
)
parse_external_id: Final = _matching(
    r"[\w+=,.@:/-]{2,1224}",
    "it must be 2 to 1224 letters, digits and _+=,.@:/- (as the reader role's trust policy has it)",
)


def parse_workers(text: str) -> int:
    """Accept only 1 as the number of processes (``KMESH_AWSIAM_WORKERS``): several processes are not supported any more."""
    if text.strip() != "1":
        raise ValueError(
            "several processes are not supported any more: unset it; if one core is not enough, run more replicas that "
            "share what they know (KMESH_AWSIAM_STORE)"
        )
    return 1


def parse_regions(text: str) -> frozenset[str]:
    """Parse the comma-separated list of regions. A rule checks later whether the partition has these regions."""
    regions = frozenset(entry for region in text.split(",") if (entry := region.strip()))
    if not regions:
        raise ValueError("it names no region; unset it to accept every region of the partition")
    return regions


def parse_extra_regions(text: str) -> frozenset[str]:
    """Parse the comma-separated names of newer regions. A rule compares them with the partition later."""
    # Strip only spaces: a line break is not part of a region's exact name.
    regions = frozenset(region.strip(" ") for region in text.split(","))
    if not all(map(can_be_region, regions)):
        raise ValueError("it must list exact names of regions, each 1 to 32 characters of a-z 0-9 -: eu-north-7")
    return regions


def parse_forms(text: str) -> frozenset[CredentialForm]:
    """Parse the comma-separated names of forms of credential."""
    try:
        return frozenset(CredentialForm(form.strip()) for form in text.split(","))
    except ValueError as error:
        raise ValueError(f"it must list one or more of {','.join(CredentialForm)}; unset it to accept all") from error


def parse_ca_file(text: str) -> str:
    """Check that a file of certificates can be read."""
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"no certificates can be read from it ({explain_file(error)}); check path, mode and PEM"
        ) from error
    return text


def parse_account_meshes(text: str) -> dict[str, frozenset[str]]:
    """Parse ``account=mesh|mesh,account=*``."""
    entries: dict[str, frozenset[str]] = {}
    for entry in text.split(","):
        account, equals, meshes = entry.strip().partition("=")
        names = frozenset(meshes.split("|"))
        if not equals or not _ACCOUNT.fullmatch(account) or not all(_MESH.fullmatch(name) for name in names):
            raise ValueError(
                "write 111122223333=default|payments,444455556666=* (meshes in lower case; * is every mesh)"
            )
        if account in entries:
            raise ValueError(f"account {account} appears twice; write its meshes once, with | between them")
        entries[account] = names
    return entries


def parse_endpoint_url(text: str) -> str:
    """Parse an ``AWS_ENDPOINT_URL``: https, or http on loopback. Return it without a slash at the end."""
    url = _split(text, "it must be the URL of a host: https://vpce-....amazonaws.com")
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with user information is refused; remove it")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError(
            "plain http is accepted only to loopback, since a credential would cross the network; use https"
        )
    return f"{url.scheme}://{url.netloc}"


def parse_proxy_url(text: str) -> str:
    """Parse the URL of a proxy."""
    url = _split(text, "it must be the URL of a proxy: http://proxy.internal:3128")
    return f"{url.scheme}://{url.netloc}"


def _split(text: str, remedy: str) -> SplitResult:
    """Split the URL of a host: a scheme, a host and an optional port, and nothing after them."""
    # urlsplit silently drops line breaks and tabs (CVE-2022-0391), so they are rejected before it sees them.
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError(remedy)
    try:
        url = urlsplit(text)
        # The port is written as a plain number: clients may read a port such as 0566 differently.
        has_port = url.port is None or (url.port > 0 and url.netloc.endswith(f":{url.port}"))
    except ValueError as error:
        raise ValueError(remedy) from error
    # A URL is rejected if urlsplit and the client could read different hosts from it (Teleport PR 67620).
    if url.scheme not in ("https", "http") or not url.hostname or not has_port or not _NETLOC.fullmatch(url.netloc):
        raise ValueError(remedy)
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(remedy)
    return url


def mask_url(text: str) -> str:
    """Return a URL without its user information."""
    url = urlsplit(text)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
