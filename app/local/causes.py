"""Say in words why a connection failed: the host, the problem, and what to do about it.

The sentences are for operators. They contain no name of a Python class, no URL, no user information and no bytes that the
other side sent. The only texts from elsewhere are OpenSSL's and the operating system's own names of a fault.
"""

import errno
import socket
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

# OpenSSL's X509_V_ERR codes of an issuer that is not trusted, or of a self-signed certificate.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21, 26, 27})
# OpenSSL's words for bytes that are no TLS record, for example the answer of a plain HTTP server.
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
_WANTS_CERTIFICATE: Final = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA")


class Stage(Enum):
    """The part of an exchange that was under way when it failed."""

    NAME = auto()
    CONNECT = auto()
    TUNNEL = auto()
    TLS = auto()
    ANSWER = auto()


# Problem and remedy by what was under way.
_TIMEOUTS: Final = {
    Stage.NAME: (
        "{peer} was not resolved in time",
        "check this network's DNS server, and that nothing blocks port 53",
    ),
    Stage.CONNECT: (
        "{peer} did not accept a connection in time",
        "check the way to it: route, security group, network ACL, NAT gateway or VPC endpoint{and_setting}",
    ),
    Stage.TUNNEL: (
        "{peer} did not answer CONNECT in time",
        "check the proxy{and_setting}, and the way from it to the host",
    ),
    Stage.TLS: (
        "the TLS handshake with {peer} did not end in time",
        "a firewall or proxy on the path may accept the connection and not pass it on: look there",
    ),
    Stage.ANSWER: (
        "{peer} took the request and did not answer in time",
        "try again; if it lasts, look at that service's health, and at a proxy or VPC endpoint on the path",
    ),
}
_WHEN: Final = {
    Stage.TUNNEL: "instead of answering CONNECT",
    Stage.TLS: "during the TLS handshake",
    Stage.ANSWER: "before its answer was complete",
}
_OTHER_NAME: Final = (
    "the certificate that {peer} shows is for another name",
    "something else may answer there: check DNS, a proxy on the path{and_setting}",
)
# By OpenSSL's X509_V_ERR code (openssl/x509_vfy.h).
_CERTIFICATES: Final = {
    9: ("the certificate of {peer} is not valid yet", "this host's clock is probably behind: set it by NTP"),
    10: (
        "the certificate of {peer} has expired",
        "replace it there; if it is new, this host's clock is wrong: set it by NTP",
    ),
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
_NO_ROUTE: Final = (
    "there is no route to {peer}",
    "check the subnet's route table, NAT gateway or VPC endpoint, and IPv6{and_setting}",
)
_FORBIDDEN: Final = (
    "this host does not permit the connection to {peer}",
    "check its firewall, and the owner and mode of a Unix socket",
)
_NO_DESCRIPTORS: Final = (
    "this process has no file descriptors left",
    "raise its limit of open files (ulimit nofile)",
)
_SOCKETS: Final = {
    errno.ECONNREFUSED: (
        "{peer} refuses the connection",
        "nothing listens there, or a firewall refuses: check address and port{and_setting}",
    ),
    errno.ENOENT: ("there is no socket {peer}", "check that its service runs, and the path{and_setting}"),
    **dict.fromkeys((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT), _NO_ROUTE),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _FORBIDDEN),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _NO_DESCRIPTORS),
}


class Cause(NamedTuple):
    """Why a call failed.

    Attributes:
        problem: what is wrong, with the name of the host or file.
        remedy: what the operator should check or change.
    """

    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other side of a connection.

    Attributes:
        name: its name in a sentence, such as ``sts.eu-west-1.amazonaws.com`` or ``the proxy proxy.example:3128``.
        setting: the variable or option that leads to it; empty if no setting does.
        trust: what to do if its certificate is not trusted.
    """

    name: str
    setting: str = ""
    trust: str = "add its issuer to the trusted certificates"

    def cause(self, problem: str, remedy: str) -> "Cause":
        """Fill in two sentences: ``{peer}`` is the name, ``{and_setting}`` the setting as a further thing to check."""
        words = {"peer": self.name, "and_setting": f" and {self.setting}" if self.setting else ""}
        return Cause(problem.format(**words), remedy.format(**words))


def explain_failure(error: BaseException, peer: Peer, stage: Stage) -> Cause:
    """Return the cause of a failed exchange.

    Args:
        error: the exception of the socket, of TLS or of the HTTP library.
        peer: the other side.
        stage: what was under way.
    """
    if isinstance(error, ssl.SSLError):
        is_certificate = isinstance(error, ssl.SSLCertVerificationError)
        return _certificate(error, peer) if is_certificate else _tls(error, peer)
    if isinstance(error, socket.gaierror):
        return _name(error, peer)
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno == errno.ETIMEDOUT):
        problem, remedy = _TIMEOUTS[stage]
    elif isinstance(error, OSError):
        return _socket(error, peer, stage)
    elif isinstance(error, UnicodeError):
        problem, remedy = "{peer} is no host name that DNS can have", "correct the name{and_setting}"
    else:
        problem = "{peer} did not answer in HTTP"
        remedy = "something else may answer there: check the port, a proxy on the path{and_setting}"
    return peer.cause(problem, remedy)


def explain_file(error: Exception) -> str:
    """Say why a file cannot be read: in the operating system's words, or that it is not UTF-8 text or not PEM."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, ssl.SSLError):
        return f"OpenSSL says: {_words(error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "its content is not valid"


def _certificate(error: ssl.SSLError, peer: Peer) -> Cause:
    code, said = getattr(error, "verify_code", 0), getattr(error, "verify_message", "").rstrip(".")
    if code in _UNKNOWN_ISSUER:
        return Cause(f"the certificate of {peer.name} is not trusted ({said})", peer.trust)
    if code in _CERTIFICATES:
        return peer.cause(*_CERTIFICATES[code])
    return Cause(f"the certificate of {peer.name} is not accepted ({said})", "replace it there")


def _tls(error: ssl.SSLError, peer: Peer) -> Cause:
    reason, words = error.reason or "", _words(error)
    if reason in _NO_TLS:
        return peer.cause("{peer} does not speak TLS", "check the port, a proxy on the path{and_setting}")
    if "ALERT" in reason and reason.endswith(_WANTS_CERTIFICATE):
        return Cause(
            f"{peer.name} does not accept the client certificate ({words})",
            "give a certificate that its client CA has issued",
        )
    if isinstance(error, ssl.SSLEOFError) or reason == "UNEXPECTED_EOF_WHILE_READING":
        return _ended("closed", peer, Stage.TLS)
    return Cause(
        f"the TLS handshake with {peer.name} failed ({words})",
        "check which TLS versions it offers, and what terminates TLS on the path",
    )


def _name(error: socket.gaierror, peer: Peer) -> Cause:
    if error.errno == socket.EAI_AGAIN:
        return peer.cause(
            "{peer} does not resolve: no DNS server answers",
            "check /etc/resolv.conf, that nothing blocks port 53, and in a VPC enableDnsSupport",
        )
    return peer.cause(
        "{peer} does not resolve",
        "check this network's DNS (for a VPC endpoint: its private DNS name){and_setting}",
    )


def _socket(error: OSError, peer: Peer, stage: Stage) -> Cause:
    number = error.errno
    if number in _SOCKETS:
        return peer.cause(*_SOCKETS[number])
    if isinstance(error, ConnectionError):
        return _ended("reset" if number is not None else "closed", peer, stage)
    words = f" ({error.strerror.lower()})" if error.strerror else ""
    return peer.cause(f"{{peer}} cannot be reached{words}", "check the way to it{and_setting}")


def _ended(how: str, peer: Peer, stage: Stage) -> Cause:
    return peer.cause(
        f"{{peer}} {how} the connection {_WHEN.get(stage, 'at once')}",
        "a firewall or proxy on the path may end it: look there{and_setting}, and try again",
    )


def _words(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of a fault in lower case, such as ``wrong version number``."""
    return (error.reason or "no reason given").replace("_", " ").lower()
