"""Metrics of the dates of the listener's certificates and of the files of signing keys, read again at each rendering."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge

from app.core.token_kind import TokenKind
from app.local.certificate_dates import Validity
from app.local.tls import CertificateFile

# The kind of token that a key signs, the key's id, and when its file was changed, in seconds since 1970. The ids are a
# closed set: the operator lists them in the files of keys.
KeyDate = tuple[TokenKind, str, float]


class FileDates:
    """The gauges. A service without TLS has no series of certificates, and one without signing keys none of keys."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._not_before = Gauge(
            "kuma_aws_iam_tls_certificate_not_before_timestamp_seconds",
            "When the certificate of the listener begins to be valid; of several in a file, the one that expires first.",
            ("certificate",),
            registry=registry,
        )
        self._not_after = Gauge(
            "kuma_aws_iam_tls_certificate_not_after_timestamp_seconds",
            "When the certificate of the listener expires; of several in a file, the one that expires first.",
            ("certificate",),
            registry=registry,
        )
        self._key_changed = Gauge(
            "kuma_aws_iam_signing_key_changed_timestamp_seconds",
            "When the PEM file of a signing key was last changed.",
            ("kind", "kid"),
            registry=registry,
        )
        self._certificates: Callable[[], Mapping[CertificateFile, Validity]] = dict
        self._keys: Callable[[], Iterable[KeyDate]] = tuple
        self._shown_keys: Iterable[KeyDate] = ()

    def watch_certificates(self, certificates: Callable[[], Mapping[CertificateFile, Validity]]) -> None:
        """Read the validity of the listener's certificates from this callback at each rendering."""
        self._certificates = certificates

    def watch_keys(self, keys: Callable[[], Iterable[KeyDate]]) -> None:
        """Read the dates of the signing keys from this callback at each rendering."""
        self._keys = keys

    def refresh(self) -> None:
        """Show the present dates. A certificate or a key that is not in use any more loses its series."""
        self._not_before.clear()
        self._not_after.clear()
        for name, validity in self._certificates().items():
            self._not_before.labels(name).set(validity.not_before)
            self._not_after.labels(name).set(validity.not_after)
        keys = self._keys()
        if keys is not self._shown_keys:  # there may be a thousand keys, and they seldom change
            self._key_changed.clear()
            for kind, kid, changed in keys:
                self._key_changed.labels(kind, kid).set(changed)
            self._shown_keys = keys
