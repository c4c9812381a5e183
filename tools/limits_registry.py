"""Every bound of the service and of the agent, by the sections of docs/reference/limits.md.

``make docs`` writes the tables of that page from here. A row takes its numbers from the constants themselves, which live
beside their one use. A bound without a constant, such as one of a grammar, is text. The tests find constants that are named
like a bound and are missing here.
"""

from datetime import timedelta
from typing import Final

import annotated_types

from app.agent import dataplane_file, metrics_listener, renewal_thread, service_client
from app.agent import runner as agent_runner
from app.agent import schedule as agent_schedule
from app.api import authenticate, call_bounds, caller_guard, decisions_page, known_calls, metrics_page, schemas
from app.aws import exchange as aws_exchange
from app.aws import own_credentials
from app.calls import call_queue, outcomes, waiting_decisions, waiting_places
from app.calls import limits as call_limits
from app.cli import controller_options
from app.controller import (
    aws_calls,
    control_plane,
    diagnostics,
    ecs,
    ecs_metadata,
    held_token,
    passes,
    pauses,
    plan,
    role_identities,
)
from app.controller import controller as controller_process
from app.controller import report as controller_report
from app.controller import secret as controller_secret
from app.core import audience_hint, credential, request_policy, role_tags, strict_json
from app.http import http1 as http_http1
from app.http import pool as http_pool
from app.http.network import NetworkOptions
from app.iam import calls as iam_calls
from app.iam import client as iam_client
from app.iam import own_account, prefetch, preparation, reader_roles, role_cache
from app.iam import upstream as iam_upstream
from app.limits import circuits, rate_limiter, ttl_cache
from app.local import caller_tokens, unix_socket
from app.page import agents_seen, document, filters, rates, recent_decisions, state_tables
from app.policy import changes, log_lines, report_only
from app.server import bounded_reads, listener, protocol, sockets
from app.server import process as server_process
from app.settings import accounts as settings_accounts
from app.settings import watch as settings_watch
from app.settings.environment import Settings
from app.store import budget as store_budget
from app.store import keys as store_keys
from app.store import link as store_link
from app.store import port as store_port
from app.store import redis_store, replicas, sealing
from app.sts import allowance, known_credentials, known_keys
from app.sts import calls as sts_calls
from app.sts import signer as sts_signer
from app.sts import upstream as sts_upstream
from app.telemetry import audit as telemetry_audit
from app.telemetry import span_collector
from app.tokens import claims as tokens_claims
from app.tokens import codec as tokens_codec
from app.tokens import key_files
from app.tokens import signer as tokens_signer

_NETWORK: Final = NetworkOptions()
_GROUPED_FROM: Final = 10_000


def count(value: int) -> str:
    """Write a number, in groups of three digits from 10,000 on."""
    return f"{value:,}" if value >= _GROUPED_FROM else str(value)


def kib(value: int) -> str:
    """Write a number of bytes in KiB."""
    return f"{value // 1024} KiB"


def mib(value: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{value // 1024 // 1024} MiB"


def characters(value: int) -> str:
    """Write a number of characters."""
    return f"{value} characters"


def seconds(value: float) -> str:
    """Write a number of seconds."""
    return f"{value:g} s"


def hours(value: float) -> str:
    """Write a number of seconds in hours."""
    return f"{value / 3600:g} h"


def minutes(value: timedelta) -> str:
    """Write a time in minutes."""
    return f"{value.total_seconds() / 60:g} minutes"


def percent(value: float) -> str:
    """Write a part of a whole."""
    return f"{value * 100:g} %"


def setting(field: str, *, since: str = "") -> str:
    """Write the variable of a time, its default, and its largest value."""
    found = Settings.model_fields[field]
    most = next(bound.le for bound in found.metadata if isinstance(bound, annotated_types.Le))
    return f"`{found.validation_alias}`, {seconds(found.default)}{since}, at most {most}"


def rate(field: str) -> str:
    """Write the variable of a number of calls per second, and its default."""
    found = Settings.model_fields[field]
    return f"`{found.validation_alias}`, {found.default} in a second"


Row = tuple[str, str, str]
"""What is bounded, the bound, and what happens beyond it."""

_START_ENDS: Final = "the service does not start, or does not use the changed file"
_MALFORMED: Final = "400 `malformed_request`"
_REUSED: Final = "the least recently used one is forgotten"
_WAITS: Final = "a call waits"

LIMITS: Final[dict[str, tuple[Row, ...]]] = {
    "A call to the API": (
        ("request line and headers", kib(protocol.MAX_HEAD_BYTES), "400 in plain text"),
        ("number of headers", count(protocol.MAX_HEADERS), "400 in plain text"),
        (
            "time from the start of a connection, or of a request, to the end of the headers",
            seconds(protocol.HEAD_TIMEOUT_SECONDS),
            "the connection is closed",
        ),
        ("trailers after a body", "none", "ignored"),
        ("chunk framing and trailers of a body", kib(protocol.MAX_AROUND_BODY_BYTES), "400 in plain text"),
        (
            "requests of a connection that wait for an earlier one",
            count(protocol.MAX_PIPELINED),
            "400 in plain text",
        ),
        (
            "one read of a connection",
            kib(bounded_reads.MAX_READ_BYTES),
            "the kernel keeps the rest; while a request waits for an earlier one, the service reads nothing",
        ),
        ("body", kib(authenticate.MAX_BODY_BYTES), "413 `request_too_large`"),
        ("time for the body", seconds(call_bounds.BODY_TIMEOUT_SECONDS), _MALFORMED),
        ("members of the body, and of `proxy`", count(call_bounds.MAX_MEMBERS), _MALFORMED),
        (
            "tags, values of a tag, labels",
            f"{call_bounds.MAX_TAGS}, {call_bounds.MAX_VALUES_OF_A_TAG}, {call_bounds.MAX_LABELS}",
            _MALFORMED,
        ),
        ("different values of a tag that are compared", count(schemas.MAX_VALUES), "the others are ignored"),
        ("`listeners`", count(schemas.MAX_LISTENERS), _MALFORMED),
        (
            "names (`mesh`, `name`, `zone`), tag values, label values",
            "253 characters, no control character",
            _MALFORMED,
        ),
        ("tag and label keys", "317 characters, no control character", _MALFORMED),
        ("objects and lists in a body", count(call_bounds.MAX_CONTAINERS), _MALFORMED),
        ("nesting of the body's JSON", f"{strict_json.MAX_NESTING} levels", _MALFORMED),
        (
            "JSON values in a body that contains an unpaired surrogate",
            count(call_bounds.MAX_VALUES_READ_TWICE),
            _MALFORMED,
        ),
        (
            "decisions in progress",
            count(authenticate.MAX_DECISIONS),
            "503 `overloaded`, and the connection is closed. Calls that need no call to AWS are still decided",
        ),
        (
            "decisions that wait for AWS",
            f"{count(waiting_places.MAX_WAITING)}, at most {count(waiting_places.MAX_WAITING_NEW)} of them with new keys; one account at most twice as many as are free",
            "the stale role, or 503 `overloaded` with the time until the turn. The call stays queued",
        ),
        ("a whole decision", setting("decision_timeout"), "503"),
        (
            "connections",
            f"{count(listener.MAX_CONNECTIONS)}, or what the open files allow",
            "the service closes an idle connection for each new one, or accepts no more",
        ),
        (
            "connections to the diagnostics listener",
            f"{count(server_process.MAX_DIAGNOSTICS)}, or {percent(server_process.MAX_DIAGNOSTICS_SHARE)} of the row above if that is less",
            "as in the row above",
        ),
        (
            "connections accepted in a row",
            count(listener.MAX_ACCEPTED_AT_ONCE),
            "existing connections have their turn first",
        ),
        ("connections waiting in the kernel", count(sockets.BACKLOG), "the kernel decides"),
        ("pause before accepting again", seconds(listener.PAUSE_SECONDS), ""),
        ("idle connection", seconds(server_process.KEEP_ALIVE_SECONDS), "closed"),
        ("open files of the process", f"{count(listener.MAX_OPEN_FILES)}, or the hard limit if that is less", ""),
        (
            "open files reserved for everything except callers",
            f"{count(listener.MAX_RESERVED_FILES)}, or half of the open files if that is less",
            "fewer connections are accepted",
        ),
        (
            "log lines `not accepting` and `closing idle connections`",
            f"one in {seconds(listener.LOG_SECONDS)}",
            "not written",
        ),
        (
            "renderings of `/metrics`",
            f"one in {seconds(metrics_page.PAUSE_SECONDS)}, or up to {metrics_page.RENDERINGS_AT_ONCE} at once after a pause",
            "a request waits for the next rendering",
        ),
        (
            "requests that wait for `/metrics`",
            count(metrics_page.MAX_SCRAPES),
            "503 `overloaded`, and the connection is closed",
        ),
        (
            "decisions on the page `/decisions`",
            f"{count(recent_decisions.MAX_DECISIONS)}, with {recent_decisions.MAX_LINE_BYTES} bytes each; {document.MAX_SHOWN} of them at a time",
            "the oldest one is forgotten; the texts of a longer one are cut",
        ),
        (
            "minutes that its rates go back, and tasks that it remembers",
            f"{rates.MAX_MINUTES}, {agents_seen.MAX_AGENTS}",
            "the oldest is forgotten",
        ),
        (
            "accounts, endpoints, keys and tasks that it shows",
            f"{state_tables.MAX_ROWS} each",
            "the busiest or latest ones are shown",
        ),
        ("characters of a value of its filter", characters(filters.MAX_FILTER_CHARS), "the value is cut"),
        ("readers that wait for it", count(decisions_page.MAX_READERS), "503 in plain text"),
        ("request id of a call", "128 characters of `A-Za-z0-9._-`", "the service makes a new id"),
        ("audience hint of a call", f"{characters(audience_hint.MAX_HINT_CHARS)}, printable ASCII", "ignored"),
    ),
    "A caller": (
        ("TLS handshake", seconds(server_process.HANDSHAKE_SECONDS), "the connection is closed"),
        (
            "TLS handshakes in progress",
            f"{count(server_process.MAX_HANDSHAKES)}, or half of the limit of connections if that is less",
            "a new handshake ends the oldest one",
        ),
        (
            "receive buffer of a TLS connection",
            f"{kib(server_process.MAX_TLS_RECEIVE_BYTES)}, which Linux doubles",
            "the client keeps the rest",
        ),
        ("closing a TLS connection", seconds(server_process.TLS_END_SECONDS), "closed without the client's answer"),
        ("caller tokens in the file", count(caller_tokens.MAX_TOKENS), _START_ENDS),
        (
            "length of a caller token",
            f"{caller_tokens.MIN_TOKEN_LENGTH} to {characters(caller_tokens.MAX_TOKEN_LENGTH)}",
            f"{_START_ENDS}; for a call: 401 `caller_not_authenticated`",
        ),
        ("log lines `unknown caller`", f"one in {seconds(caller_guard.LOG_SECONDS)}", "counted in the next line"),
        ("mode of a Unix socket", "`KMESH_AWSIAM_SOCKET_MODE`, 0660", "the kernel refuses the connection"),
        (
            "check whether another process serves a Unix socket",
            seconds(unix_socket.PROBE_SECONDS),
            "the service does not start, and the socket stays",
        ),
    ),
    "A credential": (
        ("length", kib(credential.MAX_CREDENTIAL_CHARS), "`credential_malformed`"),
        ("nesting of its JSON", f"{strict_json.MAX_NESTING} levels", "`credential_malformed`"),
        (
            "age",
            f"{minutes(request_policy.MAX_LIFETIME)}, and `X-Amz-Expires` (except in the EKS form)",
            "`credential_expired`",
        ),
        ("date in the future", minutes(request_policy.MAX_FUTURE_SKEW), "`credential_not_yet_valid`"),
        ("`X-Amz-Expires`", f"1 to {seconds(sts_signer.MAX_EXPIRES)}", "`credential_malformed`"),
        ("session token", "8192 characters", "`credential_malformed`"),
        ("path and query, as sent to STS", characters(request_policy.MAX_TARGET_CHARS), "`credential_malformed`"),
        ("access key id", "16 to 128 characters", "`credential_malformed`"),
        ("header names", "64 characters", "`credential_malformed`"),
        ("audience (`KMESH_AWSIAM_AUDIENCE`)", "255 characters", "the service does not start"),
    ),
    "A token": (
        (
            "validity",
            f"{setting('token_validity')}, at least {tokens_claims.MIN_VALIDITY_SECONDS}",
            "the service does not start",
        ),
        ("validity of a presented token", seconds(tokens_claims.MAX_VALIDITY_SECONDS), "`token_rejected`"),
        ("`iat` and `nbf` are before the issue by", seconds(tokens_claims.BACKDATED_SECONDS), ""),
        ("difference between clocks of replicas", seconds(tokens_codec.LEEWAY_SECONDS), "`credential_not_yet_valid`"),
        ("length", kib(tokens_codec.MAX_TOKEN_CHARS), "`token_rejected`"),
        ("an RSA key", f"{key_files.MIN_KEY_BITS} to {key_files.MAX_KEY_BITS} bits", _START_ENDS),
        ("keys in a file", count(key_files.MAX_SIGNING_KEYS), _START_ENDS),
        (
            "sessions with cached tokens",
            f"{count(tokens_signer.MAX_REUSABLE_TOKENS)}, for half of a token's validity",
            _REUSED,
        ),
        ("cached tokens of a session", count(tokens_signer.MAX_TOKENS_OF_A_SESSION), "the oldest one is forgotten"),
        (
            "threads that sign",
            f"{count(tokens_signer.MAX_SIGNING_THREADS)}, or one for each core if that is less",
            "a call waits; after its deadline 503 `overloaded`",
        ),
        (
            "signatures in progress",
            f"{count(tokens_signer.MAX_SIGNATURES)}, at most {tokens_signer.MAX_SIGNATURES_OF_A_ROLE} of them for one role",
            "503 `overloaded`, unless the token is cached",
        ),
    ),
    "A role's tags": (
        (
            "`kuma.io/mesh`, `kuma.io/service`, `kuma.io/zone`",
            characters(role_tags.MAX_VALUE_CHARS),
            "`role_tag_invalid`",
        ),
        ("`kuma.io/workload`", characters(role_tags.MAX_LABEL_CHARS), "`role_tag_invalid`"),
    ),
    "STS": (
        (
            "calls, for each account and region",
            rate("sts_rate"),
            "a call waits. If its turn comes after a decision's deadline, the decision is 503 `overloaded` at once",
        ),
        ("calls saved up in a pause", f"those of {seconds(sts_calls.STS_BURST_SECONDS)}", ""),
        (
            "calls in flight, for each account and region",
            f"{sts_calls.STS_IN_FLIGHT}, at most {sts_calls.STS_NEW_IN_FLIGHT} of them for new keys",
            _WAITS,
        ),
        ("calls in flight to one host", count(sts_calls.STS_HOST_IN_FLIGHT), _WAITS),
        (
            "calls in flight in all",
            f"{sts_calls.STS_TOTAL_IN_FLIGHT}, at most {sts_calls.STS_TOTAL_NEW_IN_FLIGHT} of them for new keys",
            _WAITS,
        ),
        (
            "calls in flight to a host that has not answered yet, or whose last call failed",
            f"{circuits.UNPROVEN_IN_FLIGHT}, and {sts_calls.STS_TOTAL_UNPROVEN_IN_FLIGHT} to all such hosts; these count against no other limit",
            _WAITS,
        ),
        (
            "time for the first answer of a host",
            seconds(sts_upstream.STS_SILENCE_SECONDS),
            "`sts_unavailable` at once; the calls stay queued",
        ),
        (
            "calls that wait, for known keys",
            count(sts_calls.STS_QUEUED),
            "the account with the most waiting calls loses its newest one. A call of that account itself is 503 `overloaded`",
        ),
        (
            "calls that wait, for new keys",
            f"{count(sts_calls.STS_NEW_QUEUED)}, some 2.5 KB each with session tokens of 1,000 characters",
            "as for known keys; calls that no decision waits for are dropped first",
        ),
        (
            "calls that wait, for new keys of an account, while STS rejects most of them",
            f"{count(allowance.MIN_ALLOWED)}; all such accounts together add at most half of `KMESH_AWSIAM_STS_RATE`",
            "503 `overloaded`, before the credential is decoded",
        ),
        ("accounts with such a short queue", count(allowance.MAX_RESTRICTED), "the first one has a long queue again"),
        ("one call, with both attempts", seconds(sts_upstream.STS_CALL_SECONDS), "`sts_unavailable`"),
        (
            "one attempt",
            f"{seconds(_NETWORK.total_timeout)}, or half of the decision timeout if that is less",
            "a second attempt, then `sts_unavailable`",
        ),
        (
            "DNS, TCP and TLS of an attempt",
            f"{seconds(_NETWORK.connect_timeout)}, or a quarter of the decision timeout if that is less",
            "a second attempt, then `sts_unavailable`",
        ),
        ("attempts", f"{aws_exchange.ATTEMPTS}, of the same bytes; not after throttling", "`sts_unavailable`"),
        (
            "answer",
            f"{kib(http_http1.MAX_REPLY_BYTES)}, not decompressed; {kib(http_http1.MAX_REPLY_WIRE_BYTES)} with headers and framing",
            "`sts_unavailable`",
        ),
        (
            "known keys",
            f"{count(known_keys.VOUCHED_KEYS)}, for {hours(known_keys.VOUCHED_SECONDS)}",
            "the key is new again",
        ),
        ("budgets (one for each account and region)", count(call_limits.MAX_BUDGETS), "unused ones are forgotten"),
        (
            "rate after a throttling answer",
            f"{percent(rate_limiter.CUT_SHARE)} of what it was, never below {percent(rate_limiter.LEAST_SHARE)} of the whole; it recovers by {percent(rate_limiter.RECOVERY_A_SECOND)} of the whole each second",
            "",
        ),
        ("throttling answers that count as one", f"those within {seconds(rate_limiter.SAME_SIGN_SECONDS)}", ""),
        (
            "`Retry-After` of a queued call",
            f"{seconds(outcomes.MAX_RETRY_SECONDS)}, with a random part of {percent(outcomes.RETRY_SPREAD_SHARE)} or one second, whichever is more",
            "",
        ),
        (
            "failures in a row that open a host's circuit breaker",
            count(sts_calls.STS_FAILURES),
            "`sts_unavailable` at once; the calls stay queued",
        ),
        (
            "pause between two probes of an open circuit breaker",
            seconds(circuits.BREAKER_PAUSE_SECONDS),
            "one queued call is the probe",
        ),
        ("circuit breakers", count(call_limits.MAX_CIRCUITS), "unused ones are forgotten"),
        (
            "time reserved for the answer to a queued call",
            seconds(call_queue.ANSWER_SECONDS),
            "a decision whose call has its turn later is 503 `overloaded` at once",
        ),
        (
            "waiting decisions that are refused in one turn of the event loop",
            f"{waiting_decisions.TOLD_AT_ONCE}, or as many as take half of the turn's time",
            "the others are refused in the next turns",
        ),
        (
            "open connections to AWS that no call uses",
            f"{http_pool.MAX_CONNECTIONS}, for {seconds(http_pool.IDLE_SECONDS)}",
            "the longest unused one is closed",
        ),
        ("cached DNS answers", f"{http_pool.MAX_NAMES}, for {seconds(http_pool.DNS_SECONDS)}", _REUSED),
    ),
    "IAM": (
        (
            "calls, for each account",
            rate("iam_rate"),
            "a call waits. If its turn comes after a decision's deadline, the decision uses the stale role, or is 503 `overloaded` at once",
        ),
        ("calls saved up in a pause", count(iam_calls.IAM_BURST), ""),
        ("calls in flight, for each account", count(iam_calls.IAM_IN_FLIGHT), _WAITS),
        ("calls in flight in all", count(iam_calls.IAM_TOTAL_IN_FLIGHT), _WAITS),
        (
            "calls in flight to an account's IAM that has not answered yet, or whose last call failed",
            f"{circuits.UNPROVEN_IN_FLIGHT}, and {iam_calls.IAM_TOTAL_UNPROVEN_IN_FLIGHT} to all such accounts; these count against no other limit",
            _WAITS,
        ),
        (
            "calls that wait",
            f"{count(iam_calls.IAM_QUEUED)} for cached roles, and as many for new roles and pages of the prefetch together",
            "as for known keys of STS; a decision with a stale role uses that role",
        ),
        (
            "turns of new roles",
            "every second one while cached roles wait; half of these for roles that were not found before",
            "",
        ),
        ("one call, with both attempts", seconds(iam_upstream.IAM_CALL_SECONDS), "`iam_unavailable`"),
        (
            "attempts",
            f"{aws_exchange.ATTEMPTS}, each signed anew, with the time limits of STS attempts; not after throttling or a denial",
            "`iam_unavailable`",
        ),
        (
            "answer",
            f"{kib(iam_client.MAX_ANSWER_BYTES)}, not decompressed; four times as much with headers and framing",
            "`iam_unavailable`",
        ),
        (
            "failures in a row that open an account's circuit breaker",
            count(iam_calls.IAM_FAILURES),
            "the stale role, or `iam_unavailable` at once; the calls stay queued",
        ),
        (
            "a page of roles for prefetch",
            f"{iam_client.PAGE_ROLES} roles, {mib(iam_client.MAX_PAGE_BYTES)}, {seconds(iam_client.PAGE_SECONDS)}; {seconds(iam_upstream.PAGE_SECONDS)} with the wait for its turn",
            "the roles are read one by one",
        ),
        ("pages of an account", count(prefetch.MAX_PAGES), "the other roles are read one by one"),
        ("accounts with a prefetch in progress", count(prefetch.ACCOUNTS_AT_ONCE), "the others wait"),
        ("pause after IAM has denied the prefetch", seconds(prefetch.DENIED_SECONDS), "the prefetch is tried again"),
        (
            "sessions of reader roles",
            f"{count(reader_roles.MAX_SESSIONS)}, one for each account, until AWS ends them",
            _REUSED,
        ),
        (
            "renewal of a session",
            f"after {percent(reader_roles.REFRESH_AFTER)} of its life; if that fails, every {seconds(reader_roles.RENEW_PAUSE_SECONDS)}",
            "the old session is used until it ends",
        ),
        (
            "one AssumeRole, one GetCallerIdentity of the service itself",
            f"{seconds(reader_roles.ASSUME_SECONDS)}, {seconds(own_account.ASK_SECONDS)}",
            "`iam_unavailable`",
        ),
        ("threads that find and renew the service's own credentials", "1", ""),
        (
            "wait of a call for the service's own credentials",
            seconds(own_credentials.FIND_SECONDS),
            "`own_credentials_unavailable`",
        ),
        (
            "searches for the service's own credentials while there are none, or AWS rejects them",
            f"one in {seconds(own_credentials.SEARCH_PAUSE_SECONDS)}",
            "`own_credentials_unavailable` at once",
        ),
        (
            "renewals of the service's own credentials",
            f"one in {seconds(own_credentials.RENEW_PAUSE_SECONDS)}",
            "the old credentials are used until they end",
        ),
        (
            "one search for the service's own credentials and account at the start",
            seconds(iam_client.OWN_SECONDS),
            f"not ready; the next search after {seconds(preparation.FIRST_RETRY_SECONDS)}, later after up to {seconds(preparation.LAST_RETRY_SECONDS)}",
        ),
        (
            "repeated search for the service's own account, when IAM answers as if it were another one",
            f"one in {seconds(own_account.DOUBT_SECONDS)}",
            "the known account is used",
        ),
    ),
    "Caches": (
        (
            "approved credentials",
            f"{count(known_credentials.MAX_KNOWN)}, until the signature expires",
            "",
        ),
        (
            "credentials that STS vouched for, not approved",
            f"{count(known_credentials.MAX_UNAPPROVED)}, at most {count(known_credentials.MAX_UNAPPROVED_OF_ACCOUNT)} of them for one account; until the signature expires",
            "",
        ),
        (
            "identities that are no role, or whose account is not listed",
            f"{count(known_credentials.MAX_STRANGERS)}, until the signature expires",
            "",
        ),
        (
            "denials of STS",
            f"{count(known_credentials.MAX_DENIALS)}, each for one exact credential, for {seconds(known_credentials.DENIAL_SECONDS)}",
            "STS is asked again",
        ),
        (
            "bodies of calls with approved credentials",
            f"{count(known_calls.MAX_CALLS)}, each with {known_calls.MAX_KEPT_CHARACTERS} characters in `proxy`; {known_calls.MAX_SHARED} different sets of tags or labels",
            "the body is read again",
        ),
        (
            "bodies of other calls about whose credential STS's answer is cached",
            count(known_calls.MAX_UNAPPROVED_CALLS),
            "",
        ),
        ("roles", f"{count(role_cache.MAX_ROLES)}, for {setting('role_ttl')}", ""),
        (
            "new read of a role in use",
            f"after {percent(role_cache.REFRESH_AFTER)} of `KMESH_AWSIAM_ROLE_TTL`; if that fails, after a pause of {percent(role_cache.REFRESH_PAUSE)} of it",
            "",
        ),
        ("stale roles", setting("role_max_stale", since=" since IAM answered"), "`iam_unavailable`"),
        (
            "roles that were not found",
            f"{count(role_cache.MAX_MISSING_ROLES)}, for {seconds(role_cache.NOT_FOUND_SECONDS)}; then for {seconds(role_cache.MISSING_SECONDS)} other new roles have every second turn before them",
            "IAM is asked again",
        ),
        (
            "roles that may not be read",
            f"{count(role_cache.MAX_DENIED_ROLES)}, for {seconds(role_cache.ACCESS_DENIED_SECONDS)}",
            "IAM is asked again",
        ),
        (
            "roles that are not the caller's (`role_id_mismatch`)",
            f"{count(role_cache.MAX_MISMATCHED_ROLES)}, for {seconds(role_cache.MISMATCH_SECONDS)} or `KMESH_AWSIAM_ROLE_TTL` if that is less",
            "IAM is asked again",
        ),
        ("entries of a full cache that are checked for expiry", count(ttl_cache.LOOK_AT), ""),
    ),
    "The shared store": (
        (
            "reservation of a call by a replica",
            seconds(replicas.CLAIM_SECONDS),
            "another replica may make the call too",
        ),
        (
            "wait of a call for other replicas and for the shared budget",
            f"{seconds(replicas.STS_PATIENCE_SECONDS)} for STS, {seconds(replicas.IAM_PATIENCE_SECONDS)} for IAM, with the time that the store takes to answer",
            f"the replica calls AWS at its own rate; if it waited for the shared budget, it ignores that budget for {seconds(replicas.DISBELIEVED_SECONDS)}",
        ),
        (
            "wait for one turn in the shared budget",
            seconds(store_budget.MAX_WAIT_SECONDS),
            "the call takes no turn there",
        ),
        ("keys in the file", count(store_keys.MAX_STORE_KEYS), _START_ENDS),
        ("different bytes in a key, at least", count(store_keys.MIN_DIFFERENT_BYTES), f"{_START_ENDS}: not random"),
        ("life of an identity's record", seconds(sealing.MAX_IDENTITY_SECONDS), "not stored, or rejected"),
        (
            "life of a role's record",
            "the larger of `KMESH_AWSIAM_ROLE_TTL` and `KMESH_AWSIAM_ROLE_MAX_STALE`",
            "not stored, or rejected",
        ),
        ("difference between clocks of replicas", seconds(sealing.MAX_SKEW_SECONDS), "records are rejected"),
        ("a record", kib(redis_store.MAX_RECORD_BYTES), "not stored, or not read"),
        ("connections of a process", "1, opened in the background", ""),
        (
            "connecting, TLS and log-in",
            seconds(store_link.CONNECT_SECONDS),
            f"tried again after {seconds(store_link.RETRY_SECONDS)}",
        ),
        (
            "failures in a row",
            count(store_link.FAILURES_TO_OPEN),
            f"nothing is shared; one probe every {seconds(circuits.BREAKER_PAUSE_SECONDS)}",
        ),
        (
            "an answer",
            f"{seconds(store_port.ANSWER_SECONDS)}, without the time in which the service itself was busy",
            "the connection is closed",
        ),
        ("requests that wait to be sent", count(store_link.MAX_WAITING), "not sent"),
        ("requests that are sent together", count(store_link.MAX_TOGETHER), "the others wait"),
        ("unused connection", seconds(store_link.IDLE_SECONDS), "the service sends a PING"),
        ("wait for the store at the start", seconds(redis_store.START_SECONDS), "the service starts without it"),
        (
            "log lines `store record rejected`",
            f"one in {seconds(redis_store.LOG_SECONDS)}",
            "counted in the next line",
        ),
    ),
    "Files": (
        ("check for changed files", f"every {seconds(settings_watch.INTERVAL_SECONDS)}", ""),
        (
            "one check, for example on a file system that hangs",
            seconds(settings_watch.SILENT_SECONDS),
            "the files count as invalid",
        ),
        (
            "use of the last good list of accounts",
            seconds(settings_accounts.MAX_STALE_SECONDS),
            "503 `accounts_unavailable`",
        ),
    ),
    "The audit line": (
        ("a text of `claimed`", characters(telemetry_audit.MAX_TEXT), "cut"),
        ("`claimed.services`", count(telemetry_audit.MAX_SERVICES), "left out"),
        ("`claimed.labels`", count(telemetry_audit.MAX_LABELS), "left out"),
        ("a text of `role`", characters(role_tags.MAX_NOTED_CHARS), "cut"),
        ("`role.tags`", count(role_tags.MAX_NOTED_TAGS), "left out"),
        ("`access_key.id`", "128 characters", "`credential_malformed`, and the field is null"),
        ("`signed_for.host`, `signed_for.region`", "253 and 32 characters of a host and a region", "null"),
        ("AWS's request id", "128 characters", "cut"),
        ("log lines `traces not sent`", f"one in {seconds(span_collector.LOG_SECONDS)}", "counted in the next line"),
    ),
    "A preview, and the report-only policy": (
        ("a line of the log", mib(log_lines.MAX_LINE_BYTES), "the line is cut, and no audit line"),
        ("rows of the result", count(changes.MAX_CHANGES), "counted, without a row"),
        ("names of proxies in a row", count(changes.MAX_NAMES), "left out"),
        (
            "log lines about a bug in the report-only policy",
            f"one in {seconds(report_only.LOG_SECONDS)}",
            "counted in the next line",
        ),
    ),
    "The agent": (
        ("`--dataplane-file`", kib(dataplane_file.MAX_RESOURCE_BYTES), "usage error (2)"),
        ("nesting of `--dataplane-file`", f"{strict_json.MAX_NESTING} levels", "the same"),
        ("answer of the service", kib(service_client.MAX_ANSWER_BYTES), "`unexpected_answer`"),
        ("connecting to the service, with TLS", seconds(service_client.CONNECT_SECONDS), "`service_unreachable`"),
        ("a whole call", seconds(service_client.TIMEOUT_SECONDS), "`service_unreachable`"),
        (
            "pause after a failure",
            f"{seconds(agent_schedule.FIRST_PAUSE_SECONDS)}, doubled up to {seconds(agent_schedule.LAST_PAUSE_SECONDS)}; a random part of up to half is taken off",
            "",
        ),
        ("`Retry-After` of the service", seconds(agent_schedule.MAX_RETRY_AFTER_SECONDS), "the agent tries earlier"),
        (
            "renewal",
            f"after {percent(round(agent_schedule.CREDENTIAL_SHARE, 2))} of a credential's life, {percent(round(agent_schedule.TOKEN_SHARE, 2))} of a token's; up to {percent(agent_schedule.JITTER_SHARE)} earlier by chance",
            "",
        ),
        ("time between two renewals, at least", seconds(agent_schedule.MIN_RENEWAL_SECONDS), ""),
        (
            "time to the expiry of a healthy file, at least",
            f"{seconds(agent_schedule.NEAR_END_SECONDS)}, or {percent(round(agent_schedule.NEAR_END_SHARE, 3))} of its life if that is less",
            "the health check fails",
        ),
        (
            "time until the agent notices that the clock was set",
            f"{seconds(renewal_thread.LOOK_AGAIN_SECONDS)}; not if the clock was set back by 300 s or less",
            "the agent renews at once",
        ),
        (
            "a request to the agent's `/metrics`",
            f"{kib(metrics_listener.MAX_REQUEST_BYTES)}, {seconds(metrics_listener.SECONDS)}, one at a time",
            "the connection is closed",
        ),
        ("time for the proxy to end, when the agent gives up", seconds(agent_runner.END_SECONDS), "SIGKILL"),
    ),
    "The end": (
        ("time after the signal in which `/ready` answers 503", seconds(server_process.NOTICE_SECONDS), ""),
        (
            "decisions in progress, from the signal on",
            "`KMESH_AWSIAM_DECISION_TIMEOUT` in whole seconds, and 1 s",
            "open connections have the same time again, then they are closed",
        ),
    ),
    "The controller": (
        (
            "a call to ECS or Secrets Manager",
            f"{seconds(aws_calls.CONNECT_SECONDS)} to connect, {seconds(aws_calls.READ_SECONDS)} without an answer, {aws_calls.ATTEMPTS} attempts, {seconds(aws_calls.CALL_SECONDS)} in all",
            "`timeout`",
        ),
        ("calls to them at the same time", count(aws_calls.MAX_AWS_CALLS), "the others wait"),
        (
            "secrets that are handled at the same time",
            f"{count(passes.MAX_SECRETS_IN_HAND)}, and {count(passes.MAX_LEFT_IN_HAND)} with those of earlier passes",
            "the others wait, those of pending tasks first",
        ),
        (
            "a call to the control plane",
            f"{seconds(control_plane.API_CONNECT_SECONDS)} to connect, {seconds(control_plane.API_CALL_SECONDS)} in all",
            "`timeout`",
        ),
        ("calls to it at the same time", count(control_plane.MAX_API_CALLS), "the others wait"),
        ("a call to IAM for a role", seconds(role_identities.ROLE_CALL_SECONDS), "`unavailable`"),
        (
            "calls for task definitions and roles in one pass",
            count(role_identities.MAX_ROLE_CALLS_OF_A_PASS),
            "the other roles are read in the next pass, those of pending tasks first",
        ),
        (
            "task definitions and roles that are cached",
            f"{count(role_identities.MAX_DEFINITIONS)} and {count(role_identities.MAX_ROLE_ANSWERS)}",
            "the least recently used one is read again",
        ),
        (
            "task definitions and roles that could not be read",
            count(role_identities.MAX_FAILED),
            "the least recently used one is asked about without a pause",
        ),
        (
            "pause of a party that fails, and of a task definition or role that cannot be read",
            f"{seconds(pauses.FIRST_PAUSE_SECONDS)}, doubled up to {seconds(pauses.LAST_PAUSE_SECONDS)}; a random part of up to half is taken off",
            "",
        ),
        ("time between two puts of a secret, at least", seconds(plan.PUT_PAUSE_SECONDS), "`put_recently`"),
        ("time until a secret with a usable token is read again", seconds(plan.REREAD_SECONDS), ""),
        ("time until a running task is described again", seconds(ecs.REDESCRIBE_SECONDS), ""),
        ("part of a token's life that is left when it is replaced", percent(held_token.RENEW_AT_SHARE), ""),
        ("value of a secret", kib(controller_secret.MAX_SECRET_BYTES), "`secret_malformed`"),
        ("a token in a secret", kib(held_token.MAX_HELD_TOKEN_CHARS), "`token_unreadable`"),
        (
            "`--valid-for`",
            f"{seconds(controller_options.MIN_VALIDITY.total_seconds())} to {controller_options.MAX_VALIDITY.days} days",
            "usage error (2)",
        ),
        (
            "`--interval`",
            f"{seconds(controller_options.MIN_INTERVAL.total_seconds())} to {seconds(controller_options.MAX_INTERVAL.total_seconds())}; up to {percent(controller_process.JITTER_SHARE)} shorter by chance",
            "usage error (2)",
        ),
        (
            "answer of the metadata endpoint",
            f"{kib(ecs_metadata.MAX_METADATA_BYTES)}, {seconds(ecs_metadata.METADATA_SECONDS)}",
            "usage error (2)",
        ),
        (
            "time for the puts that have begun, after the signal",
            seconds(controller_process.STOP_SECONDS),
            "the process ends",
        ),
        (
            "time without the end of a pass",
            f"{seconds(diagnostics.MAX_SILENT_SECONDS)}, or {diagnostics.SILENT_INTERVALS} intervals if that is longer",
            "`/healthy` answers 503",
        ),
        ("probes at the same time", count(diagnostics.MAX_PROBES), "the connection is closed"),
        (
            "a probe's request, which is read at once",
            f"{kib(diagnostics.MAX_REQUEST_BYTES)}, {seconds(diagnostics.REQUEST_SECONDS)}",
            "the connection is closed",
        ),
        (
            "time until a lasting fault is logged again",
            seconds(controller_report.REPEAT_SECONDS),
            f"beyond {count(controller_report.MAX_REPORTED)} faults, earlier",
        ),
    ),
}
