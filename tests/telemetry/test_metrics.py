"""Every metric by what a scraper sees of it. Label values come from closed sets (I23)."""

import platform

import pytest

from app import __version__
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.signed_request import CredentialForm
from app.decision.record import DecisionRecord
from app.telemetry.metrics import Metrics, outcome_of
from tests.support.exposition import Samples, read_samples, value

DECISIONS = "kuma_aws_iam_decisions_total"
FORMS = {*CredentialForm, "token", "none"}
TYPES = {*ProxyType, "none"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def read(metrics: Metrics) -> Samples:
    return read_samples(metrics.expose().decode())


def new_trail(**changes: object) -> DecisionRecord:
    trail = DecisionRecord(request_id="request-1")
    for name, changed in changes.items():
        setattr(trail, name, changed)
    return trail


def granted(proxy_type: ProxyType) -> ProxyIdentity:
    return ProxyIdentity(type=proxy_type, mesh=None, service=None, workload=None, zone=None)


def end(metrics: Metrics, trail: DecisionRecord, reason: Reason | None) -> None:
    metrics.decision_ended(trail, reason, 0.002)


@pytest.mark.parametrize("reason", Reason)
def test_outcome_is_denied_for_a_decision_and_error_for_none(reason: Reason) -> None:
    """Contract, section 4: 401 and 403 are decisions; 400, 5xx and the like are none."""
    assert outcome_of(reason) == ("denied" if EXPLANATIONS[reason].status in (401, 403) else "error")
    assert outcome_of(None) == "allowed"


@pytest.mark.parametrize("form", CredentialForm)
@pytest.mark.parametrize("proxy_type", ProxyType)
def test_an_approval_is_counted_by_granted_type_and_form(
    metrics: Metrics, proxy_type: ProxyType, form: CredentialForm
) -> None:
    end(metrics, new_trail(form=form, granted=granted(proxy_type)), None)
    samples = read(metrics)
    assert value(samples, DECISIONS, outcome="allowed", reason="none", proxy_type=proxy_type, form=form) == 1
    assert value(samples, "kuma_aws_iam_decision_seconds_count", outcome="allowed") == 1


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_is_counted_by_its_reason(metrics: Metrics, reason: Reason) -> None:
    trail = new_trail(form=CredentialForm.EKS, asserted=ProxyAssertion(type=ProxyType.INGRESS))
    end(metrics, trail, reason)
    outcome = outcome_of(reason)
    samples = read(metrics)
    assert value(samples, DECISIONS, outcome=outcome, reason=reason, proxy_type="ingress", form="eks") == 1
    assert value(samples, "kuma_aws_iam_decision_seconds_count", outcome=outcome) == 1


def test_what_ended_before_anything_was_known_is_counted_under_none(metrics: Metrics) -> None:
    end(metrics, new_trail(), Reason.MALFORMED_REQUEST)
    labels = {"outcome": "error", "reason": "malformed_request", "proxy_type": "none", "form": "none"}
    assert value(read(metrics), DECISIONS, **labels) == 1


def test_decisions_under_way_are_asked_for_at_each_scrape(metrics: Metrics) -> None:
    under_way = [2, 0]
    metrics.watch_in_flight(lambda: under_way.pop(0))
    in_flight = "kuma_aws_iam_in_flight_decisions"
    assert [value(read(metrics), in_flight) for _ in range(2)] == [2, 0]


def test_cache_look_ups_are_counted_by_result(metrics: Metrics) -> None:
    trail = new_trail()
    trail.sts.cache, trail.iam.cache = "hit", "miss"
    end(metrics, trail, Reason.ROLE_NOT_FOUND)
    end(metrics, new_trail(), Reason.CREDENTIAL_MALFORMED)  # came to no cache
    samples = read(metrics)
    requests = "kuma_aws_iam_cache_requests_total"
    assert value(samples, requests, cache="identity", result="hit") == 1
    assert value(samples, requests, cache="identity", result="miss") == 0
    assert value(samples, requests, cache="role", result="miss") == 1


@pytest.mark.parametrize(("skew", "bucket"), [(-899.0, "-600.0"), (-0.5, "0.0"), (299.0, "300.0"), (400.0, "+Inf")])
def test_the_signers_clock_is_observed(metrics: Metrics, skew: float, bucket: str) -> None:
    end(metrics, new_trail(skew=skew), Reason.CREDENTIAL_EXPIRED)
    samples = read(metrics)
    name = "kuma_aws_iam_client_clock_skew_seconds"
    filled = [
        float(dict(labels)["le"])
        for sample, labels in samples
        if sample == f"{name}_bucket" and samples[sample, labels]
    ]
    assert min(filled) == float(bucket)
    assert value(samples, f"{name}_count") == 1


def test_a_decision_that_never_saw_a_date_observes_no_clock(metrics: Metrics) -> None:
    end(metrics, new_trail(), Reason.CREDENTIAL_MALFORMED)
    assert value(read(metrics), "kuma_aws_iam_client_clock_skew_seconds_count") == 0


def test_upstream_calls_are_counted_by_outcome_and_region(metrics: Metrics) -> None:
    metrics.upstream_call("sts", "ok", "eu-west-1", 0.02)
    metrics.upstream_call("iam", "iam_throttled", "global", 0.2)
    samples = read(metrics)
    calls = "kuma_aws_iam_upstream_calls_total"
    assert value(samples, calls, upstream="sts", outcome="ok", region="eu-west-1") == 1
    assert value(samples, calls, upstream="iam", outcome="iam_throttled", region="global") == 1
    assert value(samples, "kuma_aws_iam_upstream_throttles_total", upstream="iam") == 1
    assert value(samples, "kuma_aws_iam_upstream_throttles_total", upstream="sts") == 0
    assert value(samples, "kuma_aws_iam_upstream_call_seconds_sum", upstream="iam") == pytest.approx(0.2)
    assert metrics.last_outcomes() == {"sts": "ok", "iam": "iam_throttled"}


def test_no_upstream_was_asked_at_the_start(metrics: Metrics) -> None:
    assert metrics.last_outcomes() == {"sts": "none", "iam": "none"}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (DECISIONS, {"outcome": "allowed", "reason": "none", "proxy_type": "dataplane", "form": "native"}),
        ("kuma_aws_iam_decision_seconds_count", {"outcome": "error"}),
        ("kuma_aws_iam_upstream_call_seconds_count", {"upstream": "iam"}),
        ("kuma_aws_iam_upstream_throttles_total", {"upstream": "sts"}),
        ("kuma_aws_iam_cache_requests_total", {"cache": "role", "result": "hit"}),
        ("kuma_aws_iam_audit_lines_lost_total", {}),
        ("kuma_aws_iam_in_flight_decisions", {}),
        ("kuma_aws_iam_client_clock_skew_seconds_count", {}),
    ],
)
def test_a_series_to_be_alerted_on_exists_from_the_start(metrics: Metrics, name: str, labels: dict[str, str]) -> None:
    """`rate()` of a series that appears with its first fault is zero."""
    assert read(metrics)[name, frozenset(labels.items())] == 0


def test_the_build_is_told(metrics: Metrics) -> None:
    labels = {"version": __version__, "python": platform.python_version()}
    assert value(read(metrics), "kuma_aws_iam_build_info", **labels) == 1


def test_two_services_in_one_process_do_not_mix(metrics: Metrics) -> None:
    end(metrics, new_trail(), Reason.STS_REJECTED)
    labels = {"outcome": "denied", "reason": "sts_rejected", "proxy_type": "none", "form": "none"}
    assert value(read(Metrics()), DECISIONS, **labels) == 0


def test_label_values_are_of_closed_sets_whatever_came(metrics: Metrics) -> None:
    claim = ProxyAssertion(
        type=ProxyType.EGRESS, mesh="canary", name="canary", zone="canary", labels={"canary": "canary"}
    )
    for reason in (None, *Reason):
        end(metrics, new_trail(asserted=claim, granted=granted(ProxyType.EGRESS), form=CredentialForm.JWT), reason)
    text = metrics.expose().decode()
    assert "canary" not in text
    for sample, labels in read_samples(text):
        if sample == DECISIONS:
            found = dict(labels)
            assert found["outcome"] in {"allowed", "denied", "error"}
            assert found["reason"] in {*Reason, "none"}
            assert found["proxy_type"] in TYPES
            assert found["form"] in FORMS
