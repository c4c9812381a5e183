"""The rules that involve several variables of `app.settings.serving`."""

import importlib.util
from collections.abc import Iterator
from typing import Final

from app.local.addresses import TcpAddress, UnixAddress
from app.local.tls import find_problems
from app.settings.environment import Settings
from app.settings.parsing import Problem
from app.tokens.keys import require_apart


def _tls_is_complete(settings: Settings) -> Iterator[Problem]:
    given = settings.model_fields_set
    for field, variable, other in (
        ("tls_cert_file", "KMESH_AWSIAM_TLS_CERT_FILE", "KMESH_AWSIAM_TLS_KEY_FILE"),
        ("tls_key_file", "KMESH_AWSIAM_TLS_KEY_FILE", "KMESH_AWSIAM_TLS_CERT_FILE"),
    ):
        if given & {"tls_cert_file", "tls_key_file"} == {field}:
            yield Problem(variable, f"a certificate and its key belong together; set {other} as well, or unset both")
    if "tls_client_ca_file" in given and not given & {"tls_cert_file", "tls_key_file"}:
        yield Problem(
            "KMESH_AWSIAM_TLS_CLIENT_CA_FILE",
            "callers can show a certificate only over TLS; set KMESH_AWSIAM_TLS_CERT_FILE and KMESH_AWSIAM_TLS_KEY_FILE as "
            "well",
        )
    if settings.tls_files is not None and isinstance(settings.listen, UnixAddress):
        yield Problem(
            "KMESH_AWSIAM_TLS_CERT_FILE",
            "a Unix socket has no TLS; unset the TLS files, or set KMESH_AWSIAM_LISTEN to host:port",
        )


def _tls_files_can_be_used(settings: Settings) -> Iterator[Problem]:
    variables = {
        "cert": "KMESH_AWSIAM_TLS_CERT_FILE",
        "key": "KMESH_AWSIAM_TLS_KEY_FILE",
        "client_ca": "KMESH_AWSIAM_TLS_CLIENT_CA_FILE",
    }
    if settings.tls_files is not None:
        for error in find_problems(settings.tls_files):
            yield Problem(variables[error.part], error.remedy)


def _remote_callers_are_authenticated(settings: Settings) -> Iterator[Problem]:
    """If other hosts can reach the address, callers must authenticate over TLS, because an answer contains role names."""
    given = settings.model_fields_set
    if isinstance(settings.listen, UnixAddress) or settings.listen.is_loopback or "tls_client_ca_file" in given:
        return
    if "caller_token_file" not in given:
        yield Problem(
            "KMESH_AWSIAM_LISTEN",
            "it is reachable from other hosts, and callers are not authenticated there; listen on 127.0.0.1:5690 (the "
            "containers of one ECS task share loopback) or on unix:/path, or authenticate callers: set "
            "KMESH_AWSIAM_TLS_CERT_FILE and KMESH_AWSIAM_TLS_KEY_FILE, and KMESH_AWSIAM_TLS_CLIENT_CA_FILE (mutual TLS) or "
            "KMESH_AWSIAM_CALLER_TOKEN_FILE (a bearer token)",
        )
    elif not given & {"tls_cert_file", "tls_key_file"}:
        yield Problem(
            "KMESH_AWSIAM_LISTEN",
            "it is reachable from other hosts, and the token of KMESH_AWSIAM_CALLER_TOKEN_FILE would cross the network in "
            "clear; set KMESH_AWSIAM_TLS_CERT_FILE and KMESH_AWSIAM_TLS_KEY_FILE as well, or listen on 127.0.0.1:5690 or "
            "unix:/path",
        )


def _local_callers_are_authenticated(settings: Settings) -> Iterator[Problem]:
    if (
        isinstance(settings.listen, UnixAddress)
        and settings.socket_mode.is_world_writable
        and "caller_token_file" not in settings.model_fields_set
    ):
        yield Problem(
            "KMESH_AWSIAM_SOCKET_MODE",
            "every local user could call, and callers are not authenticated; take write from others (0660), or set "
            "KMESH_AWSIAM_CALLER_TOKEN_FILE",
        )


def _listeners_differ(settings: Settings) -> Iterator[Problem]:
    if settings.diagnostics_listen == settings.listen:
        yield Problem(
            "KMESH_AWSIAM_DIAGNOSTICS_LISTEN", "it is the address of KMESH_AWSIAM_LISTEN; give it another or unset it"
        )


def _decisions_page_is_local(settings: Settings) -> Iterator[Problem]:
    """Require a listener that only this machine reaches: the page has no authentication of its own."""
    if not settings.decisions_page:
        return
    listen = settings.diagnostics_listen
    if listen is None:
        yield Problem(
            "KMESH_AWSIAM_DECISIONS_PAGE",
            "the page needs a listener of its own; set KMESH_AWSIAM_DIAGNOSTICS_LISTEN to 127.0.0.1:5691 or unix:/path, or "
            "unset this",
        )
    elif isinstance(listen, TcpAddress) and not listen.is_loopback:
        yield Problem(
            "KMESH_AWSIAM_DIAGNOSTICS_LISTEN",
            "with KMESH_AWSIAM_DECISIONS_PAGE it must be a loopback address or a Unix socket, since anybody who reaches it "
            "can read the decisions; set it to 127.0.0.1:5691 or unix:/path, or unset KMESH_AWSIAM_DECISIONS_PAGE",
        )


def _store_is_complete(settings: Settings) -> Iterator[Problem]:
    """Require both the store's address and its key: the service stores only sealed records, and needs both for that."""
    given = settings.model_fields_set
    if "store" in given and "store_key_file" not in given:
        yield Problem(
            "KMESH_AWSIAM_STORE",
            "what is stored has to be sealed; set KMESH_AWSIAM_STORE_KEY_FILE to a file that every replica has; make its "
            "key with: openssl rand -base64 32",
        )
    if "store_key_file" in given and "store" not in given:
        yield Problem("KMESH_AWSIAM_STORE_KEY_FILE", "it belongs to KMESH_AWSIAM_STORE; set both or neither")
    if "store_ca_file" in given and (settings.store is None or settings.store.scheme != "rediss"):
        yield Problem(
            "KMESH_AWSIAM_STORE_CA_FILE",
            "the store shows a certificate only over TLS; set KMESH_AWSIAM_STORE to rediss://, or unset this",
        )


def _store_package_is_installed(settings: Settings) -> Iterator[Problem]:
    if "store" in settings.model_fields_set and importlib.util.find_spec("redis") is None:
        yield Problem(
            "KMESH_AWSIAM_STORE", "it needs a package that is not installed; pip install 'kuma-aws-iam[redis]'"
        )


def _tracing_packages_are_installed(settings: Settings) -> Iterator[Problem]:
    if settings.tracing and not _has_tracing():
        yield Problem(
            "KMESH_AWSIAM_TRACING",
            "it needs packages that are not installed; pip install 'kuma-aws-iam[otel]', or set it to false",
        )


def _has_tracing() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # not even the parent package is there
        return False


def _kinds_of_keys_are_apart(settings: Settings) -> Iterator[Problem]:
    files = (settings.dataplane_keys_file, settings.zone_keys_file)
    try:
        require_apart(key for file in files if file is not None for key in file.keys)
    except ValueError as error:
        yield Problem("KMESH_AWSIAM_DATAPLANE_KEYS_FILE and KMESH_AWSIAM_ZONE_KEYS_FILE", str(error))


def _token_ids_are_logged(settings: Settings) -> Iterator[Problem]:
    has_keys = settings.model_fields_set & {"dataplane_keys_file", "zone_keys_file"}
    if has_keys and settings.log_level in ("warning", "error"):
        yield Problem(
            "KMESH_AWSIAM_LOG_LEVEL",
            "it must be info or debug where tokens are issued: only the audit line, whose level is info, has the id of a "
            "token, by which Kuma revokes the token",
        )


SERVING_RULES: Final = (
    _tls_is_complete,
    _tls_files_can_be_used,
    _remote_callers_are_authenticated,
    _local_callers_are_authenticated,
    _listeners_differ,
    _decisions_page_is_local,
    _store_is_complete,
    _store_package_is_installed,
    _tracing_packages_are_installed,
    _kinds_of_keys_are_apart,
    _token_ids_are_logged,
)
