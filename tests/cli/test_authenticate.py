"""``authenticate``: present a credential to a running service, and explain the outcome."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.api.schemas import AuthenticateAnswer, Problem
from app.emulator import FaultKind
from tests.cli.conftest import Invoke
from tests.support.process import Served, free_address, run_cold
from tests.support.signing import FORMS, Recipe
from tests.support.token_service import refusal, token_service
from tests.support.world import ACCOUNT, INGRESS, OTHER_ACCOUNT, Aws, recipe_of


def exec_credential(token: object) -> str:
    """The output of ``aws eks get-token``."""
    return json.dumps(
        {
            "kind": "ExecCredential",
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "spec": {},
            "status": {"expirationTimestamp": "2026-11-24T05:30:00Z", "token": token},
        }
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_credential_on_stdin_is_presented(invoke: Invoke, live: Served, aws: Aws, form: str) -> None:
    role = aws.add_role()
    session = aws.session_of(role)
    credential = recipe_of(session, form).credential()  # type: ignore[arg-type]
    result = invoke("authenticate", "--service", live.address, stdin=credential + "\n")
    assert result.exit_code == 0
    # JSON may have blanks around it. Any other text would be refused, if the caller presented it as it is.
    assert ("this command left it out" in result.stderr) == (not credential.startswith("{"))
    verdict, *lines = result.stdout.splitlines()
    assert verdict == "allowed"
    words = "\n".join(lines)
    assert "type=dataplane mesh=default service=demo-app" in words
    assert f"{role.name} ({role.role_id}) of account {ACCOUNT}" in words
    assert session.principal.arn.rpartition("/")[2] in words


def test_an_execcredential_on_stdin_is_unwrapped(invoke: Invoke, live: Served, aws: Aws) -> None:
    result = invoke("authenticate", "--service", live.address, stdin=exec_credential(aws.credential()))
    assert result.stdout.startswith("allowed\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(exec_credential(None), id="null"),
        pytest.param(exec_credential(1), id="number"),
        pytest.param('{"kind": "ExecCredential"}', id="no-status"),
        pytest.param('{"kind": "ExecCredential", "status": "x"}', id="status-is-a-text"),
        pytest.param('{"kind": "ExecCredential", "status": ["x"]}', id="status-is-a-list"),
    ],
)
def test_an_execcredential_without_a_token_is_a_failure_with_a_sentence(
    invoke: Invoke, live: Served, text: str
) -> None:
    result = invoke("authenticate", "--service", live.address, stdin=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no status.token" in result.stderr


def test_json_that_is_no_execcredential_is_for_the_service_to_judge(invoke: Invoke, live: Served) -> None:
    for text in ('{"kind": "Secret"}', '{"kind": "ExecCredential", "kind": "x"}', "{"):
        result = invoke("authenticate", "--service", live.address, stdin=text)
        assert result.exit_code == 1
        assert result.stdout.startswith("denied: credential_malformed (401)\n")


def test_without_stdin_one_is_made_with_the_ambient_credentials(live: Served, aws: Aws) -> None:
    done = run_cold("authenticate", "--service", live.address, **aws.emulator.environment(ACCOUNT, "demo-app"))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("allowed\n")


def test_its_own_credential_for_another_audience_is_named_as_such(live: Served, aws: Aws) -> None:
    """Only the signer knows the audience of a presigned URL, so the command sends it as the hint."""
    done = run_cold(
        *("authenticate", "--audience", "other", "--service", live.address),
        **aws.emulator.environment(ACCOUNT, "demo-app"),
    )
    assert (done.status, done.out.splitlines()[0]) == (1, "denied: audience_mismatch (401)")
    assert "--audience" in done.out


@pytest.mark.parametrize("options", [(), ("--audience", "other")], ids=["unknown", "said"])
def test_the_audience_of_a_credential_on_stdin_is_only_what_the_option_says(
    invoke: Invoke, options: tuple[str, ...]
) -> None:
    with token_service(refusal(401, "sts_rejected")) as service:
        address = service.address.removeprefix("http://")
        invoke("authenticate", "--service", address, *options, stdin="x", KMESH_AWSIAM_AUDIENCE="default")
    [(_, headers, _)] = service.calls
    assert headers.get("x-kuma-aws-iam-audience-hint") == (options[1] if options else None)


def test_an_empty_pipe_is_a_signer_that_failed(live: Served, aws: Aws) -> None:
    """If the command then signed with another identity, it would hide the failure of the signer."""
    variables = aws.emulator.environment(ACCOUNT, "demo-app")
    done = run_cold("authenticate", "--service", live.address, stdin="\n", **variables)
    assert (done.status, done.out) == (2, "")
    assert "stdin is empty" in done.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app"], None),
        (["--type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app", "--name", "demo-1"], None),
        (
            ["--type", "dataplane", "--mesh", "default", "--label", "kuma.io/service=payments"],
            "proxy_service_mismatch",
        ),
        (["--type", "dataplane", "--mesh", "default", "--label", "kuma.io/service=demo-app"], None),
        (
            [
                *("--type", "dataplane", "--mesh", "default"),
                *("--kuma-service", "demo-app", "--label", "kuma.io/workload=x"),
            ],
            "proxy_workload_mismatch",
        ),
        (["--type", "dataplane", "--mesh", "payments", "--kuma-service", "demo-app"], "proxy_mesh_mismatch"),
        (["--type", "dataplane", "--mesh", "default"], "proxy_service_mismatch"),
        (
            ["--type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app", "--kuma-service", "backend"],
            "proxy_service_mismatch",
        ),
        (["--type", "ingress"], "proxy_type_mismatch"),
    ],
)
def test_what_the_proxy_says_it_is_goes_along(
    invoke: Invoke, live: Served, aws: Aws, options: list[str], reason: str | None
) -> None:
    result = invoke("authenticate", "--service", live.address, *options, stdin=aws.credential())
    if reason is None:
        assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "allowed")
    else:
        assert (result.exit_code, result.stdout.splitlines()[0]) == (1, f"denied: {reason} (403)")


def test_the_zone_of_a_zone_proxy_goes_along(invoke: Invoke, live: Served, aws: Aws) -> None:
    role = aws.add_role({**INGRESS, "kuma.io/zone": "zone-1"})
    credential = recipe_of(aws.session_of(role)).credential()
    for zone, status in (("zone-1", 0), ("zone-2", 1)):
        options = ["--type", "ingress", "--zone", zone]
        assert invoke("authenticate", "--service", live.address, *options, stdin=credential).exit_code == status


def test_the_listeners_of_a_zone_proxy_in_a_dataplane_go_along(invoke: Invoke) -> None:
    options = ["--type", "dataplane", "--mesh", "default", "--listener", "ZoneEgress"]
    with token_service(refusal(403, "proxy_type_mismatch")) as service:
        result = invoke("authenticate", "--service", service.address.removeprefix("http://"), *options, stdin="x")
        [(path, _, call)] = service.calls
    assert (path, call["proxy"]["listeners"]) == ("/v1/authenticate", ["ZoneEgress"])
    assert result.stdout.startswith("denied: proxy_type_mismatch (403)\n")


def test_a_denial_tells_reason_remedy_and_request(invoke: Invoke, live: Served) -> None:
    result = invoke("authenticate", "--service", live.address, stdin="garbage")
    assert result.exit_code == 1
    verdict, title, detail, request = (line.strip() for line in result.stdout.splitlines())
    assert verdict == "denied: credential_malformed (401)"
    assert title == "The credential is malformed"
    assert "kuma-aws-iam authenticate --explain" in detail
    assert request.startswith("request id ")


def test_no_decision_is_no_denial(invoke: Invoke, live: Served, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE)
    result = invoke("authenticate", "--service", live.address, stdin=aws.credential())
    assert result.exit_code == 1
    assert result.stdout.startswith("undecided: sts_throttled (503)\n")


def test_the_answer_may_be_printed_as_it_came(invoke: Invoke, live: Served, aws: Aws) -> None:
    allowed = invoke(
        "authenticate", "--json", "--service", live.address, stdin=aws.credential("backend", OTHER_ACCOUNT)
    )
    denied = invoke("authenticate", "--json", "--service", live.address, stdin="garbage")
    assert (allowed.exit_code, denied.exit_code) == (0, 1)
    assert AuthenticateAnswer.model_validate_json(allowed.stdout).principal.account == OTHER_ACCOUNT
    assert Problem.model_validate_json(denied.stdout).reason == "credential_malformed"


@pytest.mark.parametrize(
    "options",
    [
        ["--type", "dataplane"],
        ["--type", "gateway"],
        ["--listener", "ZoneEgress"],
        ["--type", "egress", "--listener", "ZoneEgress"],
        ["--type", "dataplane", "--mesh", "default", "--listener", "ZoneEgress", "--listener", "ZoneIngress"],
        ["--type", "ingress", "--label", "no-equals-sign"],
        ["--service", "nowhere"],
        ["--format", "pem"],
    ],
)
def test_usage_errors_end_with_2(invoke: Invoke, options: list[str]) -> None:
    assert invoke("authenticate", *options, stdin="x").exit_code == 2


def test_no_service_is_a_failure_with_a_sentence(invoke: Invoke) -> None:
    result = invoke("authenticate", "--service", free_address(), stdin="x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "refuses the connection" in result.stderr


def test_something_else_that_answers_is_a_failure_with_a_sentence(invoke: Invoke, aws: Aws) -> None:
    """The address of another program, here the emulator, whose answers are no problem documents."""
    address = aws.emulator.url.removeprefix("http://")
    result = invoke("authenticate", "--service", address, stdin="x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is --service right?" in result.stderr


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"identity": 1}', b"\xff\xfe\x00"], ids=["list", "object", "half", "no-text"]
)
def test_a_200_that_is_no_answer_of_the_service_is_a_failure_with_a_sentence(invoke: Invoke, body: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            result = invoke("authenticate", "--service", f"127.0.0.1:{server.server_port}", stdin="x")
        finally:
            server.shutdown()
            thread.join()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is --service right?" in result.stderr


def test_a_credential_is_never_printed(invoke: Invoke, live: Served, aws: Aws) -> None:
    session = aws.task()
    for recipe in (recipe_of(session), Recipe(form=FORMS[0])):
        credential = recipe.credential()
        output = invoke("authenticate", "--service", live.address, stdin=credential).output
        assert not [
            secret for secret in (credential[20:60], recipe.token or "", recipe.access_key_id) if secret in output
        ]


def test_no_credential_crosses_the_network_in_clear(invoke: Invoke, aws: Aws) -> None:
    """Whoever reads a credential can act as the proxy. A service that other hosts reach has TLS."""
    result = invoke("authenticate", "--service", "192.0.2.1:5690", stdin=aws.credential())
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the credential would cross the network to 192.0.2.1:5690 in clear" in " ".join(result.stderr.split())
