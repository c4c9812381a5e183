"""The settings for listeners, the shared store, tokens and logs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, InstanceOf

from app.local.addresses import ListenAddress, parse_listen_address
from app.local.caller_tokens import CallerTokenFile, read_caller_token_file
from app.local.tls import TlsFiles
from app.local.unix_socket import DEFAULT_MODE, SocketGroup, SocketMode, parse_socket_group, parse_socket_mode
from app.settings.parsing import SettingsGroup, setting
from app.settings.values import DEFAULT_LISTEN, parse_ca_file, parse_workers
from app.store.keys import StoreKeyFile, read_store_key_file
from app.store.url import StoreAddress, parse_store_url
from app.tokens.claims import MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS
from app.tokens.key_files import SigningKeyFile, read_dataplane_key_file, read_zone_key_file


class ListenerSettings(SettingsGroup):
    """Where the service listens, who may call, and how long a call may take."""

    listen: Annotated[ListenAddress, BeforeValidator(parse_listen_address)] = setting(
        "KMESH_AWSIAM_LISTEN",
        "Where the API listens: `host:port`, `[v6]:port` or `unix:/path`. On a host other than loopback, [callers "
        "must authenticate](../how-to/authenticate-callers.md).",
        default=parse_listen_address(DEFAULT_LISTEN),
    )
    diagnostics_listen: Annotated[ListenAddress | None, BeforeValidator(parse_listen_address)] = setting(
        "KMESH_AWSIAM_DIAGNOSTICS_LISTEN",
        "A second listener for `/healthy`, `/ready` and `/metrics`, which `KMESH_AWSIAM_LISTEN` then does not "
        "serve. Any address is allowed. It uses plain `http`, and needs no caller token.",
    )
    decisions_page: bool = setting(
        "KMESH_AWSIAM_DECISIONS_PAGE",
        "Serve [the page of the latest decisions](../how-to/look-at-decisions.md), `/decisions`, on "
        "`KMESH_AWSIAM_DIAGNOSTICS_LISTEN`, which must then be a loopback address or a Unix socket: the page needs no "
        "token and shows accounts, roles and what proxies assert.",
        default=False,
    )
    tls_cert_file: Path | None = setting(
        "KMESH_AWSIAM_TLS_CERT_FILE",
        "A PEM file with the certificate of the API's listener, followed by its intermediate certificates. The API "
        "then uses TLS 1.2 or later. Not allowed for a Unix socket.",
    )
    tls_key_file: Path | None = setting(
        "KMESH_AWSIAM_TLS_KEY_FILE",
        "A PEM file with the unencrypted private key of `KMESH_AWSIAM_TLS_CERT_FILE`. Set both or neither.",
    )
    tls_client_ca_file: Path | None = setting(
        "KMESH_AWSIAM_TLS_CLIENT_CA_FILE",
        "A PEM file of certificate authorities. A caller must present a client certificate that one of them "
        "issued. **Every such certificate may call**, so use an authority only for this. Needs "
        "`KMESH_AWSIAM_TLS_CERT_FILE` and `KMESH_AWSIAM_TLS_KEY_FILE`.",
    )
    caller_token_file: Annotated[CallerTokenFile | None, BeforeValidator(read_caller_token_file)] = setting(
        "KMESH_AWSIAM_CALLER_TOKEN_FILE",
        "A UTF-8 file with one caller token, or with two during a replacement: one a line, 32 to 512 visible ASCII "
        "characters without `#`; `#` starts a comment. Every call then needs `Authorization: Bearer` with one of "
        "them **on every listener of the API, also on loopback and Unix sockets**.",
    )
    socket_mode: Annotated[SocketMode, BeforeValidator(parse_socket_mode)] = setting(
        "KMESH_AWSIAM_SOCKET_MODE",
        "Octal mode of Unix sockets. Whoever may write to the socket may call. A mode that lets every user write "
        "is refused for the API, unless caller tokens are set.",
        default=DEFAULT_MODE,
    )
    socket_group: Annotated[SocketGroup | None, BeforeValidator(parse_socket_group)] = setting(
        "KMESH_AWSIAM_SOCKET_GROUP",
        "Group of Unix sockets: a number, or a name that this system knows. The service's user must be a member.",
    )
    workers: Annotated[int, BeforeValidator(parse_workers)] = setting(
        "KMESH_AWSIAM_WORKERS",
        "No longer has an effect. `1` causes a warning; with any other value the service does not start: [More "
        "than one process](../explanation/performance.md#more-than-one-process).",
        default=1,
    )
    decision_timeout: Annotated[float, Field(gt=0, le=60)] = setting(
        "KMESH_AWSIAM_DECISION_TIMEOUT",
        "The longest time of a decision in seconds, with waiting; over 0, at most 60. Keep it below the caller's "
        "own timeout.",
        default=10,
    )

    @property
    def tls_files(self) -> TlsFiles | None:
        """The TLS files of the API's listener; None without TLS."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(cert=self.tls_cert_file, key=self.tls_key_file, client_ca=self.tls_client_ca_file)

    @property
    def decisions_page_listener(self) -> ListenAddress | None:
        """The listener of the page of decisions; None without the page."""
        return self.diagnostics_listen if self.decisions_page else None

    @property
    def caller_checks(self) -> list[str]:
        """What a caller of the API must show. Empty if reaching the listener is enough."""
        checks = {"certificate": self.tls_client_ca_file, "token": self.caller_token_file}
        return [check for check, file in checks.items() if file is not None]


class StoreSettings(SettingsGroup):
    """The settings of the shared store."""

    store: Annotated[StoreAddress | None, BeforeValidator(parse_store_url)] = setting(
        "KMESH_AWSIAM_STORE",
        "The Redis or Valkey that replicas [share](../how-to/share-verdicts-between-replicas.md): "
        "`rediss://USER:PASSWORD@HOST:6379` (TLS), `redis://:PASSWORD@HOST:6379/0` or `unix:///path`. "
        "Percent-encode special characters of user and password. The password is never printed. Needs "
        "`KMESH_AWSIAM_STORE_KEY_FILE`, and the package's extra `redis`, which the image contains.",
    )
    store_key_file: Annotated[StoreKeyFile | None, BeforeValidator(read_store_key_file)] = setting(
        "KMESH_AWSIAM_STORE_KEY_FILE",
        "A UTF-8 file with one key, or with two during a replacement: one a line, each 32 random bytes in base64 "
        "or hex (`openssl rand -base64 32`); `#` starts a comment. The first key encrypts, both decrypt. **Every "
        "replica needs the same file; whoever has it can forge identities.** Needs `KMESH_AWSIAM_STORE`.",
    )
    store_ca_file: Annotated[str | None, BeforeValidator(parse_ca_file)] = setting(
        "KMESH_AWSIAM_STORE_CA_FILE",
        "A PEM file with the only certificates to trust for the store. Unset: certifi's. Allowed only with "
        "`rediss://`.",
    )


class TokenSettings(SettingsGroup):
    """The settings of the tokens that the service issues."""

    # InstanceOf: without it, pydantic inspects the types inside, including those of `cryptography`.
    dataplane_keys_file: Annotated[InstanceOf[SigningKeyFile] | None, BeforeValidator(read_dataplane_key_file)] = (
        setting(
            "KMESH_AWSIAM_DATAPLANE_KEYS_FILE",
            "A UTF-8 file with the keys that sign data plane tokens, one line `KID MESH PATH` for each; `#` starts a "
            "comment. KID: 1 to 64 letters, digits and `._-`, not a number alone. MESH: a mesh, or `*` for every mesh "
            "without a line of its own. PATH: an unencrypted RSA key of 2048 to 8192 bits in PEM, relative to the "
            "file's folder. The first line of a mesh signs, all its lines verify. **Whoever has a key can act as every "
            "proxy of its mesh.**",
        )
    )
    zone_keys_file: Annotated[InstanceOf[SigningKeyFile] | None, BeforeValidator(read_zone_key_file)] = setting(
        "KMESH_AWSIAM_ZONE_KEYS_FILE",
        "The same for tokens of ingresses and egresses, one line `KID PATH` for each. **No key and no KID may be "
        "in both files**: if a data plane's key verifies a zone token, Kuma accepts it as a data plane token of any mesh.",
    )
    token_validity: Annotated[int, Field(ge=MIN_VALIDITY_SECONDS, le=MAX_VALIDITY_SECONDS)] = setting(
        "KMESH_AWSIAM_TOKEN_VALIDITY",
        "Seconds from issue to expiry; 60 to 86400. A change of the role or of the account list does not end a "
        "token, so it takes effect after this time at the latest. A proxy with an expired token cannot open a "
        "stream; the agent renews the token long before.",
        default=3600,
    )
    token_names: bool = setting(
        "KMESH_AWSIAM_TOKEN_NAMES",
        "Restrict a data plane token to the `Dataplane` that `proxy.name` in the call names. `/v1/token` without "
        "`proxy.name` then answers 400 `malformed_request`. `/v1/ext-authz` has no name, so it answers 403 "
        "`proxy_name_missing` for data planes, and the service warns at its start. Tokens of zone proxies in a "
        "Dataplane always have the name.",
        default=False,
    )


class LogSettings(SettingsGroup):
    """The settings of the log."""

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "KMESH_AWSIAM_LOG_LEVEL",
        "`debug`, `info`, `warning` or `error`. **Decisions are logged at `info`**: with `warning` or `error` there "
        "is no audit log, and with signing keys the service does not start.",
        default="info",
    )
    log_format: Literal["json", "human"] = setting(
        "KMESH_AWSIAM_LOG_FORMAT",
        "`json`, one object a line, or `human`: one readable line a decision.",
        default="json",
    )
    tracing: bool = setting(
        "KMESH_AWSIAM_TRACING",
        "Send [traces](../how-to/trace-a-decision.md) of the decisions by OTLP over HTTP, to `OTEL_EXPORTER_OTLP_ENDPOINT`. "
        "Needs the package's extra `otel`, which the image does not contain.",
        default=False,
    )
