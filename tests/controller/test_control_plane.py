"""The control plane's API over real TLS: its address, its certificate and its token."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from app.controller.control_plane import ApiAccess, ControlPlaneApi, api_token_reader, parse_api_url, parse_ca
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import CallError, Failure
from app.controller.tasks import TaskIdentity
from demos.controller.kuma_api import API_TOKEN, kuma_api
from tests.support.keys import rsa_key
from tests.support.tls import make_certificate

WEB = TaskIdentity(mesh="default", service="web")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://cp.mesh:5682", "https://cp.mesh:5682"),
        ("https://cp.mesh", "https://cp.mesh:443"),
        ("https://cp.mesh:5682/", "https://cp.mesh:5682"),
        ("https://cp.mesh:5682/behind/", "https://cp.mesh:5682/behind"),
        ("http://127.0.0.1:5681", "http://127.0.0.1:5681"),
        ("http://localhost:5681", "http://localhost:5681"),
    ],
)
def test_an_address_is_parsed(text: str, expected: str) -> None:
    assert str(parse_api_url(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cp.mesh:5682",
        "http://cp.mesh:5681",
        "https://",
        "https://user@cp.mesh",
        "https://cp.mesh:99999",
        "https://cp.mesh?a=b",
        "https://cp.mesh\n",
        "ftp://cp.mesh",
    ],
)
def test_another_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"https|clear"):
        parse_api_url(text)


@pytest.mark.parametrize("form", ["pem", "commented", "base64", "wrapped"])
async def test_a_certificate_without_an_authority_is_trusted_as_its_own(tmp_path: Path, form: str) -> None:
    """Go trusts it, and the certificate of Kong's templates has no authority."""
    files = make_certificate(tmp_path)
    pem = files.cert.read_text()
    if form == "commented":  # as in the bundles of Linux distributions
        pem = f"# Főtanúsítvány\n{pem}"
    encoded = base64.encodebytes if form == "wrapped" else base64.b64encode
    ca = parse_ca(pem if form in ("pem", "commented") else encoded(pem.encode()).decode())
    with kuma_api(rsa_key(2), (files.cert, files.key)) as state:
        access = ApiAccess(server=parse_api_url(state.url), ca=ca, read_token=lambda: API_TOKEN)
        api = ControlPlaneApi(access, HOUR, ControllerMetrics())
        assert await api.issue(WEB) == state.tokens[0]


@pytest.mark.parametrize("text", ["", "no certificate", "////", base64.b64encode(b"nothing").decode()])
def test_what_is_no_certificate_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="PEM"):
        parse_ca(text)


@pytest.mark.parametrize("known", [True, False])
async def test_an_unknown_certificate_gets_no_token_of_an_admin(tmp_path: Path, known: bool) -> None:  # noqa: FBT001
    files = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    with kuma_api(rsa_key(2), (files.cert, files.key)) as state:
        access = ApiAccess(
            server=parse_api_url(state.url), ca=other.cert.read_text() if known else None, read_token=lambda: API_TOKEN
        )
        with pytest.raises(CallError) as raised:
            await ControlPlaneApi(access, HOUR, ControllerMetrics()).issue(WEB)
    assert raised.value.failure is Failure.UNAVAILABLE
    assert "certificate" in raised.value.detail
    assert state.asked == []


async def test_a_file_with_the_token_is_read_for_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")
    with kuma_api(rsa_key(2)) as state:
        access = ApiAccess(server=parse_api_url(state.url), read_token=api_token_reader("ignored", path))
        api = ControlPlaneApi(access, HOUR, ControllerMetrics())
        with pytest.raises(CallError) as raised:
            await api.issue(WEB)
        assert raised.value.failure is Failure.ACCESS_DENIED
        path.write_text(f"{API_TOKEN}\n")
        assert await api.issue(WEB)
        path.unlink()
        with pytest.raises(CallError) as raised:
            await api.issue(WEB)
        assert raised.value.failure is Failure.NO_CREDENTIALS


@pytest.mark.parametrize("text", [None, "", "two words", "a\nb", "ü"])
def test_what_is_no_token_is_rejected_without_a_word_of_it(text: str | None) -> None:
    with pytest.raises(ValueError, match="API token") as raised:
        api_token_reader(text, None)()
    assert not text or text not in str(raised.value)
