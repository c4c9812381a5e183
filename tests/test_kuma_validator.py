"""The imitation of the control plane follows Kuma's rules, reads the printed configuration, and separates the kinds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from app.cli import main
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.support.keys import public_pem, rsa_key
from tests.support.signing import NOW
from tests.support.tokens import DATAPLANE_CLAIMS, DATAPLANE_HEADER, HOUR, OURS, ZONE_CLAIMS, ZONE_HEADER, make_token

MOMENT = NOW.timestamp()
RESOURCE = DataplaneResource(
    mesh="default", name="demo-app-1", tags={"kuma.io/service": {"demo-app"}, "team": {"web"}}, labels={}
)


def configuration(*dataplane: Mapping[str, str], zone: Mapping[str, str] | None = None) -> dict[str, Any]:
    keys = dataplane or ({"kid": "dp-1", "key": public_pem(rsa_key(0))},)
    zone_key = zone or {"kid": "zone-1", "key": public_pem(rsa_key(1))}
    return {
        "dpServer": {
            "authn": {
                "dpProxy": {"dpToken": {"validator": {"publicKeys": list(keys)}}},
                "zoneProxy": {"zoneToken": {"validator": {"publicKeys": [zone_key]}}},
            }
        }
    }


KUMA = KumaValidator(configuration())


def refusal(token: str, resource: DataplaneResource = RESOURCE, kuma: KumaValidator = KUMA, now: float = MOMENT) -> str:
    with pytest.raises(RefusedError) as raised:
        kuma.check_dataplane(token, resource, now)
    return str(raised.value)


def zone_refusal(token: str, scope: str = "ingress", zone: str = "east") -> str:
    with pytest.raises(RefusedError) as raised:
        KUMA.check_zone_proxy(token, scope, zone, MOMENT)
    return str(raised.value)


# The claims.


def test_a_token_passes_for_its_own_data_plane() -> None:
    KUMA.check_dataplane(make_token(), RESOURCE, MOMENT)
    named = make_token({**DATAPLANE_CLAIMS, "Name": "demo-app-1", "Workload": "demo"})
    KUMA.check_dataplane(named, replace(RESOURCE, labels={"kuma.io/workload": "demo"}), MOMENT)


@pytest.mark.parametrize(
    ("claims", "resource", "sentence"),
    [
        ({}, replace(RESOURCE, mesh="other"), "mesh"),
        ({}, replace(RESOURCE, tags={"kuma.io/service": {"other"}}), "not allowed"),
        ({}, replace(RESOURCE, tags={"kuma.io/service": {"demo-app", "other"}}), "not allowed"),
        ({}, replace(RESOURCE, tags={"team": {"web"}}), "has no tag"),
        ({"Name": "demo-app-2"}, RESOURCE, "name"),
        ({"Workload": "demo"}, RESOURCE, "workload"),
        ({"Workload": "demo"}, replace(RESOURCE, labels={"kuma.io/workload": "other"}), "workload"),
        ({"Mesh": 1}, RESOURCE, "unmarshal"),
        ({"Tags": {"kuma.io/service": "demo-app"}}, RESOURCE, "unmarshal"),
        ({"Tags": ["kuma.io/service"]}, RESOURCE, "unmarshal"),
    ],
)
def test_a_token_passes_for_no_other_data_plane(
    claims: dict[str, Any], resource: DataplaneResource, sentence: str
) -> None:
    assert sentence in refusal(make_token({**DATAPLANE_CLAIMS, **claims}), resource)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="none"),
        pytest.param({"Mesh": "", "Name": "", "Tags": {}, "Workload": ""}, id="empty"),
        pytest.param({"Mesh": None, "Tags": None}, id="null"),
        pytest.param({"Type": "ingress"}, id="type-is-compared-with-nothing"),
    ],
)
def test_to_kuma_an_absent_claim_is_no_limit(claims: dict[str, Any]) -> None:
    """So no token of the service may lack a claim that limits it."""
    KUMA.check_dataplane(make_token({"exp": MOMENT + 1, **claims}), replace(RESOURCE, mesh="any"), MOMENT)


def test_kuma_compares_names_of_claims_without_case() -> None:
    """So no claim of the service may equal one of Kuma's except for its case. The last one of two counts."""
    assert "mesh" in refusal(make_token({"Mesh": "default", "mesh": "other"}))


def test_kuma_leaves_our_own_claims_aside() -> None:
    KUMA.check_dataplane(make_token(OURS), RESOURCE, MOMENT)


# Signature, times, revocation.


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"kid": "dp-2"}, "no signing key"),
        ({"kid": None}, "kid"),
    ],
)
def test_a_header_of_another_kind_is_refused(header: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(make_token(header={**DATAPLANE_HEADER, **header}))


def test_a_signature_of_another_key_is_refused() -> None:
    assert "verification" in refusal(make_token(key=rsa_key(2)))
    head, claims, signature = make_token().split(".")
    other = make_token({**DATAPLANE_CLAIMS, "Mesh": "other"}).split(".")[1]
    assert "verification" in refusal(f"{head}.{other}.{signature}")
    assert "segments" in refusal(f"{head}.{claims}")
    assert "malformed" in refusal(f"{head}.{claims}.!")
    assert "malformed" in refusal(f"{head}.e30x.{signature}")


@pytest.mark.parametrize(("seconds", "sentence"), [(HOUR, "expired"), (-301, "before issued")])
def test_a_token_passes_in_its_time_alone(seconds: int, sentence: str) -> None:
    """Kuma allows no clock skew, so iat and nbf are 5 minutes early: the control plane's clock may be behind."""
    assert sentence in refusal(make_token(), now=MOMENT + seconds)
    KUMA.check_dataplane(make_token(), RESOURCE, MOMENT - 300)


def test_a_token_before_its_nbf_is_refused() -> None:
    assert "valid yet" in refusal(make_token({**DATAPLANE_CLAIMS, "nbf": MOMENT + 1}))
    assert "unmarshal" in refusal(make_token({**DATAPLANE_CLAIMS, "nbf": "soon"}))


def test_a_revoked_token_is_refused_by_its_id() -> None:
    kuma = KumaValidator(configuration(), revoked={DATAPLANE_CLAIMS["jti"]})
    assert "revoked" in refusal(make_token(), kuma=kuma)
    kuma.check_dataplane(make_token({**DATAPLANE_CLAIMS, "jti": "another"}), RESOURCE, MOMENT)


# The two kinds.


def test_a_zone_token_passes_for_its_own_zone_and_scope() -> None:
    token = make_token(ZONE_CLAIMS, ZONE_HEADER, rsa_key(1))
    KUMA.check_zone_proxy(token, "ingress", "east", MOMENT)
    assert "zone" in zone_refusal(token, zone="west")
    assert "scope" in zone_refusal(token, scope="egress")


def test_neither_kind_passes_for_the_other() -> None:
    assert "no signing key" in zone_refusal(make_token())
    assert "no signing key" in refusal(make_token(ZONE_CLAIMS, ZONE_HEADER, rsa_key(1)))


def test_a_zone_token_that_a_data_planes_key_signs_is_a_data_plane_of_any_mesh() -> None:
    """So the two kinds never share a key."""
    KUMA.check_dataplane(make_token(ZONE_CLAIMS, DATAPLANE_HEADER, rsa_key(0)), replace(RESOURCE, mesh="any"), MOMENT)


def test_a_zone_token_without_a_zone_is_one_of_every_zone() -> None:
    """So the service issues none."""
    token = make_token({**OURS, "Scope": ["egress"]}, ZONE_HEADER, rsa_key(1))
    KUMA.check_zone_proxy(token, "egress", "any", MOMENT)


# The configuration.


def test_a_key_of_a_mesh_counts_for_it_alone_and_one_without_for_every_mesh() -> None:
    kuma = KumaValidator(
        configuration(
            {"kid": "dp-1", "mesh": "payments", "key": public_pem(rsa_key(0))},
            {"kid": "dp-2", "key": public_pem(rsa_key(2))},
        )
    )
    assert "no signing key" in refusal(make_token(), kuma=kuma)
    kuma.check_dataplane(make_token(header={**DATAPLANE_HEADER, "kid": "dp-2"}, key=rsa_key(2)), RESOURCE, MOMENT)


@pytest.mark.parametrize("entry", [{"key": public_pem(rsa_key(0))}, {"kid": "dp-1"}])
def test_half_a_key_ends_kumas_start(entry: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="required"):
        KumaValidator(configuration(entry))


@pytest.mark.parametrize("options", [["--kind", "dataplane", "--mesh", "default"], ["--kind", "zone"]])
def test_what_is_printed_is_yaml_that_holds_the_public_key(tmp_path: Path, options: list[str]) -> None:
    run = CliRunner().invoke(main, ["keys", "generate", *options, "--kid", "on", "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    parsed = yaml.safe_load(run.stdout)
    [section] = parsed["dpServer"]["authn"].keys() - {"enableReloadableTokens"}
    authentication = parsed["dpServer"]["authn"][section]
    [entry] = authentication[authentication["type"]]["validator"]["publicKeys"]
    assert entry["kid"] == "on"
    assert entry["key"] == (tmp_path / "on.pub.pem").read_text()
