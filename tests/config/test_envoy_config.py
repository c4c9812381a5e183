"""The shipped Envoy configuration agrees with the limits and names of the service. tests/envoy runs it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.api.tokens import EXT_AUTHZ_PREFIX
from app.core.credential import MAX_CREDENTIAL_CHARS
from app.local.caller_tokens import OWN_HEADER, read_caller_token_file
from app.server.listener import MAX_CONNECTIONS
from app.server.process import KEEP_ALIVE_SECONDS
from app.server.protocol import MAX_HEAD_BYTES
from tests.conftest import LoadSettings
from tests.support.world import NEW_GENERATION

FOLDER = Path(__file__).parents[2] / "config/envoy"
TEXT = (FOLDER / "envoy.yaml").read_text("utf-8")
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
CLUSTERS = {cluster["name"]: cluster for cluster in CONFIG["static_resources"]["clusters"]}
LISTENERS = {listener["name"]: listener for listener in CONFIG["static_resources"]["listeners"]}
MANAGER = LISTENERS["dp_server"]["filter_chains"][0]["filters"][0]["typed_config"]
FILTERS = {each["name"].rpartition(".")[2]: each["typed_config"] for each in MANAGER["http_filters"]}
ROUTES = MANAGER["route_config"]["virtual_hosts"][0]["routes"]
EXT_AUTHZ = FILTERS["ext_authz"]
OVERLOAD = CONFIG["overload_manager"]
MONITORS = {each["name"].rpartition(".")[2]: each["typed_config"] for each in OVERLOAD["resource_monitors"]}


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def addresses(node: Any) -> Iterator[dict[str, Any]]:
    """Return every socket address below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "socket_address":
                yield value
            else:
                yield from addresses(value)
    if isinstance(node, list):
        for value in node:
            yield from addresses(value)


def test_the_service_is_where_it_listens_by_default_and_asked_by_its_own_path(settings_of: LoadSettings) -> None:
    (address,) = addresses(CLUSTERS["kuma_aws_iam"])
    listen = f"{address['address']}:{address['port_value']}"
    defaults = {name: value for name, value, _ in settings_of(**NEW_GENERATION).effective()}
    assert defaults["KMESH_AWSIAM_LISTEN"] == listen
    assert EXT_AUTHZ["http_service"]["server_uri"]["uri"] == f"http://{listen}"
    assert EXT_AUTHZ["http_service"]["path_prefix"] == EXT_AUTHZ_PREFIX.rstrip("/")


def test_the_service_has_the_time_to_say_why_it_could_not_decide(settings_of: LoadSettings) -> None:
    assert settings_of(**NEW_GENERATION).decision_timeout < seconds(EXT_AUTHZ["http_service"]["server_uri"]["timeout"])


def test_it_fails_closed_and_as_undecided() -> None:
    assert EXT_AUTHZ["failure_mode_allow"] is False
    assert EXT_AUTHZ["status_on_error"] == {"code": "ServiceUnavailable"}


def test_a_stream_may_be_silent_and_last_for_ever() -> None:
    streams = [route["route"] for route in ROUTES if route["match"].get("grpc") is not None]
    assert len(streams) == 2
    for route in streams:
        unlimited = {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}
        assert (route["timeout"], route["idle_timeout"], route["max_stream_duration"]) == ("0s", "0s", unlimited)
    assert (MANAGER["stream_idle_timeout"], MANAGER["request_timeout"]) == ("0s", "0s")
    assert "max_connection_duration" not in str(MANAGER["common_http_protocol_options"])
    assert "max_stream_duration" not in MANAGER["common_http_protocol_options"]


def test_a_bootstrap_is_bounded_in_bytes_and_as_a_whole_in_time() -> None:
    """The route's `timeout` starts after the body, and each byte of the body restarts its `idle_timeout`."""
    (bootstrap,) = [route for route in ROUTES if route["match"].get("path") == "/bootstrap"]
    assert seconds(bootstrap["route"]["max_stream_duration"]["max_stream_duration"]) == 15
    buffers = [bootstrap["typed_per_filter_config"]["envoy.filters.http.buffer"]["buffer"], FILTERS["buffer"]]
    for buffer in buffers:
        assert 2 * MAX_CREDENTIAL_CHARS < buffer["max_request_bytes"] <= 64 * 1024


def test_before_its_memory_is_used_up_it_takes_nobody_new_and_still_tells_why() -> None:
    assert MONITORS["fixed_heap"]["max_heap_size_bytes"] > 0
    actions = {action["name"].rpartition(".")[2]: action["triggers"] for action in OVERLOAD["actions"]}
    assert actions.keys() == {"shrink_heap", "stop_accepting_requests"}
    for (trigger,) in actions.values():
        assert trigger["name"] == "envoy.resource_monitors.fixed_heap"
        assert trigger["threshold"]["value"] < 1
    assert LISTENERS["statistics"]["bypass_overload_manager"] is True
    assert "bypass_overload_manager" not in LISTENERS["dp_server"]


def test_streams_have_a_cluster_that_takes_more_than_envoys_default_of_requests() -> None:
    (threshold,) = CLUSTERS["dp_server_streams"]["circuit_breakers"]["thresholds"]
    proxies = MONITORS["global_downstream_max_connections"]["max_active_downstream_connections"]
    assert threshold["max_requests"] >= threshold["max_pending_requests"] >= 2 * proxies > 1024


def test_the_service_never_has_more_connections_than_it_takes_nor_one_that_it_is_about_to_close() -> None:
    (threshold,) = CLUSTERS["kuma_aws_iam"]["circuit_breakers"]["thresholds"]
    assert threshold["max_connections"] <= MAX_CONNECTIONS
    (options,) = CLUSTERS["kuma_aws_iam"]["typed_extension_protocol_options"].values()
    assert seconds(options["common_http_protocol_options"]["idle_timeout"]) < KEEP_ALIVE_SECONDS


def test_a_credential_fits_into_a_head_and_a_head_into_the_services() -> None:
    assert 2 * MAX_CREDENTIAL_CHARS < MANAGER["max_request_headers_kb"] * 1024 <= MAX_HEAD_BYTES


def test_the_callers_header_is_the_services_and_no_proxys() -> None:
    (extension,) = MANAGER["early_header_mutation_extensions"]
    assert extension["typed_config"]["mutations"] == [{"remove": OWN_HEADER.decode()}]
    assert re.findall(r"#.*key: ([a-z-]+), value: \"%ENVIRONMENT\(\w+\)%\"", TEXT) == [OWN_HEADER.decode()]


def test_the_command_of_the_guide_takes_one_token_out_of_the_services_file(tmp_path: Path) -> None:
    """During an exchange of tokens the file can contain two of them, and comments."""
    guide = (FOLDER.parents[1] / "docs/how-to/put-envoy-in-front.md").read_text("utf-8")
    (command,) = re.findall(r'^export KUMA_AWS_IAM_CALLER_TOKEN="\$\((.*)\)"$', guide, re.MULTILINE)
    new, old = "new-" + "n" * 32, "old-" + "o" * 32
    (tmp_path / "caller-tokens").write_text(f"# Envoy's\n  # of it alone\n\n{new} # since May\n{old}\n")
    read_caller_token_file(str(tmp_path / "caller-tokens"))
    found = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, text=True)  # noqa: S603 - it is ours
    assert found.stdout.strip() == new


def test_no_log_line_holds_what_is_presented() -> None:
    assert set(re.findall(r"%REQ\(([^)]+)\)%", TEXT)) == {"x-request-id", ":method"}
    assert "%RESP(" not in TEXT
    assert "dynamic_metadata" not in TEXT.lower()


@pytest.mark.parametrize("name", ["dp_server_streams", "dp_server_bootstrap"])
def test_the_control_planes_certificate_is_verified_by_authority_and_name(name: str) -> None:
    tls = CLUSTERS[name]["transport_socket"]["typed_config"]
    context = tls["common_tls_context"]["validation_context"]
    (match,) = context["match_typed_subject_alt_names"]
    assert context["trusted_ca"]
    assert match == {"san_type": "DNS", "matcher": {"exact": tls["sni"]}}


def test_nothing_but_its_listener_is_reached_from_elsewhere() -> None:
    assert "pipe" in CONFIG["admin"]["address"]
    for name, listener in LISTENERS.items():
        (address,) = addresses(listener["address"])
        assert address["address"] == ("0.0.0.0" if name == "dp_server" else "127.0.0.1")  # noqa: S104 - only proxies
    assert {address["address"] for address in addresses(list(CLUSTERS.values()))} == {"127.0.0.1"}


def test_the_listeners_certificate_is_of_the_name_that_it_asks_for_and_read_again() -> None:
    (secret,) = yaml.safe_load((FOLDER / "listener-certificate.yaml").read_text("utf-8"))["resources"]
    assert f"name: {secret['name']}\n" in TEXT
    watched = secret["tls_certificate"]["watched_directory"]["path"]
    assert {
        Path(secret["tls_certificate"][file]["filename"]).parent for file in ("certificate_chain", "private_key")
    } == {Path(watched)}
