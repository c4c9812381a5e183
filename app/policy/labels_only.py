"""`DecisionFacts` and `AccessPolicy` → `Verdict` for a proxy that comes to a control plane of Kuma 3.0 as it is now.

Kuma 3.0 drops the tags of inbounds without an error, compares the tags of a token with labels, and has no ZoneIngress,
ZoneEgress or zone token. Its default MeshIdentity refuses a token without a workload (UPGRADE.md of Kuma 3.0).
"""

from dataclasses import replace

from app.core.proxy import ProxyType
from app.core.reasons import Reason
from app.policy.verdict import ALLOWED, AccessPolicy, DecisionFacts, Missing, Outcome, Verdict, evaluate_policy


def evaluate_for_labels_only(facts: DecisionFacts, policy: AccessPolicy) -> Verdict:
    """Return what becomes of this proxy if its resource and its role stay the same and the control plane is of 3.0.

    The denial may be one by the control plane, which refuses the token. Its reason is then the one that this service would
    have for the resource as 3.0 reads it:

    ==========================  ==============================================================================
    `PROXY_SERVICE_MISMATCH`    the role has ``kuma.io/service``, and only inbounds have it, not the labels
    `ROLE_WORKLOAD_MISSING`     the role has no ``kuma.io/workload``
    `PROXY_TYPE_MISMATCH`       the resource is a ZoneIngress or a ZoneEgress
    `ROLE_MESH_MISSING`         the role is for such a resource: a zone proxy of 3.0 belongs to a mesh
    ==========================  ==============================================================================
    """
    asserted = facts.asserted
    if asserted is not None:
        facts = replace(facts, asserted=replace(asserted, tags={}))
    verdict = evaluate_policy(facts, replace(policy, require_workload=True))
    if verdict.outcome is Outcome.DENIED:
        return verdict
    if asserted is not None:
        return verdict if asserted.type is ProxyType.DATAPLANE else Verdict(Outcome.DENIED, Reason.PROXY_TYPE_MISMATCH)
    return _of_an_unknown_proxy(facts) if verdict is ALLOWED else verdict


def _of_an_unknown_proxy(facts: DecisionFacts) -> Verdict:
    """Return the verdict if the caller asked for an identity, or an Envoy for a token, and named no proxy."""
    granted = facts.token.identity if facts.token is not None else facts.role.grant if facts.role is not None else None
    if granted is not None and granted.type is not ProxyType.DATAPLANE and granted.mesh is None:
        return Verdict(Outcome.DENIED, Reason.ROLE_MESH_MISSING)
    # Whether the Dataplane has the label that the token names is not in the line.
    return Verdict(Outcome.UNKNOWN, missing=Missing.PROXY)
