"""The address of the service: it has one spelling, and plain HTTP is refused over a network."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.service_address import ServiceAddress, parse_service_url
from app.local.addresses import is_loopback


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://iam.mesh.internal:5690", ServiceAddress(scheme="https", host="iam.mesh.internal", port=5690)),
        ("https://iam.mesh.internal/", ServiceAddress(scheme="https", host="iam.mesh.internal", port=443)),
        ("https://[2001:db8::1]:5690", ServiceAddress(scheme="https", host="2001:db8::1", port=5690)),
        ("http://127.0.0.1:5690", ServiceAddress(scheme="http", host="127.0.0.1", port=5690)),
        ("http://[::1]", ServiceAddress(scheme="http", host="::1", port=80)),
        ("http://localhost:5690", ServiceAddress(scheme="http", host="localhost", port=5690)),
        ("unix:/run/api.sock", ServiceAddress(scheme="unix", path=Path("/run/api.sock"))),
    ],
)
def test_an_address_is_read_and_written(text: str, address: ServiceAddress) -> None:
    assert parse_service_url(text) == address
    assert parse_service_url(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:5690",
        "https://",
        "https://host:0",
        "https://host:65536",
        "https://host:",
        "https://user@host",
        "https://host/v1/token",
        "https://host?x",
        "https://host#x",
        "https://a b",
        "https://host\n",
        " https://host",
        "https://h\u00f6st",
        "HTTPS://host",
        "http://10.0.0.1:5690",
        "http://localhost.example:5690",
        "http://127.0.0.1.example",
        "unix:relative",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"https|absolute path"):
        parse_service_url(text)


@given(st.text(max_size=30) | st.from_regex(r"\A(https?|unix|HTTP):[ -~]{0,30}\Z"))
def test_whatever_is_taken_is_written_as_it_was_read_and_never_in_clear(text: str) -> None:
    with contextlib.suppress(ValueError):
        address = parse_service_url(text)
        assert address.scheme != "http" or is_loopback(address.host)
        assert address.scheme == "unix" or 0 < address.port <= 65535
        assert parse_service_url(str(address)) == address
