"""The rows of ``make demo-kuma``: agents get tokens, and Kuma's own rules say what each token is good for."""

from dataclasses import replace
from typing import Final

from demos.kuma.play import Check, as_dataplane, as_zone_proxy, check_health, dataplane, for_another_mesh, run_agent
from demos.kuma.validator import DataplaneResource

ZONE: Final = "east"
_HOUR: Final = 3600.0
_DEMO_CLAIM: Final = ("--proxy-type", "dataplane", "--mesh", "default", "--label", "kuma.io/workload=demo-app")
_EGRESS_CLAIM: Final = (
    *("--proxy-type", "dataplane", "--mesh", "default", "--name", "egress-1"),
    *("--label", "kuma.io/workload=egress", "--listener", "ZoneEgress"),
)
_OWN: Final = dataplane()
_OWN_WORDS: Final = "Dataplane of mesh default, label kuma.io/workload demo-app"

CHECKS: Final = (
    Check(
        title="agent of demo-app",
        sent=f"--mode token {' '.join(_DEMO_CLAIM)}",
        verdict="allowed",
        because="Mesh=default Workload=demo-app",
        run=run_agent("demo-app", *_DEMO_CLAIM),
    ),
    Check(
        title="its health check",
        sent="agent --health, which asks nobody",
        verdict="accepted",
        because="good",
        run=check_health("demo-app"),
    ),
    Check(
        title="control plane: demo-app as itself",
        sent=_OWN_WORDS,
        verdict="accepted",
        because="mesh default, label kuma.io/workload=demo-app",
        run=as_dataplane("demo-app", _OWN),
    ),
    Check(
        title="control plane: demo-app in another mesh",
        sent="Dataplane of mesh payments, label kuma.io/workload demo-app",
        verdict="refused",
        because="mesh",
        run=as_dataplane("demo-app", dataplane("payments")),
    ),
    Check(
        title="control plane: demo-app as another workload, and so as another service",
        sent="Dataplane of mesh default, label kuma.io/workload backend",
        verdict="refused",
        because="workload",
        run=as_dataplane("demo-app", dataplane("default", "backend")),
    ),
    Check(
        title="control plane: demo-app without the label",
        sent="Dataplane of mesh default, no label",
        verdict="refused",
        because="workload",
        run=as_dataplane("demo-app", DataplaneResource(mesh="default", name="demo-app-1")),
    ),
    Check(
        title="control plane: a token that somebody wrote another mesh into",
        sent="the signature is the old one",
        verdict="refused",
        because="verification error",
        run=as_dataplane("demo-app", dataplane("payments"), change=for_another_mesh),
    ),
    Check(
        title="control plane: the same token an hour later",
        sent=_OWN_WORDS,
        verdict="refused",
        because="expired",
        run=as_dataplane("demo-app", _OWN, later=_HOUR + 1),
    ),
    Check(
        title="control plane: a token whose jti was revoked",
        sent=_OWN_WORDS,
        verdict="refused",
        because="revoked",
        run=as_dataplane("demo-app", _OWN, is_revoked=True),
    ),
    Check(
        title="control plane of Kuma 2.14: demo-app as itself",
        sent="the label, and beside it the tag kuma.io/service, which its role does not restrict",
        verdict="accepted",
        because="tag kuma.io/service=demo-app",
        run=as_dataplane("demo-app", dataplane("default", "demo-app", "demo-app"), has_only_labels=False),
    ),
    Check(
        title="agent of demo-app that wants another mesh",
        sent="--proxy-type dataplane --mesh payments",
        verdict="denied",
        because="proxy_mesh_mismatch",
        run=run_agent("demo-app", "--proxy-type", "dataplane", "--mesh", "payments"),
    ),
    Check(
        title="agent of a task that was never meant for the mesh",
        sent="its role has no kuma.io tags",
        verdict="denied",
        because="role_type_missing",
        run=run_agent("untagged"),
    ),
    Check(
        title="agent of an egress of mesh default",
        sent=" ".join(_EGRESS_CLAIM),
        verdict="allowed",
        because="Mesh=default Name=egress-1 Workload=egress",
        run=run_agent("mesh-egress", *_EGRESS_CLAIM),
    ),
    Check(
        title="control plane: the egress as itself",
        sent="Dataplane of mesh default with a ZoneEgress listener",
        verdict="accepted",
        because="mesh default, label kuma.io/workload=egress",
        run=as_dataplane("mesh-egress", replace(dataplane("default", "egress"), name="egress-1")),
    ),
    Check(
        title="agent of an ingress, for Kuma 2.x",
        sent=f"--proxy-type ingress --zone {ZONE}",
        verdict="allowed",
        because=f'Zone={ZONE} Scope=["ingress"]',
        run=run_agent("zone-ingress", "--proxy-type", "ingress", "--zone", ZONE),
    ),
    Check(
        title="control plane of Kuma 2.14: the ingress as itself",
        sent=f"ZoneIngress of zone {ZONE}",
        verdict="accepted",
        because=f"ingress of zone {ZONE}",
        run=as_zone_proxy("zone-ingress", "ingress", ZONE),
    ),
    Check(
        title="control plane of Kuma 2.14: the ingress as an egress",
        sent=f"ZoneEgress of zone {ZONE}",
        verdict="refused",
        because="out of token's scope",
        run=as_zone_proxy("zone-ingress", "egress", ZONE),
    ),
    Check(
        title="control plane of Kuma 2.14: the ingress in another zone",
        sent="ZoneIngress of zone west",
        verdict="refused",
        because="is different than in token",
        run=as_zone_proxy("zone-ingress", "ingress", "west"),
    ),
    Check(
        title="control plane: the ingress",
        sent=f"ZoneIngress of zone {ZONE}, which 3.0 does not have",
        verdict="refused",
        because="is not supported",
        run=as_zone_proxy("zone-ingress", "ingress", ZONE, has_only_labels=True),
    ),
    Check(
        title="control plane: the ingress as a data plane",
        sent="Dataplane of mesh default; a zone token has no mesh, and would be one of any",
        verdict="refused",
        because="no signing key",
        run=as_dataplane("zone-ingress", _OWN),
    ),
    Check(
        title="agent of an ingress of no zone, for Kuma 2.x",
        sent="--proxy-type ingress; neither its role nor the service names one",
        verdict="denied",
        because="role_zone_missing",
        run=run_agent("zone-ingress", "--proxy-type", "ingress"),
    ),
)
