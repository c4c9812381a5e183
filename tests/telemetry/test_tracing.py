"""Traces: a span for each call, one below it for each step with its reason, the caller's context, and nothing secret."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, Final

import pytest

from app.core.signed_request import CredentialForm
from app.emulator import Emulator
from app.emulator.fault_kinds import FaultKind
from app.settings.loading import SettingsError
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import read_openmetrics
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, free_address, run_cold, served_cold, socket_address
from tests.support.service import RunningService
from tests.support.world import ACCOUNT, NEW_GENERATION, PROXY, Aws, recipe_of

if os.environ.get("CI"):
    import opentelemetry.sdk.trace  # noqa: F401 - in CI its absence is a failure
else:
    pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.telemetry import tracing
from app.telemetry.audit import configure_logging
from app.telemetry.span_collector import CollectorSession
from app.telemetry.untraced import TracingError

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = f"00-{TRACE_ID}-b7ad6b7169203331-01"
REASON: Final = "kuma_aws_iam.reason"
STEPS: Final = [
    "1 decode",
    "2 validate",
    "1-4 identify by STS",
    "2 check the age",
    "5 admit",
    "6 fetch the role",
    "7 read the tags",
    "8 match",
]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keep the spans in this process; send none to a collector."""
    memory = InMemorySpanExporter()

    @contextlib.asynccontextmanager
    async def open_tracing() -> AsyncIterator[tracing.Tracing]:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(memory))
        yield tracing.Tracing(provider.get_tracer("test"))

    monkeypatch.setattr(tracing, "open_tracing", open_tracing)
    return memory


@pytest.fixture
async def traced(exporter: InMemorySpanExporter, start_service: StartService) -> AsyncIterator[RunningService]:
    async with start_service(KMESH_AWSIAM_TRACING="true") as service:
        exporter.clear()
        yield service


def spans_of(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """Return the span of the only call, and those of its steps in the order of their ends."""
    [root] = [span for span in exporter.get_finished_spans() if span.name == "decide"]
    return root, [span for span in exporter.get_finished_spans() if span is not root]


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


async def test_an_approval_has_a_span_for_each_step(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws
) -> None:
    answer = await traced.present(aws.credential(), PROXY)
    root, steps = spans_of(exporter)
    assert [span.name for span in steps] == STEPS
    assert all(REASON not in facts(span) for span in (root, *steps))
    assert root.kind is SpanKind.SERVER
    [line] = traced.decisions()
    assert facts(root) == {
        "http.response.status_code": 200,
        "kuma_aws_iam.request_id": answer.headers["x-request-id"],
        "kuma_aws_iam.outcome": "allowed",
        "kuma_aws_iam.form": "native",
        "kuma_aws_iam.claimed.type": "dataplane",
        "kuma_aws_iam.principal.account": ACCOUNT,
        "kuma_aws_iam.principal.role": "demo-app",
        "kuma_aws_iam.sts.cache": "miss",
        "kuma_aws_iam.sts.request_id": line["sts"]["request_id"],
        "kuma_aws_iam.sts.region": "us-east-1",
        "kuma_aws_iam.iam.cache": "miss",
        "kuma_aws_iam.iam.request_id": line["iam"]["request_id"],
    }


async def test_a_hit_has_only_the_steps_that_run(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws
) -> None:
    credential = aws.credential()
    await traced.present(credential, PROXY)
    exporter.clear()
    await traced.present(credential, PROXY)
    root, steps = spans_of(exporter)
    assert [span.name for span in steps] == STEPS[3:]
    assert facts(root)["kuma_aws_iam.sts.cache"] == facts(root)["kuma_aws_iam.iam.cache"] == "hit"


async def test_the_trace_of_the_caller_goes_on(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws
) -> None:
    await traced.present(aws.credential(), PROXY, traceparent=PARENT, tracestate="vendor=1")
    root, steps = spans_of(exporter)
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == "b7ad6b7169203331"
    assert {f"{span.context.trace_id:032x}" for span in (root, *steps)} == {TRACE_ID}
    by_name = {span.name: span for span in steps}
    identify = by_name["1-4 identify by STS"]
    for name in ("1 decode", "2 validate"):
        parent = by_name[name].parent
        assert parent is not None
        assert parent.span_id == identify.context.span_id
    assert identify.parent is not None
    assert identify.parent.span_id == root.context.span_id


@pytest.mark.parametrize("parent", ["", "garbage", f"{PARENT}-", "00-0-0-00", "00-" * 300])
async def test_a_context_that_is_none_begins_a_new_trace(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws, parent: str
) -> None:
    answer = await traced.present(aws.credential(), PROXY, traceparent=parent)
    assert answer.status_code == 200
    assert spans_of(exporter)[0].parent is None


async def test_a_denial_has_its_reason_at_its_step_and_is_no_error(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws
) -> None:
    await traced.present(aws.credential(), {**PROXY, "mesh": "another"})
    root, steps = spans_of(exporter)
    assert [span.name for span in steps if REASON in facts(span)] == ["8 match"]
    assert facts(steps[-1])[REASON] == facts(root)[REASON] == "proxy_mesh_mismatch"
    assert facts(root)["http.response.status_code"] == 403
    assert {span.status.status_code for span in (root, *steps)} == {StatusCode.UNSET}


async def test_no_decision_is_an_error_with_its_reason(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws
) -> None:
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE)
    await traced.present(aws.credential(), PROXY)
    root, steps = spans_of(exporter)
    assert facts(steps[-1])[REASON] == facts(root)[REASON] == "sts_throttled"
    assert root.status.status_code is StatusCode.ERROR


async def test_a_malformed_call_and_a_probe_have_no_step(
    traced: RunningService, exporter: InMemorySpanExporter
) -> None:
    await traced.send(b"{")
    root, steps = spans_of(exporter)
    assert (facts(root)[REASON], steps) == ("malformed_request", [])
    exporter.clear()
    await traced.client.get("/ready")
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("form", CredentialForm)
async def test_a_span_contains_nothing_secret(
    traced: RunningService, exporter: InMemorySpanExporter, aws: Aws, form: CredentialForm
) -> None:
    """I22: no credential, and nothing that the proxy asserts beyond its type."""
    session = aws.task()
    credential = recipe_of(session, form).credential()
    canary = {**PROXY, "name": "canary", "tags": {"kuma.io/service": ["canary"]}, "labels": {"canary": "canary"}}
    for each in (credential, credential[:-4], credential + "x"):
        await traced.present(each, canary)
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    for secret in (credential[20:60], session.session_token[:24], session.secret_access_key, "canary", "X-Amz"):
        assert secret not in text


async def test_a_bug_is_an_error_without_its_text(exporter: InMemorySpanExporter) -> None:
    """I22: the text of an exception can contain a credential."""

    async def broken(*_: object) -> None:
        raise ValueError("canary")

    async with tracing.open_tracing() as opened:
        with pytest.raises(ValueError, match="canary"):
            await opened.api(broken)({"type": "http", "method": "POST", "headers": []}, *[_nothing] * 2)
    [span] = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "canary" not in span.to_json()


async def _nothing(*_: object) -> Any:
    return None


@pytest.mark.usefixtures("_own_logging")
def test_no_text_of_a_tracestate_reaches_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """The library warns about each malformed one, and quotes it."""
    configure_logging("info", "human")
    for state in ("\x1b[2Jcanary", "a=1,canary", "canary=1,canary=2"):
        TraceContextTextMapPropagator().extract({"traceparent": PARENT, "tracestate": state})
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_own_logging")
def test_no_key_of_the_collector_reaches_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colon in place of the equals sign is a usual mistake."""
    configure_logging("info", "json")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer canary")
    OTLPSpanExporter()
    assert "canary" not in capsys.readouterr().out


async def test_an_exemplar_leads_to_the_trace(traced: RunningService, aws: Aws) -> None:
    await traced.present(aws.credential(), {**PROXY, "mesh": "another"}, traceparent=PARENT)
    page = await traced.client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    found = [sample.exemplar for family in read_openmetrics(page.text) for sample in family.samples if sample.exemplar]
    assert [exemplar.labels["trace_id"] for exemplar in found] == [TRACE_ID]


# With a collector.


@contextlib.contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    received: list[ExportTraceServiceRequest] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collect) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


async def test_spans_reach_the_collector_that_the_environment_names(
    start_service: StartService, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spans of the last decisions too. A proxy of the environment is never used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    # On a slow machine, the SDK would send some spans after 5 s, and the service would exit before the others are sent.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", f"{PATIENCE * 1000:.0f}")
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", PATIENCE)
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        async with start_service(KMESH_AWSIAM_TRACING="true") as service:
            await service.present(aws.credential(), PROXY)
        [request] = received
    [resource] = request.resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (named["service.name"], named["deployment.environment.name"]) == ("kuma-aws-iam", "test")
    assert [span.name for span in resource.scope_spans[0].spans] == [*STEPS, "decide"]


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://canary:canary@127.0.0.1:9/x?key=canary", "the collector 127.0.0.1:9 refuses the connection"),
        ("http://canary.invalid:4318/x?key=canary", "the collector canary.invalid:4318 does not resolve"),
        ("htp:/canary:canary@127.0.0.1/x", "the address of the collector is no URL"),
        ("canary", "the address of the collector is no URL"),
    ],
)
def test_a_collector_that_cannot_be_reached_is_logged_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    """The library's own line has the whole URL, with its key, and the names of Python classes."""
    configure_logging("info", "json")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(session=CollectorSession())))
    for _ in range(2):
        provider.get_tracer("test").start_span("decide").end()
    provider.shutdown()
    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["event"], line["level"]) == ("traces not sent", "warning")
    assert line["problem"].startswith(problem)
    assert line["remedy"]
    assert "key" not in str(line).replace("canary.invalid", "")
    assert "canary" not in str(line).replace("canary.invalid", "")
    assert "Error" not in str(line)


@pytest.mark.usefixtures("_own_logging")
def test_a_collector_that_refuses_is_logged_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", "json")
    with collector(status=401) as (url, _):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(session=CollectorSession())))
        provider.get_tracer("test").start_span("decide").end()
        provider.shutdown()
    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["problem"] == f"the collector {url.removeprefix('http://')} answers HTTP 401"


def test_a_propagator_that_is_not_installed_does_not_end_the_start(running_aws: Emulator) -> None:
    """Operators of clusters set this variable for every container."""
    variables = {**Aws(running_aws).service_environment(), "OTEL_PROPAGATORS": "b3"}
    with socket_address() as address, served_cold(address, **variables) as service:
        service.wait_for("listening")


async def test_a_collector_that_is_not_there_delays_nothing(
    start_service: StartService, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with start_service(KMESH_AWSIAM_TRACING="true") as service:
        assert (await service.present(aws.credential(), PROXY)).status_code == 200
    # The exporter still logs its failure. A later test must not find that line.
    for thread in threading.enumerate():
        if thread.name == "flush traces":
            await asyncio.to_thread(thread.join, PATIENCE)


async def test_an_invalid_number_of_opentelemetry_ends_the_start_with_a_sentence(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "canary")
    with pytest.raises(TracingError, match=r"OTEL_\*") as raised:
        async with start_service(KMESH_AWSIAM_TRACING="true"):
            pass
    assert "canary" not in str(raised.value)


def test_an_invalid_number_of_opentelemetry_is_a_wrong_setting(running_aws: Emulator) -> None:
    variables = {**Aws(running_aws).service_environment(), "KMESH_AWSIAM_TRACING": "true"}
    done = run_cold("serve", **variables, KMESH_AWSIAM_LISTEN=free_address(), OTEL_BSP_MAX_QUEUE_SIZE="-1")
    assert (done.status, "OTEL_*" in done.err, "Traceback" in done.err) == (2, True, False)


# Without tracing.


def test_without_tracing_no_package_of_it_is_imported() -> None:
    """Tracing that is off costs nothing. fastapi imports OpenTelemetry's API by itself."""
    program = """
import asyncio, sys
from app.service import open_service
from app.settings.loading import load_settings
async def main():
    async with open_service(load_settings()):
        pass
asyncio.run(main())
of_tracing = "app.telemetry.tracing", "google", "opentelemetry.exporter", "opentelemetry.sdk", "requests"
print([name for name in of_tracing if name in sys.modules])
"""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **NEW_GENERATION},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_tracing_without_its_packages_ends_the_start(
    settings_of: LoadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)  # its import then fails
    with pytest.raises(SettingsError, match=r"KMESH_AWSIAM_TRACING.*kuma-aws-iam\[otel\]"):
        settings_of(**NEW_GENERATION, KMESH_AWSIAM_TRACING="true")
