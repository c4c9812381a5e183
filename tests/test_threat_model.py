"""The page of the threat model names a test for each invariant and each advisory, and the page of limits every bound.

A row without a test, a test that does not exist, and a bound of the code that stands nowhere fail here.
"""

import ast
import functools
import importlib
import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import annotated_types
import pytest

from app.core.reasons import EXPLANATIONS
from app.http.network import NetworkOptions
from app.settings.environment import Settings
from tests.test_docs import Row, page, tables

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent
APP: Final = ROOT / "app"
THREAT_MODEL: Final = (ROOT / "docs" / "explanation" / "threat-model.md").read_text(encoding="utf-8")

INVARIANTS: Final = tuple(f"I{number}" for number in range(1, 28))
# What was published about systems that do this job (also designs and proposals), and about what is below one.
ADVISORIES: Final = (
    # Systems that forward a signed GetCallerIdentity, or believe one.
    "CVE-2020-16250",
    "CVE-2020-16251",
    "CVE-2022-2385",
    "GHSA-pp3f-98qg-5g75",
    "CVE-2025-49827",
    "GHSA-gmc5-9mpc-xg75",
    "CVE-2025-49831",
    "GHSA-952q-mjrf-wp5j",
    "CVE-2026-45177",
    "CVE-2025-11621",
    "HCSEC-2025-30",
    "GHSA-9g4h-h484-3578",
    "CVE-2025-59048",
    "GHSA-jp7h-4f3c-9rc7",
    "CVE-2026-71861",
    "GHSA-wq26-3j2m-4hvv",
    "SECVULN-8630",
    "PR 67620",
    "PR 15337",
    "RFD 41",
    "PR 3983",
    "PR 2814",
    "PR 3213",
    "PR 7546",
    "PR 6344",
    "commit 9fa86f7d",
    "issue 5982",
    "issue 477",
    "Omegapoint 2023",
    # Verifiers of SigV4 that trusted what was not signed.
    "CVE-2026-54330",
    "CVE-2026-97731",
    "CVE-2026-94368",
    "CVE-2026-115374",
    "GHSA-xm99-m3gq-83g8",
    "GHSA-g8w9-qw9q-fghr",
    "PR 1525",
    "PR 19",
    "PR 65",
    # Caches, and calls that were joined.
    "CVE-2026-35039",
    "CVE-2025-67490",
    "CVE-2026-40155",
    "CVE-2026-19202",
    # Parsers and libraries.
    "CVE-2023-24329",
    "CVE-2022-0391",
    "CVE-2024-11168",
    "CVE-2025-0938",
    "CVE-2019-9636",
    "CVE-2021-23336",
    "CVE-2025-43859",
    "CVE-2025-50181",
    "CVE-2025-66471",
    "CVE-2026-21441",
    "aiohttp 3.13.3",
    "CVE-2025-54121",
    "CVE-2025-62727",
    "CVE-2023-30798",
    "CVE-2025-59043",
    "CVE-2024-27454",
    "CVE-2025-67221",
    "CVE-2013-0340",
    "CVE-2022-25313",
    "IDNA",
    "GO-2026-6013",
    "CVE-2026-50166",
)


# Invariants and advisories.


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    """The test functions of a file below ``tests/``; empty where there is no such file."""
    file = TESTS / path
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, functions) and node.name.startswith("test_"))


@functools.cache
def corpus_rows() -> dict[str, frozenset[str]]:
    """Every row of the hostile corpus, with what it stands for."""
    return {
        f"{file.stem}/{case['id']}": frozenset(case["origin"])
        for file in (TESTS / "corpus").glob("*.toml")
        for case in tomllib.loads(file.read_text(encoding="utf-8")).get("case", ())
    }


def named(cell: str) -> list[str]:
    """What stands in backticks in a cell, which holds nothing else."""
    names = re.findall(r"`([^`]+)`", cell)
    assert cell == ", ".join(f"`{name}`" for name in names), f"{cell!r} is no list of names"
    return names


def fault(name: str, origins: frozenset[str]) -> str | None:
    """What is wrong with a name of a test or of a row of the corpus."""
    if "::" in name:
        path, _, test = name.partition("::")
        return None if test in functions_of(path) else f"there is no test {name}"
    if name not in corpus_rows():
        return f"there is neither a test nor a row of the corpus {name}"
    return None if corpus_rows()[name] & origins else f"the row {name} of the corpus does not stand for it"


def invariant_rows() -> dict[str, Row]:
    return {row["Id"].strip("`"): row for row in tables(THREAT_MODEL, "Id")}


def advisory_rows() -> dict[str, Row]:
    rows = list(tables(THREAT_MODEL, "Fault"))
    ids = [name for row in rows for name in row["Fault"].split(", ")]
    assert len(set(ids)) == len(ids), "an advisory has two rows"
    return {name: row for row in rows for name in row["Fault"].split(", ")}


def test_every_invariant_has_a_row_and_no_other() -> None:
    assert tuple(invariant_rows()) == INVARIANTS


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_an_invariant_has_a_module_and_a_test_that_exists(invariant: str) -> None:
    row = invariant_rows()[invariant]
    # In brackets stand names within a module.
    modules = re.findall(r"`([a-z_]+(?:/[a-z_]+)*)(?:/\*)?`", re.sub(r"\([^)]*\)", "", row["Where"]))
    assert modules
    assert [name for name in modules if not (APP / f"{name}.py").is_file() and not (APP / name).is_dir()] == []
    held = named(row["Held by"])
    assert held
    assert [found for name in held if (found := fault(name, frozenset({invariant})))] == []


TOKEN_ROWS: Final = tuple(tables(THREAT_MODEL, "What holds of tokens"))


@pytest.mark.parametrize("row", TOKEN_ROWS, ids=[row["What holds of tokens"][:40] for row in TOKEN_ROWS])
def test_what_holds_of_tokens_has_modules_and_tests_that_exist(row: Row) -> None:
    invariants = frozenset(row["Invariants"].split(", "))
    assert invariants <= set(INVARIANTS)
    assert [name for name in named(row["Where"]) if not (APP / f"{name}.py").is_file()] == []
    assert [found for name in named(row["Held by"]) if (found := fault(name, invariants))] == []


def test_tokens_have_rows() -> None:
    assert TOKEN_ROWS


def test_every_advisory_has_a_row_and_no_other() -> None:
    assert advisory_rows().keys() == set(ADVISORIES)


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_an_advisory_has_a_regression_test_that_exists(advisory: str) -> None:
    row = advisory_rows()[advisory]
    assert set(row["Invariants"].split(", ")) <= set(INVARIANTS)
    held = named(row["Regression test"])
    assert held
    assert [found for name in held if (found := fault(name, frozenset(row["Fault"].split(", "))))] == []


@pytest.mark.parametrize(
    "test", sorted(functions_of("test_cves.py") - {"test_the_baselines_of_this_file_are_accepted"})
)
def test_every_regression_test_has_a_row(test: str) -> None:
    assert f"`test_cves.py::{test}`" in THREAT_MODEL


@pytest.mark.parametrize("name", ["test_cves.py::test_nothing", "test_nothing.py::test_x", "api_json/none", "test_x"])
def test_a_name_of_nothing_is_found_out(name: str) -> None:
    """Or a row could name anything."""
    assert fault(name, frozenset()) is not None


# Bounds.

Shown = Callable[[Any], str]


def count(value: int) -> str:
    return f"{value:,}" if value > 9999 else str(value)


def kib(value: int) -> str:
    return f"{value // 1024} KiB"


def mib(value: int) -> str:
    return f"{value // 1024 // 1024} MiB"


def seconds(value: float) -> str:
    return f"{value:g} s"


def levels(value: int) -> str:
    return f"{value} levels"


def hours(value: float) -> str:
    return f"{value / 3600:g} h"


def percent(value: float) -> str:
    return f"{value * 100:g} %"


def minutes(value: timedelta) -> str:
    return f"{value.total_seconds() / 60:g} minutes"


def bits(value: int) -> str:
    return f"{value} bits"


def characters(value: int) -> str:
    return f"{value} characters"


# Every constant of the service that bounds something: the section and row where it stands, and how it is written there.
BOUNDS: Final[dict[str, tuple[str, str, Shown]]] = {
    "app.server.protocol.MAX_HEAD_BYTES": ("A call to the API", "request head: target and headers", kib),
    "app.server.protocol.MAX_AROUND_BODY_BYTES": (
        "A call to the API",
        "what a body has around it, trailers included",
        kib,
    ),
    "app.api.call_bounds.MAX_MEMBERS": ("A call to the API", "members of the body, and of `proxy`", count),
    "app.api.call_bounds.MAX_TAGS": ("A call to the API", "tags", count),
    "app.api.call_bounds.MAX_VALUES_OF_A_TAG": ("A call to the API", "values of a tag", count),
    "app.api.call_bounds.MAX_LABELS": ("A call to the API", "labels", count),
    "app.api.call_bounds.MAX_CONTAINERS": ("A call to the API", "objects and lists in a body", count),
    "app.api.call_bounds._MAX_VALUES_READ_TWICE": (
        "A call to the API",
        "values in a body that is read a second time, since it holds half of a surrogate pair",
        count,
    ),
    "app.server.bounded_reads.MAX_READ_BYTES": ("A call to the API", "one read of a connection", kib),
    "app.api.metrics_page.PAUSE_SECONDS": ("A call to the API", "renderings of `/metrics`", seconds),
    "app.api.metrics_page.RENDERINGS_AT_ONCE": ("A call to the API", "renderings of `/metrics` after a pause", count),
    "app.api.metrics_page.MAX_SCRAPES": (
        "A call to the API",
        "scrapers that wait for a page of `/metrics`",
        count,
    ),
    "app.server.protocol.MAX_PIPELINED": (
        "A call to the API",
        "requests of a connection that wait for an earlier one",
        count,
    ),
    "app.server.protocol.MAX_HEADERS": ("A call to the API", "number of headers", count),
    "app.server.protocol.HEAD_TIMEOUT_SECONDS": (
        "A call to the API",
        "time for a head, or until the first one of a connection",
        seconds,
    ),
    "app.api.authenticate.MAX_BODY_BYTES": ("A call to the API", "body", kib),
    "app.api.call_bounds.BODY_TIMEOUT_SECONDS": ("A call to the API", "time for the body", seconds),
    "app.api.authenticate.MAX_DECISIONS": (
        "A call to the API",
        "decisions under way, from the end of the body to the answer",
        count,
    ),
    "app.server.process._KEEP_ALIVE_SECONDS": ("A call to the API", "idle connection", seconds),
    "app.server.sockets.BACKLOG": ("A call to the API", "connections waiting to be accepted", count),
    "app.server.process._MAX_DIAGNOSTICS": (
        "A call to the API",
        "connections to the listener of the diagnostics",
        count,
    ),
    "app.server.process._MAX_DIAGNOSTICS_SHARE": (
        "A call to the API",
        "connections to the listener of the diagnostics, as part of the bound above",
        percent,
    ),
    "app.server.process._MAX_HANDSHAKES": ("A caller", "TLS handshakes under way", count),
    "app.server.process._MAX_TLS_RECEIVE_BYTES": ("A caller", "receive buffer of a connection with TLS", kib),
    "app.server.listener.MAX_CONNECTIONS": (
        "A call to the API",
        "connections, and calls whose body is on its way",
        count,
    ),
    "app.server.listener.MAX_ACCEPTED_AT_ONCE": ("A call to the API", "connections accepted in a row", count),
    "app.server.listener.MAX_OPEN_FILES": ("A call to the API", "open files that the service takes for itself", count),
    "app.server.listener.MAX_RESERVED_FILES": (
        "A call to the API",
        "open files that are left for all but callers",
        count,
    ),
    "app.server.listener.PAUSE_SECONDS": (
        "A call to the API",
        "pause in accepting, where no connection is idle or no open file is left",
        seconds,
    ),
    "app.server.listener.LOG_SECONDS": (
        "A call to the API",
        "log lines about pauses in accepting, and about connections that are closed for others",
        seconds,
    ),
    "app.server.process._HANDSHAKE_SECONDS": ("A caller", "TLS handshake", seconds),
    "app.server.process._TLS_END_SECONDS": ("A caller", "the end of a TLS connection", seconds),
    "app.local.caller_tokens.MAX_TOKENS": ("A caller", "caller tokens in the file", count),
    "app.local.caller_tokens.MIN_TOKEN_LENGTH": ("A caller", "length of a caller token, at least", characters),
    "app.local.caller_tokens.MAX_TOKEN_LENGTH": ("A caller", "length of a caller token, at most", characters),
    "app.api.caller_guard.LOG_SECONDS": ("A caller", "log lines about unknown callers", seconds),
    "app.local.unix_socket._PROBE_SECONDS": ("A caller", "asking whether an old Unix socket is still served", seconds),
    "app.core.credential.MAX_CREDENTIAL_CHARS": ("A credential", "length", kib),
    "app.core.strict_json.MAX_NESTING": ("A credential", "nesting of its JSON", levels),
    "app.core.request_policy.MAX_TARGET_CHARS": ("A credential", "path and query as they are sent to STS", characters),
    "app.core.request_policy.MAX_LIFETIME": ("A credential", "age", minutes),
    "app.core.request_policy.MAX_FUTURE_SKEW": ("A credential", "date in the future", minutes),
    "app.sts.signer.MAX_EXPIRES": ("A credential", "`X-Amz-Expires`", seconds),
    "app.tokens.claims.MIN_VALIDITY_SECONDS": ("A token", "validity, at least", seconds),
    "app.tokens.claims.MAX_VALIDITY_SECONDS": ("A token", "life of a token that comes as a credential", seconds),
    "app.tokens.claims.BACKDATED_SECONDS": ("A token", "`iat` and `nbf`, before its issue", seconds),
    "app.tokens.codec.LEEWAY_SECONDS": ("A token", "clocks of two replicas", seconds),
    "app.tokens.codec.MAX_TOKEN_CHARS": ("A token", "length", kib),
    "app.tokens.key_files.MIN_KEY_BITS": ("A token", "an RSA key, at least", bits),
    "app.tokens.key_files.MAX_KEY_BITS": ("A token", "an RSA key, at most", bits),
    "app.tokens.key_files.MAX_SIGNING_KEYS": ("A token", "keys in a file", count),
    "app.tokens.signer.MAX_REUSABLE_TOKENS": ("A token", "sessions whose tokens can be given again", count),
    "app.tokens.signer.MAX_TOKENS_OF_A_SESSION": ("A token", "tokens of one session that can be", count),
    "app.tokens.signer.MAX_SIGNING_THREADS": ("A token", "threads that sign", count),
    "app.tokens.signer.MAX_SIGNATURES": ("A token", "signatures under way", count),
    "app.tokens.signer.MAX_SIGNATURES_OF_A_ROLE": (
        "A token",
        "signatures under way for one role",
        count,
    ),
    "app.core.role_tags.MAX_VALUE_CHARS": (
        "A role's tags",
        "values of `kuma.io/mesh`, `kuma.io/service` and `kuma.io/zone`",
        characters,
    ),
    "app.core.role_tags._MAX_LABEL_CHARS": ("A role's tags", "value of `kuma.io/workload`", characters),
    "app.api.schemas.MAX_LISTENERS": ("A call to the API", "entries of `listeners`", count),
    "app.api.schemas.MAX_VALUES": ("Caches", "different values of a tag that are looked at", count),
    "app.sts.known_keys.VOUCHED_KEYS": ("STS", "keys that are known to be vouched for", count),
    "app.sts.known_keys.VOUCHED_SECONDS": ("STS", "time that a key is known", hours),
    "app.http.pool.MAX_CONNECTIONS": ("STS", "connections that are kept, over all hosts", count),
    "app.aws.exchange._ATTEMPTS": ("STS", "attempts", count),
    "app.http.http1.MAX_REPLY_BYTES": ("STS", "answer", kib),
    "app.http.http1.MAX_REPLY_WIRE_BYTES": ("STS", "answer, with its head and all that is around it", kib),
    "app.http.pool.IDLE_SECONDS": ("STS", "unused connection", seconds),
    "app.http.pool.DNS_SECONDS": ("STS", "remembered DNS answer", seconds),
    "app.http.pool.MAX_NAMES": ("STS", "remembered DNS answers", count),
    "app.iam.client.MAX_PAGE_BYTES": ("IAM", "a page of roles, read ahead", mib),
    "app.iam.client.PAGE_SECONDS": ("IAM", "a page of roles, read ahead", seconds),
    "app.iam.client.PAGE_ROLES": ("IAM", "a page of roles, read ahead", count),
    "app.iam.prefetch.ACCOUNTS_AT_ONCE": (
        "IAM",
        "accounts whose roles are read ahead at the same time",
        count,
    ),
    "app.iam.prefetch.MAX_PAGES": ("IAM", "pages of roles of one account, read ahead", count),
    "app.iam.prefetch.DENIED_SECONDS": ("IAM", "an account whose policy does not allow it", seconds),
    "app.iam.client.MAX_ANSWER_BYTES": ("IAM", "answer", kib),
    "app.iam.client._OWN_SECONDS": ("IAM", "one look for them", seconds),
    "app.aws.own_credentials.FIND_SECONDS": (
        "IAM",
        "waiting for the service's own credentials where there are none",
        seconds,
    ),
    "app.aws.own_credentials.RENEW_PAUSE_SECONDS": (
        "IAM",
        "renewing the service's own credentials, or replacing those that AWS calls expired",
        seconds,
    ),
    "app.iam.own_account.ASK_SECONDS": ("IAM", "one GetCallerIdentity of the service itself", seconds),
    "app.iam.reader_roles.MAX_SESSIONS": ("IAM", "sessions of reader roles", count),
    "app.iam.reader_roles.REFRESH_AFTER": ("IAM", "a session is renewed, after this part of its life", percent),
    "app.iam.reader_roles.RENEW_PAUSE_SECONDS": ("IAM", "renewing a session that could not be renewed", seconds),
    "app.iam.reader_roles.ASSUME_SECONDS": ("IAM", "one AssumeRole", seconds),
    "app.iam.own_account.DOUBT_SECONDS": (
        "IAM",
        "asking STS anew for the service's own account, when IAM behaves as if it were another one",
        seconds,
    ),
    "app.iam.preparation._FIRST_RETRY_SECONDS": (
        "IAM",
        "looking for the service's own credentials and account",
        seconds,
    ),
    "app.iam.preparation._LAST_RETRY_SECONDS": ("IAM", "the longest pause between two looks", seconds),
    "app.api.known_calls.MAX_CALLS": ("Caches", "bodies that came before, of known credentials", count),
    "app.api.known_calls.MAX_KEPT_CHARACTERS": ("Caches", "characters of the claim in such a body", count),
    "app.api.known_calls.MAX_SHARED": ("Caches", "different sets of tags and of labels that these share", count),
    "app.sts.known_credentials.MAX_KNOWN": ("Caches", "texts of credentials that were approved", count),
    "app.sts.known_credentials.MAX_UNAPPROVED": (
        "Caches",
        "texts of credentials that STS vouched for, and that were not approved",
        count,
    ),
    "app.sts.known_credentials.MAX_UNAPPROVED_OF_ACCOUNT": (
        "Caches",
        "those of one account",
        count,
    ),
    "app.limits.ttl_cache._LOOK_AT": ("Caches", "entries looked at for expired ones, when one is full", count),
    "app.iam.role_cache.MAX_ROLES": ("Caches", "roles", count),
    "app.iam.role_cache.REFRESH_AFTER": (
        "Caches",
        "a role in use is read again, after this part of its time",
        percent,
    ),
    "app.iam.role_cache.REFRESH_PAUSE": (
        "Caches",
        "pause until a refresh is tried again, as part of its time",
        percent,
    ),
    "app.iam.role_cache.MAX_MISSING_ROLES": ("Caches", "roles that were not found", count),
    "app.iam.role_cache.NOT_FOUND_SECONDS": ("Caches", "time of a role that was not found", seconds),
    "app.iam.role_cache.MISSING_SECONDS": (
        "Caches",
        "time that such a role waits behind roles that were never asked for",
        seconds,
    ),
    "app.iam.role_cache.MAX_DENIED_ROLES": ("Caches", "roles that may not be read", count),
    "app.iam.role_cache.MAX_MISMATCHED_ROLES": ("Caches", "roles that are not the caller's", count),
    "app.iam.role_cache.MISMATCH_SECONDS": ("Caches", "time of a role that is not the caller's", seconds),
    "app.iam.role_cache.ACCESS_DENIED_SECONDS": ("Caches", "time of a role that may not be read", seconds),
    "app.store.keys.MAX_STORE_KEYS": ("The shared store", "keys in the file", count),
    "app.store.keys._MIN_DIFFERENT_BYTES": ("The shared store", "different bytes in a key, at least", count),
    "app.store.sealing.MAX_IDENTITY_SECONDS": ("The shared store", "life of an identity's record", seconds),
    "app.store.sealing.MAX_SKEW_SECONDS": (
        "The shared store",
        "difference between the clocks of two replicas",
        seconds,
    ),
    "app.store.redis_store.MAX_RECORD_BYTES": ("The shared store", "a record", kib),
    "app.store.redis_store.START_SECONDS": ("The shared store", "waiting for the store at the start", seconds),
    "app.store.redis_store.LOG_SECONDS": (
        "The shared store",
        "log lines about records that are not believed",
        seconds,
    ),
    "app.store.link.CONNECT_SECONDS": ("The shared store", "connecting, TLS and log-in", seconds),
    "app.store.link.RETRY_SECONDS": ("The shared store", "pause before it is tried again", seconds),
    "app.store.port.ANSWER_SECONDS": ("The shared store", "an answer", seconds),
    "app.store.link.MAX_WAITING": ("The shared store", "requests that wait to be sent", count),
    "app.store.link.MAX_TOGETHER": ("The shared store", "requests that are sent together", count),
    "app.store.link.IDLE_SECONDS": ("The shared store", "unused connection", seconds),
    "app.store.budget.MAX_WAIT_SECONDS": (
        "The shared store",
        "waiting for a turn in a shared budget",
        seconds,
    ),
    "app.store.redis_connection._MAX_TEXT": (
        "The shared store",
        "what is said of a failed connection",
        characters,
    ),
    "app.settings.watch.SILENT_SECONDS": (
        "Files",
        "a look at files that does not come to its end, as on a file system that hangs",
        seconds,
    ),
    "app.settings.watch.INTERVAL_SECONDS": (
        "Files",
        "looking for changed certificates, caller tokens and accounts",
        seconds,
    ),
    "app.settings.accounts.MAX_STALE_SECONDS": (
        "Files",
        "the last good list of accounts, while its file is bad",
        seconds,
    ),
    "app.telemetry.audit._MAX_TEXT": ("The audit line", "a text of the proxy's claim", characters),
    "app.telemetry.audit._MAX_SERVICES": ("The audit line", "services of the claim", count),
    "app.agent.service_client.MAX_ANSWER_BYTES": ("The agent", "answer of the service", kib),
    "app.agent.service_client.CONNECT_SECONDS": ("The agent", "connecting to it, TLS included", seconds),
    "app.agent.service_client.TIMEOUT_SECONDS": ("The agent", "a call as a whole", seconds),
    "app.agent.schedule.FIRST_PAUSE_SECONDS": ("The agent", "first pause after a failure", seconds),
    "app.agent.schedule.LAST_PAUSE_SECONDS": ("The agent", "the longest pause", seconds),
    "app.agent.schedule.MAX_RETRY_AFTER_SECONDS": ("The agent", "`Retry-After` that is heeded", seconds),
    "app.agent.schedule.CREDENTIAL_SHARE": (
        "The agent",
        "a credential is renewed after this part of its life",
        percent,
    ),
    "app.agent.schedule.TOKEN_SHARE": ("The agent", "a token is renewed after this part of its life", percent),
    "app.agent.schedule.JITTER_SHARE": ("The agent", "earlier by chance, as part of that time", percent),
    "app.agent.schedule.MIN_RENEWAL_SECONDS": ("The agent", "between two renewals, at least", seconds),
    "app.agent.schedule.NEAR_END_SECONDS": ("The agent", "what is left of a file that is healthy", seconds),
    "app.agent.schedule.NEAR_END_SHARE": (
        "The agent",
        "what is left of a file that is healthy, as part of its life",
        percent,
    ),
    "app.agent.renewal_thread.LOOK_AGAIN_SECONDS": ("The agent", "time until a clock that was set is noticed", seconds),
    "app.agent.runner.END_SECONDS": ("The agent", "time for a proxy to end, when the agent gives up", seconds),
    "app.server.process._NOTICE_SECONDS": ("The end", "notice after the signal, in which `/ready` says 503", seconds),
    "app.calls.waiting_places.MAX_WAITING": ("A call to the API", "decisions that wait for AWS", count),
    "app.calls.waiting_places.MAX_WAITING_NEW": (
        "A call to the API",
        "those of keys that STS has not vouched for",
        count,
    ),
    "app.calls.outcomes.MAX_RETRY_SECONDS": ("STS", "`Retry-After` of a call that has to wait", seconds),
    "app.calls.outcomes.RETRY_SPREAD_SHARE": ("STS", "spread of `Retry-After`, as part of it", percent),
    "app.sts.calls.STS_IN_FLIGHT": ("STS", "calls in flight, for each account and region", count),
    "app.sts.calls.STS_NEW_IN_FLIGHT": (
        "STS",
        "those of keys that STS has not vouched for",
        count,
    ),
    "app.sts.calls.STS_HOST_IN_FLIGHT": ("STS", "calls in flight to one host", count),
    "app.sts.calls.STS_TOTAL_IN_FLIGHT": ("STS", "calls in flight in all", count),
    "app.sts.calls.STS_TOTAL_NEW_IN_FLIGHT": (
        "STS",
        "calls in flight in all, for keys that STS has not vouched for",
        count,
    ),
    "app.sts.calls.STS_TOTAL_UNPROVEN_IN_FLIGHT": (
        "STS",
        "calls in flight to such hosts in all",
        count,
    ),
    "app.limits.circuits.UNPROVEN_IN_FLIGHT": (
        "STS",
        "calls in flight to a host that has not answered yet, or whose last call failed",
        count,
    ),
    "app.sts.calls.STS_QUEUED": ("STS", "calls that wait, of keys that STS has vouched for", count),
    "app.sts.allowance.MIN_ALLOWED": (
        "STS",
        "the same of one account, while STS rejects most of its new keys",
        count,
    ),
    "app.sts.allowance.MAX_RESTRICTED": ("STS", "accounts with such a shorter queue", count),
    "app.calls.waiting_decisions.TOLD_AT_ONCE": (
        "STS",
        "waiting decisions that are told in one turn of the event loop that they wait in vain",
        count,
    ),
    "app.calls.next_upstream.NEAR_SECONDS": (
        "STS",
        "a turn of a key that STS has not vouched for, for which a decision waits whatever its account's wait for IAM",
        seconds,
    ),
    "app.calls.next_upstream.EXAMINED_EVERY_SECONDS": (
        "STS",
        "time between two looks at the wait for IAM of decisions that wait for STS",
        seconds,
    ),
    "app.calls.call_queue.ANSWER_SECONDS": ("STS", "time for the answer to a call that had to wait", seconds),
    "app.sts.calls.STS_NEW_QUEUED": ("STS", "calls that wait, of all other keys", count),
    "app.sts.calls.STS_BURST_SECONDS": ("STS", "calls saved up in a pause, as time at the rate", seconds),
    "app.sts.calls.STS_FAILURES": ("STS", "failures in a row that open the circuit of a host", count),
    "app.limits.circuits.BREAKER_PAUSE_SECONDS": ("STS", "pause between two probes of an open circuit", seconds),
    "app.sts.upstream.STS_CALL_SECONDS": ("STS", "one call, with both attempts", seconds),
    "app.sts.upstream.STS_SILENCE_SECONDS": (
        "STS",
        "waiting for a host whose first calls have no answer",
        seconds,
    ),
    "app.calls.call_order.MAX_BUDGETS": ("STS", "accounts and regions with a budget of their own", count),
    "app.calls.call_order.MAX_CIRCUITS": ("STS", "hosts whose failures are counted", count),
    "app.limits.rate_limiter._CUT": ("STS", "rate that is left after a throttling answer", percent),
    "app.limits.rate_limiter._LEAST": ("STS", "rate that is left whatever AWS answers", percent),
    "app.limits.rate_limiter._RECOVERY_A_SECOND": ("STS", "rate that comes back each second", percent),
    "app.limits.rate_limiter._SAME_SIGN_SECONDS": ("STS", "throttling answers that count as one", seconds),
    "app.iam.calls.IAM_IN_FLIGHT": ("IAM", "calls in flight, for each account", count),
    "app.iam.calls.IAM_TOTAL_IN_FLIGHT": ("IAM", "calls in flight in all", count),
    "app.iam.calls.IAM_TOTAL_UNPROVEN_IN_FLIGHT": ("IAM", "calls in flight to such accounts in all", count),
    "app.iam.calls.IAM_QUEUED": ("IAM", "calls that wait", count),
    "app.iam.calls.IAM_BURST": ("IAM", "calls saved up in a pause, for each account", count),
    "app.iam.calls.IAM_FAILURES": ("IAM", "failures in a row that open the circuit of an account", count),
    "app.iam.upstream.IAM_CALL_SECONDS": ("IAM", "one call, with both attempts", seconds),
    "app.iam.upstream.PAGE_SECONDS": ("IAM", "a page of roles, read ahead", seconds),
    "app.store.replicas.CLAIM_SECONDS": ("The shared store", "a replica's claim of a call", seconds),
    "app.store.replicas.STS_PATIENCE_SECONDS": (
        "The shared store",
        "all waiting of one call to STS for other replicas and for the shared budget",
        seconds,
    ),
    "app.store.replicas.IAM_PATIENCE_SECONDS": (
        "The shared store",
        "all waiting of one call to IAM for other replicas and for the shared budget",
        seconds,
    ),
    "app.store.replicas.DISBELIEVED_SECONDS": (
        "The shared store",
        "time that a shared budget that uses up this time is not asked",
        seconds,
    ),
    "app.sts.upstream.MAX_DENIALS": ("Caches", "denials of STS", count),
    "app.sts.upstream.DENIAL_SECONDS": ("Caches", "time of a denial", seconds),
    "app.sts.upstream.MAX_STRANGERS": (
        "Caches",
        "verified identities of accounts that are not listed, or of no role",
        count,
    ),
    "app.limits.breaker.BREAKER_FAILURES": (
        "The shared store",
        "failures in a row, until the store is left alone",
        count,
    ),
    "app.limits.breaker.BREAKER_PAUSE_SECONDS": (
        "The shared store",
        "pause before one try is let through",
        seconds,
    ),
}
# Where else one of them stands.
AGAIN: Final = (
    ("A call to the API", "nesting of the body's JSON", "app.core.strict_json.MAX_NESTING"),
    ("IAM", "attempts", "app.aws.exchange._ATTEMPTS"),
    ("IAM", "pause between two probes of an open circuit", "app.limits.circuits.BREAKER_PAUSE_SECONDS"),
    ("IAM", "accounts whose failures are counted", "app.calls.call_order.MAX_CIRCUITS"),
    (
        "IAM",
        "calls in flight to an account's IAM that has not answered yet, or whose last call failed",
        "app.limits.circuits.UNPROVEN_IN_FLIGHT",
    ),
)
PLACES: Final = (*((section, what, name) for name, (section, what, _) in BOUNDS.items()), *AGAIN)
# Constants that are named like a bound, and are none.
NO_BOUNDS: Final = {
    "app.http.pool._SWEEP_SECONDS": "how exactly the end of an attempt is kept",
    "app.api.authenticate.MAX_DIGITS": "how a number is read; the body is bounded by its bytes",
    "app.core.key_account._MAX_ACCOUNT": "what an account's number is",
    "app.server.protocol._WAKE_AGAIN_SECONDS": "how a reader is woken up, once the time for a body is over",
    "app.aws.own_credentials.LOOK_PAUSE_SECONDS": "how often the end of credentials is looked at",
    "app.store.replicas._FIRST_PAUSE_SECONDS": "how often a waiting replica looks at first",
    "app.store.replicas._LAST_PAUSE_SECONDS": "how often it looks later",
    "app.calls.call_queue._BEGUN_AT_ONCE": "calls that go out in one turn of the event loop; the others do in the next",
    "app.calls.call_queue._LEAST_PAUSE_SECONDS": "how exactly the rate is kept; saved turns make up for it",
    "app.calls.waiting_decisions._ANSWER_SECONDS": "how the half of a turn that its row names is estimated",
    "app.sts.upstream.STS_DOUBTFUL_SHARE": "the half of the rate that the row of shorter queues names",
    "app.sts.allowance._VOUCHED": "how fast a short queue becomes long again",
    "app.limits.bounded_map._LOOK_AT": "how many idle budgets are looked for",
    "app.calls.options.ATTEMPT_SECONDS": "a default that the service replaces with the one of its connections",
    "app.limits.breaker.MAX_CIRCUITS": "the store has one circuit",
    "app.telemetry.metrics._SECONDS": "the buckets of a histogram",
    "app.local.addresses._MAX_PORT": "what a port is",
    "app.agent.service_address._MAX_PORT": "what a port is",
    "app.local.unix_socket._MAX_GID": "what a group's number is",
    "app.agent.sources._MAX_TEXT_CHARS": "how much of a stranger's sentence is logged",
    "app.agent.service_client._SECONDS": "what a number of seconds looks like",
}
_BOUND: Final = re.compile(
    r"MAX_|MIN_|_SECONDS$|AT_ONCE|IN_FLIGHT$|QUEUE|RATE$|FAILURES|BACKLOG|ATTEMPTS|VOUCHED|LENGTH$|BURST$|SHARE$"
    r"|^REFRESH_|^_CUT$|^_LEAST$|_A_SECOND$|LOOK_AT$|^PAGE_"
)
# These do not decide: they are the command line's own, or stand in for AWS.
_ELSEWHERE: Final = {"cli", "demo", "emulator"}


def constants() -> Iterator[str]:
    """Every module-level constant of the service that is named like a bound, dotted."""
    for file in APP.rglob("*.py"):
        parts = file.relative_to(APP).with_suffix("").parts
        if parts[0] in _ELSEWHERE:
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name) and target.id.isupper() and _BOUND.search(target.id):
                    yield ".".join(("app", *parts, target.id))


@functools.cache
def limits() -> dict[tuple[str, str], str]:
    """The bound of every row, by section and by what is bounded."""
    found: dict[tuple[str, str], str] = {}
    for section in re.split(r"^## ", page("limits.md"), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for row in tables(section, "What"):
            assert (heading, row["What"]) not in found, f"{row['What']!r} stands twice"
            found[heading, row["What"]] = row["Bound"]
    return found


def says(bound: str, text: str) -> bool:
    """Whether a cell holds the text as words of its own: 10 s is not in 110 s, and 2 not in 2,000."""
    return re.search(rf"(?<![\w,.]){re.escape(text)}(?![\w]|[,.]\d)", bound) is not None


def test_every_bound_of_the_code_stands_on_the_page_of_limits() -> None:
    assert sorted(constants()) == sorted([*BOUNDS, *NO_BOUNDS])


@pytest.mark.parametrize(("section", "what", "name"), PLACES)
def test_a_bound_stands_on_the_page_with_its_value(section: str, what: str, name: str) -> None:
    module, _, constant = name.rpartition(".")
    value, (*_, shown) = getattr(importlib.import_module(module), constant), BOUNDS[name]
    assert says(limits()[section, what], shown(value))


NETWORK: Final = NetworkOptions()


@pytest.mark.parametrize(
    ("section", "what", "text"),
    [
        (section, what, text)
        for section in ("STS", "IAM")
        for what, text in (
            ("DNS, TCP and TLS", seconds(NETWORK.connect_timeout)),
            ("one attempt", seconds(NETWORK.total_timeout)),
        )
    ],
)
def test_the_bound_of_a_client_stands_on_the_page(section: str, what: str, text: str) -> None:
    assert says(limits()[section, what], text)


@pytest.mark.parametrize(
    ("section", "what", "field"),
    [
        ("A call to the API", "a whole decision, waiting included", "decision_timeout"),
        ("Caches", "roles", "role_ttl"),
        ("A token", "validity", "token_validity"),
        ("Caches", "roles while IAM cannot be asked", "role_max_stale"),
    ],
)
def test_the_bound_of_a_setting_stands_on_the_page(section: str, what: str, field: str) -> None:
    """Its variable, its default, and how far it can be set."""
    setting = Settings.model_fields[field]
    most = next(bound.le for bound in setting.metadata if isinstance(bound, annotated_types.Le))
    bound = limits()[section, what]
    assert f"`{setting.validation_alias}`" in bound
    assert says(bound, seconds(setting.default))
    assert says(bound, f"at most {most}")


def test_every_reason_to_come_again_stands_on_the_page_with_its_seconds() -> None:
    documented = {
        reason: int(row["Seconds"])
        for row in tables(page("limits.md"), "Reason")
        for reason in row["Reason"].split(", ")
    }
    given = {reason.value: each.retry_after for reason, each in EXPLANATIONS.items() if each.retry_after is not None}
    assert documented == given
