"""The addresses and the certificate of the listener are checked without disturbing a running service."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.diagnosis.finding import Finding
from app.diagnosis.listeners import check_certificate, check_listeners
from tests.conftest import LoadSettings
from tests.support.process import free_address, socket_address
from tests.support.tls import make_certificate
from tests.support.world import NEW_GENERATION


def look_at(settings_of: LoadSettings, address: str) -> Finding:
    [finding] = check_listeners(settings_of(**NEW_GENERATION, KMESH_AWSIAM_LISTEN=address))
    return finding


def test_a_free_port_is_free_and_a_taken_one_is_no_failure(settings_of: LoadSettings) -> None:
    """Under ECS Exec the service itself listens there."""
    assert look_at(settings_of, free_address()).found.endswith(": free")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = look_at(settings_of, f"127.0.0.1:{listener.getsockname()[1]}")
    assert (taken.state, "listens there already" in taken.found) == ("ok", True)


def test_a_unix_socket_is_free_or_taken(settings_of: LoadSettings) -> None:
    with socket_address() as address, socket.socket(socket.AF_UNIX) as listener:
        assert look_at(settings_of, address).found.endswith(": free")
        path = address.removeprefix("unix:")
        listener.bind(path)
        assert look_at(settings_of, address).found.endswith(": free"), "nobody listens, so serve replaces it"
        listener.listen()
        assert "listens there already" in look_at(settings_of, address).found
        assert Path(path).is_socket()


def test_an_address_that_serve_could_not_use_is_a_failure(settings_of: LoadSettings, tmp_path: Path) -> None:
    for address, words in (
        ("unix:/nowhere/api.sock", "there is no folder /nowhere"),
        (f"unix:{make_certificate(tmp_path).cert}", "no socket"),
    ):
        finding = look_at(settings_of, address)
        assert (finding.state, finding.remedy) == ("failed", "correct KMESH_AWSIAM_LISTEN")
        assert words in finding.found


@pytest.mark.parametrize(("days", "state"), [(-1, "failed"), (0, "warning"), (30, "failed")])
def test_a_certificate_is_judged_by_its_validity(
    settings_of: LoadSettings, tmp_path: Path, days: int, state: str
) -> None:
    """The certificate of the tests is valid for two hours."""
    files = make_certificate(tmp_path)
    settings = settings_of(
        **NEW_GENERATION, KMESH_AWSIAM_TLS_CERT_FILE=str(files.cert), KMESH_AWSIAM_TLS_KEY_FILE=str(files.key)
    )
    [finding] = check_certificate(settings, clock=lambda: datetime.now(UTC) + timedelta(days=days))
    assert finding.state == state
