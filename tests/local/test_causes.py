"""Why a connection failed, in words: from real failures on loopback, and from errors that loopback cannot cause."""

import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.causes import Cause, Peer, Stage, explain_failure, explain_file

HOST = "sts.eu-west-1.amazonaws.com"
PEER = Peer(name=HOST, setting="AWS_ENDPOINT_URL_STS", trust="set AWS_CA_BUNDLE")


def _verification(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] text that nobody should read")
    error.verify_code, error.verify_message = code, message
    return error


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text that nobody should read (_ssl.c:1000)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "stage", "problem", "remedy"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), Stage.NAME, "does not resolve", "DNS"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), Stage.NAME, "no DNS server answers", "port 53"),
        (TimeoutError(), Stage.NAME, "was not resolved in time", "DNS server"),
        (TimeoutError(), Stage.CONNECT, "did not accept a connection in time", "security group"),
        (TimeoutError(), Stage.TUNNEL, "did not answer CONNECT in time", "proxy"),
        (TimeoutError(), Stage.TLS, "the TLS handshake with", "firewall or proxy"),
        (TimeoutError(), Stage.ANSWER, "did not answer in time", "try again"),
        (OSError(errno.ETIMEDOUT, "x"), Stage.CONNECT, "did not accept a connection in time", "NAT gateway"),
        (OSError(errno.ECONNREFUSED, "x"), Stage.CONNECT, "refuses the connection", "nothing listens there"),
        (OSError(errno.ECONNRESET, "x"), Stage.TLS, "reset the connection during the TLS handshake", "firewall"),
        (OSError(errno.EPIPE, "x"), Stage.ANSWER, "reset the connection before its answer was complete", "try again"),
        (ConnectionError("x"), Stage.TUNNEL, "closed the connection instead of answering CONNECT", "proxy"),
        (OSError(errno.EHOSTUNREACH, "x"), Stage.CONNECT, "there is no route to", "route table"),
        (OSError(errno.ENETUNREACH, "x"), Stage.CONNECT, "there is no route to", "IPv6"),
        (OSError(errno.EACCES, "x"), Stage.CONNECT, "this host does not permit the connection", "owner and mode"),
        (OSError(errno.ENOENT, "x"), Stage.CONNECT, "there is no socket", "check that its service runs"),
        (OSError(errno.EIO, "Input/output error"), Stage.CONNECT, "cannot be reached (input/output error)", "check"),
        (OSError("x"), Stage.CONNECT, "cannot be reached", "check the way to it"),
        (
            _verification(19, "self-signed certificate in certificate chain"),
            Stage.TLS,
            "is not trusted (self-signed",
            "set",
        ),
        (_verification(20, "unable to get local issuer certificate"), Stage.TLS, "is not trusted", "set AWS_CA_BUNDLE"),
        (_verification(10, "certificate has expired"), Stage.TLS, "has expired", "NTP"),
        (_verification(9, "certificate is not yet valid"), Stage.TLS, "is not valid yet", "NTP"),
        (_verification(62, "Hostname mismatch"), Stage.TLS, "is for another name", "AWS_ENDPOINT_URL_STS"),
        (_verification(23, "certificate revoked"), Stage.TLS, "is not accepted (certificate revoked)", "replace it"),
        (_tls("WRONG_VERSION_NUMBER"), Stage.TLS, "does not speak TLS", "check the port"),
        (
            _tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            Stage.ANSWER,
            "does not accept the client certificate",
            "client CA",
        ),
        (_tls("UNEXPECTED_EOF_WHILE_READING"), Stage.TLS, "closed the connection during the TLS handshake", "firewall"),
        (_tls("TLSV1_ALERT_PROTOCOL_VERSION"), Stage.TLS, "failed (tlsv1 alert protocol version)", "TLS versions"),
        (
            UnicodeError("x"),
            Stage.NAME,
            "is no host name that DNS can have",
            "correct the name and AWS_ENDPOINT_URL_STS",
        ),
        (Exception("x"), Stage.ANSWER, "did not answer in HTTP", "check the port"),
    ],
)
def test_a_failure_has_a_problem_with_the_host_and_a_remedy(
    error: Exception, stage: Stage, problem: str, remedy: str
) -> None:
    cause = explain_failure(error, PEER, stage)
    assert HOST in cause.problem
    assert problem in cause.problem
    assert remedy in cause.remedy
    assert "Error" not in str(cause)
    assert "nobody should read" not in str(cause)


def test_a_process_without_descriptors_is_not_the_hosts_fault() -> None:
    cause = explain_failure(OSError(errno.EMFILE, "x"), PEER, Stage.CONNECT)
    assert cause == Cause("this process has no file descriptors left", "raise its limit of open files (ulimit nofile)")


def test_a_peer_without_a_setting_names_none() -> None:
    cause = explain_failure(ConnectionRefusedError(errno.ECONNREFUSED, "x"), Peer(name=HOST), Stage.CONNECT)
    assert cause.remedy.endswith("check address and port")


# Errors that the socket and OpenSSL of this machine really raise; `tests.http.test_causes` has the rest.


@pytest.fixture
def opened() -> Iterator[socket.socket]:
    with socket.socket() as one:
        one.settimeout(5.0)
        yield one


def test_a_port_on_which_nobody_listens(opened: socket.socket) -> None:
    opened.bind(("127.0.0.1", 0))
    with socket.socket() as other, pytest.raises(OSError) as raised:  # noqa: PT011 - any kind of error
        other.connect(opened.getsockname())
    assert "refuses the connection" in str(explain_failure(raised.value, PEER, Stage.CONNECT))


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(OSError) as raised:  # noqa: PT011 - likewise
        one.connect(str(tmp_path / "api.sock"))
    assert "there is no socket" in str(explain_failure(raised.value, PEER, Stage.CONNECT))


# Files.


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - likewise
        (tmp_path / "missing").read_text(encoding="utf-8")
    assert explain_file(raised.value) == "no such file or directory"


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(UnicodeError) as raised:
        (tmp_path / "file").read_text(encoding="utf-8")
    assert explain_file(raised.value) == "it is not UTF-8 text"


def test_a_file_that_is_no_pem_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nothing")
    with pytest.raises(ssl.SSLError) as raised:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=tmp_path / "file")
    assert explain_file(raised.value).startswith("OpenSSL says: ")


def test_any_other_file_says_no_more_than_that() -> None:
    assert explain_file(ValueError("secret")) == "its content is not valid"
