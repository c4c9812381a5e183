"""Every metric as a scraper sees it. Label values come from closed sets (I23)."""

import platform
from types import SimpleNamespace

import pytest

from app import __version__
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.signed_request import CredentialForm
from app.core.token_kind import TokenKind
from app.decision.record import DecisionRecord
from app.local.certificate_dates import Validity
from app.telemetry.exposition import Exposition
from app.telemetry.metrics import Metrics, outcome_of
from tests.support.exposition import Samples, read_openmetrics, read_samples, value

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
    """Contract, section 4: 401 and 403 are decisions; 400, 5xx and the like are not."""
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
    """`rate()` is zero for a series that appears with its first fault."""
    assert read(metrics)[name, frozenset(labels.items())] == 0


def test_the_build_is_told(metrics: Metrics) -> None:
    labels = {"version": __version__, "python": platform.python_version()}
    assert value(read(metrics), "kuma_aws_iam_build_info", **labels) == 1


@pytest.mark.parametrize("reason", Reason)
def test_the_series_of_each_reason_exists_before_its_first_refusal(metrics: Metrics, reason: Reason) -> None:
    """Only then does `increase()` see a first burst. The counter by proxy type and form has too many series for that."""
    key = "kuma_aws_iam_refusals_total", frozenset({"outcome": outcome_of(reason), "reason": reason.value}.items())
    assert read(metrics)[key] == 0
    end(metrics, new_trail(), reason)
    assert read(metrics)[key] == 1


def test_an_approval_is_no_refusal(metrics: Metrics) -> None:
    end(metrics, new_trail(form=CredentialForm.JWT, granted=granted(ProxyType.EGRESS)), None)
    assert not any(count for (name, _), count in read(metrics).items() if name == "kuma_aws_iam_refusals_total")


def exemplars(metrics: Metrics) -> dict[str, float]:
    """The value of each exemplar by its request id, as a scraper of OpenMetrics reads them."""
    found = {}
    for family in read_openmetrics(metrics.expose(Exposition.OPENMETRICS).decode()):
        for sample in family.samples:
            if sample.exemplar is not None:
                assert family.name == "kuma_aws_iam_decision_seconds"
                found[sample.exemplar.labels["request_id"]] = sample.exemplar.value
    return found


def test_slow_approvals_and_all_refusals_have_an_exemplar(metrics: Metrics) -> None:
    """The request id leads from a bucket to the audit line."""
    allowed = {"form": CredentialForm.JWT, "granted": granted(ProxyType.EGRESS)}
    for request_id, reason, seconds in (
        ("hit", None, 0.0001),
        ("slow", None, 2.0),
        ("denied", Reason.STS_REJECTED, 0.0001),
        ("failed", Reason.STS_UNAVAILABLE, 10.0),
    ):
        trail = DecisionRecord(request_id=request_id, **(allowed if reason is None else {}))  # type: ignore[arg-type]
        metrics.decision_ended(trail, reason, seconds)
    assert exemplars(metrics) == {"slow": 2.0, "denied": 0.0001, "failed": 10.0}
    assert "request_id" not in metrics.expose().decode()  # the other format has no exemplars


@pytest.mark.parametrize(("request_id", "kept"), [("a" * 128, "a" * 64), ("b" * 64, "b" * 64)])
def test_a_long_request_id_is_cut_in_its_exemplar(metrics: Metrics, request_id: str, kept: str) -> None:
    metrics.decision_ended(DecisionRecord(request_id=request_id), Reason.STS_REJECTED, 0.01)
    assert exemplars(metrics) == {kept: 0.01}


def test_an_exemplar_that_the_library_rejects_is_left_out_and_the_decision_is_counted() -> None:
    """OpenMetrics allows 128 characters. A failure here must not change an answer (I21)."""

    class LongExemplars(Metrics):
        def exemplar_of(self, trail: DecisionRecord) -> dict[str, str]:
            return {"request_id": trail.request_id}

    metrics = LongExemplars()
    end(metrics, DecisionRecord(request_id="a" * 300), Reason.STS_REJECTED)
    assert exemplars(metrics) == {}
    assert value(read(metrics), "kuma_aws_iam_decision_seconds_count", outcome="denied") == 1
    assert value(read(metrics), "kuma_aws_iam_refusals_total", outcome="denied", reason="sts_rejected") == 1


def test_both_formats_have_the_same_samples(metrics: Metrics) -> None:
    end(metrics, new_trail(), Reason.STS_REJECTED)
    text = metrics.expose(Exposition.OPENMETRICS).decode()
    names = {sample.name for family in read_openmetrics(text) for sample in family.samples}
    skew = "kuma_aws_iam_client_clock_skew_seconds_count"
    assert names | {skew} == {name for name, _ in read(metrics)}
    # The format forbids it without a sum, and without it OpenTelemetry's collector drops the whole histogram.
    assert f"\n{skew} 0.0\n" in text


def test_the_queues_are_read_at_each_scrape(metrics: Metrics) -> None:
    metrics.watch_queue("sts", SimpleNamespace(waiting=7, open_circuits=1))
    samples = read(metrics)
    assert value(samples, "kuma_aws_iam_waiting_calls", upstream="sts") == 7
    assert value(samples, "kuma_aws_iam_open_circuits", upstream="sts") == 1
    assert samples["kuma_aws_iam_waiting_calls", frozenset({("upstream", "iam")})] == 0


def test_a_certificate_or_key_that_is_replaced_loses_its_series(metrics: Metrics) -> None:
    certificates = {"server": Validity(1.0, 2.0), "client_ca": Validity(3.0, 4.0)}
    keys = [(TokenKind.DATAPLANE, "old", 5.0)]
    metrics.file_dates.watch_certificates(lambda: certificates)  # type: ignore[arg-type,return-value]
    metrics.file_dates.watch_keys(lambda: keys)
    changed, not_after = "kuma_aws_iam_signing_key_changed_timestamp_seconds", "kuma_aws_iam_tls_certificate_not_after"
    assert value(read(metrics), changed, kind="dataplane", kid="old") == 5
    assert value(read(metrics), f"{not_after}_timestamp_seconds", certificate="client_ca") == 4
    keys = [(TokenKind.ZONE, "new", 6.0)]
    del certificates["client_ca"]
    samples = read(metrics)
    assert [(labels, sample) for (name, labels), sample in samples.items() if name == changed] == [
        (frozenset({("kind", "zone"), ("kid", "new")}), 6.0)
    ]
    assert {dict(labels)["certificate"] for name, labels in samples if name.startswith(not_after)} == {"server"}


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
