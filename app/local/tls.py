"""TLS of the API's listener: the server's certificate, and the authorities that must have issued callers' certificates.

The files are read again when they change. Each handshake uses the current context; open connections keep theirs. A new
context also has its own session cache, so a session that began under another client CA is not resumed.
"""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from app.local.causes import explain_file
from app.local.certificate_dates import Validity, read_validity
from app.local.pem import require_one_private_key
from app.local.trusted_files import find_exposures, read_trusted

# TLS 1.2 only with forward secrecy and authenticated encryption; OpenSSL's list for TLS 1.3 has only such suites anyway.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_NO_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"

TlsPart = Literal["cert", "key", "client_ca"]
CertificateFile = Literal["server", "client_ca"]
Fault = Literal["no certificate", "unknown certificate"]
OnUnknownCaller = Callable[[Fault], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Files in PEM.

    Attributes:
        cert: the server's certificate, followed by its intermediate certificates.
        key: the private key of that certificate, not encrypted.
        client_ca: certificate authorities. Every client certificate that one of them issued identifies a caller. With None,
            no client certificate is requested.
    """

    cert: Path
    key: Path
    client_ca: Path | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are set."""
        return (self.cert, self.key) if self.client_ca is None else (self.cert, self.key, self.client_ca)

    def read_validity(self) -> dict[CertificateFile, Validity]:
        """Return when the certificates are valid. A file that cannot be parsed is left out."""
        files: tuple[tuple[CertificateFile, Path | None], ...] = (("server", self.cert), ("client_ca", self.client_ca))
        read = {name: read_validity(path) for name, path in files if path is not None}
        return {name: validity for name, validity in read.items() if validity is not None}

    def warnings(self) -> Iterator[str]:
        """Return warnings about other users who can read or write the key."""
        return find_exposures(self.key)


class TlsFileError(ValueError):
    """A file is invalid; ``part`` says which one."""

    def __init__(self, part: TlsPart, remedy: str) -> None:
        super().__init__(remedy)
        self.part = part
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.part}: {self.remedy}"


def find_problems(files: TlsFiles) -> Iterator[TlsFileError]:
    """Check every file, and yield the faults of each."""
    checks: tuple[Callable[[ssl.SSLContext], None], ...] = (
        lambda context: _load_server_certificate(context, files),
        lambda context: None if files.client_ca is None else _load_client_authorities(context, files.client_ca),
    )
    for check in checks:
        try:
            check(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except TlsFileError as error:
            yield error


class ServerTls:
    """The TLS context of the listener, made from files.

    Attributes:
        files: the paths of the files.
        context: starts every connection with the current certificates.
        validity: when the current certificates are valid.
    """

    def __init__(self, files: TlsFiles, on_unknown_caller: OnUnknownCaller) -> None:
        """Read the files.

        Args:
            files: the paths of the files.
            on_unknown_caller: called in a handshake that ends because the client shows no certificate, or one of another
                authority.

        Raises:
            TlsFileError: one of the files is invalid.
        """
        self.files = files
        self._on_unknown_caller = on_unknown_caller
        self.context = _CurrentContext(ssl.PROTOCOL_TLS_SERVER)
        self.load()

    def load(self) -> None:
        """Read the files again. If one is invalid, the previous files stay in force.

        Raises:
            TlsFileError: one of the files is invalid.
        """
        self.context.current = new_server_context(self.files, self._on_unknown_caller)
        self.validity = self.files.read_validity()


class _CurrentContext(ssl.SSLContext):
    """Passes every handshake to the current context. It has no certificate of its own, so it serves no connection itself.

    An SNI callback could also replace the context. But OpenSSL calls it too late: by then it has already searched for the
    session to resume, and it keeps the verify mode of the first context.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Start a connection; asyncio and uvloop call this for each accepted connection."""
        return self.current.wrap_bio(*args, **kwargs)


def new_server_context(files: TlsFiles, on_unknown_caller: OnUnknownCaller) -> ssl.SSLContext:
    """Make a context from the files.

    Raises:
        TlsFileError: one of the files is invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    # No session tickets: their key would live as long as the context, so a client could resume a session after the
    # certificate of that session has expired.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.sslobject_class = _accounting(on_unknown_caller)
    _load_server_certificate(context, files)
    if files.client_ca is not None:
        _load_client_authorities(context, files.client_ca)
    return context


def _load_server_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    _require_certificates("cert", files.cert)
    _require_own_key(files.key)
    try:
        context.load_cert_chain(files.cert, files.key, password=_refuse_to_ask)
    except (ssl.SSLError, ValueError) as error:
        raise TlsFileError(
            "key",
            "it must be the private key of the first certificate in KMESH_AWSIAM_TLS_CERT_FILE, in PEM and not encrypted "
            f"({_name_of(error)})",
        ) from error


def _load_client_authorities(context: ssl.SSLContext, path: Path) -> None:
    _require_certificates("client_ca", path)
    context.load_verify_locations(cafile=path)
    if not context.get_ca_certs():
        raise TlsFileError(
            "client_ca", "it contains no CA certificate (CA:TRUE); name the file of the CA, not of a client certificate"
        )
    context.verify_mode = ssl.CERT_REQUIRED


def _require_certificates(part: TlsPart, path: Path) -> None:
    _require_readable(part, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise TlsFileError(part, f"no certificate in PEM can be read from it ({_name_of(error)})") from error


def _require_own_key(path: Path) -> None:
    try:
        require_one_private_key(read_trusted(path))
    except OSError as error:
        raise _unreadable("key", error) from error
    except ValueError as error:
        raise TlsFileError("key", str(error)) from error


def _require_readable(part: TlsPart, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise _unreadable(part, error) from error


def _unreadable(part: TlsPart, error: OSError) -> TlsFileError:
    return TlsFileError(part, f"it cannot be read ({explain_file(error)}); check path and mode")


def _refuse_to_ask() -> str:
    """Keep OpenSSL from asking the terminal for a password."""
    raise ValueError("encrypted")


def _name_of(error: Exception) -> str:
    return error.reason or "no reason given" if isinstance(error, ssl.SSLError) else str(error)


def _accounting(on_unknown_caller: OnUnknownCaller) -> type[ssl.SSLObject]:
    class Handshake(ssl.SSLObject):
        """Reports rejected callers. Without this class, no log line and no metric shows why a handshake failed."""

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError:
                on_unknown_caller("unknown certificate")
                raise
            except ssl.SSLError as error:
                if error.reason == _NO_CERTIFICATE:
                    on_unknown_caller("no certificate")
                raise

    return Handshake
