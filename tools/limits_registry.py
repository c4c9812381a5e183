"""Every bound of the service and of the agent, by the sections of docs/reference/limits.md.

``make docs`` writes the tables of that page from here. A row takes its numbers from the constants themselves, which live
beside their one use. A bound without a constant, such as one of a grammar, is text. The tests find constants that are named
like a bound and are missing here.
"""

from datetime import timedelta
from typing import Final

import annotated_types

from app.agent import dataplane_file, renewal_thread, service_client
from app.agent import runner as agent_runner
from app.agent import schedule as agent_schedule
from app.api import authenticate, call_bounds, caller_guard, known_calls, metrics_page, schemas
from app.aws import exchange as aws_exchange
from app.aws import own_credentials
from app.calls import call_queue, outcomes, waiting_decisions, waiting_places
from app.calls import limits as call_limits
from app.core import credential, request_policy, role_tags, strict_json
from app.http import http1 as http_http1
from app.http import pool as http_pool
from app.http.network import NetworkOptions
from app.iam import calls as iam_calls
from app.iam import client as iam_client
from app.iam import own_account, prefetch, preparation, reader_roles, role_cache
from app.iam import upstream as iam_upstream
from app.limits import breaker, circuits, rate_limiter, ttl_cache
from app.local import caller_tokens, unix_socket
from app.server import bounded_reads, listener, protocol, sockets
from app.server import process as server_process
from app.settings import accounts as settings_accounts
from app.settings import watch as settings_watch
from app.settings.environment import Settings
from app.store import budget as store_budget
from app.store import keys as store_keys
from app.store import link as store_link
from app.store import port as store_port
from app.store import redis_connection, redis_store, replicas, sealing
from app.sts import allowance, known_credentials, known_keys
from app.sts import calls as sts_calls
from app.sts import signer as sts_signer
from app.sts import upstream as sts_upstream
from app.telemetry import audit as telemetry_audit
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
    """Write the variable of a time that can be set, its default, and the largest value that it takes."""
    found = Settings.model_fields[field]
    most = next(bound.le for bound in found.metadata if isinstance(bound, annotated_types.Le))
    return f"`{found.validation_alias}`, {seconds(found.default)}{since}, at most {most}"


def rate(field: str) -> str:
    """Write the variable of a number of calls in a second, and its default."""
    found = Settings.model_fields[field]
    return f"`{found.validation_alias}`, {found.default} in a second"


Row = tuple[str, str, str]
"""What is bounded, the bound, and what happens beyond it."""

LIMITS: Final[dict[str, tuple[Row, ...]]] = {
    "A call to the API": (
        (
            "request head: target and headers",
            kib(protocol.MAX_HEAD_BYTES),
            "400 in plain text, and the connection is closed",
        ),
        ("number of headers", count(protocol.MAX_HEADERS), "the same"),
        (
            "time for a head, or until the first one of a connection",
            seconds(protocol.HEAD_TIMEOUT_SECONDS),
            "the connection is closed",
        ),
        ("trailers behind a body", "none", "dropped"),
        (
            "what a body has around it, trailers included",
            kib(protocol.MAX_AROUND_BODY_BYTES),
            "400 in plain text, and the connection is closed",
        ),
        ("requests of a connection that wait for an earlier one", count(protocol.MAX_PIPELINED), "the same"),
        (
            "one read of a connection",
            kib(bounded_reads.MAX_READ_BYTES),
            "the rest stays with the kernel; while a request waits for an earlier one, nothing is read",
        ),
        ("body", kib(authenticate.MAX_BODY_BYTES), "413 `request_too_large`, and the connection is closed"),
        (
            "members of the body, and of `proxy`",
            count(call_bounds.MAX_MEMBERS),
            "400 `malformed_request`, which names the first field at fault, and the connection is closed",
        ),
        ("tags", count(call_bounds.MAX_TAGS), "the same"),
        ("values of a tag", count(call_bounds.MAX_VALUES_OF_A_TAG), "the same"),
        ("labels", count(call_bounds.MAX_LABELS), "the same"),
        ("objects and lists in a body", count(call_bounds.MAX_CONTAINERS), "the same"),
        (
            "values in a body that is read a second time, since it holds half of a surrogate pair",
            count(call_bounds.MAX_VALUES_READ_TWICE),
            "the same",
        ),
        ("nesting of the body's JSON", f"{strict_json.MAX_NESTING} levels", "400 `malformed_request`"),
        (
            "time for the body",
            seconds(call_bounds.BODY_TIMEOUT_SECONDS),
            "400 `malformed_request`, and the connection is closed",
        ),
        (
            "decisions under way, from the end of the body to the answer",
            count(authenticate.MAX_DECISIONS),
            "503 `overloaded`, and the connection is closed. Known credentials and tokens of this service are still decided, since they need no call to AWS",
        ),
        (
            "decisions that wait for AWS",
            f"{count(waiting_places.MAX_WAITING)}, and for each account twice as many as are free",
            "503 `overloaded` with the time until a turn is expected; a remembered role is used beyond its TTL. The call itself stays queued",
        ),
        (
            "those of keys that STS has not vouched for",
            f"{count(waiting_places.MAX_WAITING_NEW)} of them, and for each account twice as many as are free",
            "the same",
        ),
        (
            "connections, and calls whose body is on its way",
            f"{count(listener.MAX_CONNECTIONS)}, or what the open files allow",
            "the service closes an idle connection for each new one; if none is idle, the new one waits to be accepted",
        ),
        (
            "connections to the listener of the diagnostics",
            f"{count(server_process.MAX_DIAGNOSTICS)}, or a part of the bound above if that is less",
            "the same",
        ),
        (
            "connections to the listener of the diagnostics, as part of the bound above",
            percent(server_process.MAX_DIAGNOSTICS_SHARE),
            "the same",
        ),
        (
            "connections accepted in a row",
            count(listener.MAX_ACCEPTED_AT_ONCE),
            "existing connections have their turn first",
        ),
        (
            "open files that the service takes for itself",
            f"{count(listener.MAX_OPEN_FILES)}, or the hard limit if that is less",
            "",
        ),
        (
            "open files that are left for all but callers",
            f"{count(listener.MAX_RESERVED_FILES)}, or half of them if that is less",
            "fewer connections are accepted",
        ),
        (
            "pause in accepting, where no connection is idle or no open file is left",
            seconds(listener.PAUSE_SECONDS),
            "",
        ),
        (
            "log lines about pauses in accepting, and about connections that are closed for others",
            f"one in {seconds(listener.LOG_SECONDS)}",
            "",
        ),
        ("idle connection", seconds(server_process.KEEP_ALIVE_SECONDS), "closed"),
        ("connections waiting to be accepted", count(sockets.BACKLOG), "left to the kernel"),
        (
            "names (`mesh`, `name`, `zone`), tag and label values",
            "253 characters, none of them a control character",
            "400",
        ),
        ("tag and label keys", "317 characters, none of them a control character", "400"),
        ("entries of `listeners`", count(schemas.MAX_LISTENERS), "400"),
        (
            "renderings of `/metrics`",
            f"one in {seconds(metrics_page.PAUSE_SECONDS)}",
            "later requests wait for the next rendering",
        ),
        (
            "renderings of `/metrics` after a pause",
            count(metrics_page.RENDERINGS_AT_ONCE),
            "one that was saved up each second; the rest as above",
        ),
        (
            "scrapers that wait for a page of `/metrics`",
            count(metrics_page.MAX_SCRAPES),
            "503 `overloaded`, and the connection is closed",
        ),
        ("request id that is echoed", "128 characters of `A-Za-z0-9._-`", "another one is made"),
        ("a whole decision, waiting included", setting("decision_timeout"), "503 of the step that it waits for"),
    ),
    "A caller": (
        ("TLS handshake", seconds(server_process.HANDSHAKE_SECONDS), "the connection is closed"),
        (
            "TLS handshakes under way",
            count(server_process.MAX_HANDSHAKES),
            "the oldest ends; so it does where they are half of the connections that may stand, and no idle connection is closed for a handshake beyond that",
        ),
        (
            "receive buffer of a connection with TLS",
            f"{kib(server_process.MAX_TLS_RECEIVE_BYTES)}, which Linux doubles",
            "the rest stays with the client",
        ),
        (
            "the end of a TLS connection",
            f"{seconds(server_process.TLS_END_SECONDS)} for the client to agree",
            "it is closed nevertheless",
        ),
        ("caller tokens in the file", count(caller_tokens.MAX_TOKENS), "the start ends, or the file is not taken over"),
        ("length of a caller token, at least", characters(caller_tokens.MIN_TOKEN_LENGTH), "the same"),
        (
            "length of a caller token, at most",
            characters(caller_tokens.MAX_TOKEN_LENGTH),
            "the same; a call with a longer one is 401 `caller_not_authenticated`",
        ),
        ("log lines about unknown callers", f"one in {seconds(caller_guard.LOG_SECONDS)}", "counted in the next line"),
        ("Unix socket", "`KMESH_AWSIAM_SOCKET_MODE`, mode 0660", "the kernel refuses to connect"),
        (
            "asking whether an old Unix socket is still served",
            seconds(unix_socket.PROBE_SECONDS),
            "the start ends, and the socket is left alone",
        ),
    ),
    "A credential": (
        ("length", kib(credential.MAX_CREDENTIAL_CHARS), "`credential_malformed`"),
        ("nesting of its JSON", f"{strict_json.MAX_NESTING} levels", "`credential_malformed`"),
        (
            "age",
            f"{minutes(request_policy.MAX_LIFETIME)}, and `X-Amz-Expires` (the EKS form excepted)",
            "`credential_expired`",
        ),
        ("date in the future", minutes(request_policy.MAX_FUTURE_SKEW), "`credential_not_yet_valid`"),
        ("`X-Amz-Expires`", f"1 to {seconds(sts_signer.MAX_EXPIRES)}", "`credential_malformed`"),
        ("session token", "8192 characters", "`credential_malformed`"),
        (
            "path and query as they are sent to STS",
            characters(request_policy.MAX_TARGET_CHARS),
            "`credential_malformed`",
        ),
        ("access key id", "16 to 128 characters", "`credential_malformed`"),
        ("header names", "64 characters", "`credential_malformed`"),
        ("audience (`KMESH_AWSIAM_AUDIENCE`)", "255 characters", "the start ends"),
    ),
    "A token": (
        ("validity", setting("token_validity"), "the start ends"),
        ("validity, at least", seconds(tokens_claims.MIN_VALIDITY_SECONDS), "the start ends"),
        ("life of a token that comes as a credential", seconds(tokens_claims.MAX_VALIDITY_SECONDS), "`token_rejected`"),
        ("`iat` and `nbf`, before its issue", seconds(tokens_claims.BACKDATED_SECONDS), ""),
        ("clocks of two replicas", seconds(tokens_codec.LEEWAY_SECONDS), "`credential_not_yet_valid`"),
        ("length", kib(tokens_codec.MAX_TOKEN_CHARS), "`token_rejected`"),
        ("an RSA key, at least", f"{key_files.MIN_KEY_BITS} bits", "the start ends, or the files are not taken over"),
        ("an RSA key, at most", f"{key_files.MAX_KEY_BITS} bits", "the same"),
        ("keys in a file", count(key_files.MAX_SIGNING_KEYS), "the same"),
        (
            "sessions whose tokens can be given again",
            f"{count(tokens_signer.MAX_REUSABLE_TOKENS)}, for half of a token's validity",
            "the least recently used goes, and another token is signed",
        ),
        ("tokens of one session that can be", count(tokens_signer.MAX_TOKENS_OF_A_SESSION), "its oldest goes"),
        (
            "threads that sign",
            f"{count(tokens_signer.MAX_SIGNING_THREADS)}, or one for each core if that is less",
            "a call waits, inside its deadline; then 503 `overloaded`",
        ),
        (
            "signatures under way",
            count(tokens_signer.MAX_SIGNATURES),
            "503 `overloaded`; a token that can be given again still is",
        ),
        ("signatures under way for one role", count(tokens_signer.MAX_SIGNATURES_OF_A_ROLE), "the same"),
    ),
    "A role's tags": (
        (
            "values of `kuma.io/mesh`, `kuma.io/service` and `kuma.io/zone`",
            characters(role_tags.MAX_VALUE_CHARS),
            "`role_tag_invalid`",
        ),
        ("value of `kuma.io/workload`", characters(role_tags.MAX_LABEL_CHARS), "`role_tag_invalid`"),
    ),
    "STS": (
        (
            "calls begun, for each account and region",
            rate("sts_rate"),
            "a call waits. A decision whose call has its turn after the decision's deadline is 503 `overloaded` at once, with the time until that turn in `Retry-After`",
        ),
        ("calls saved up in a pause, as time at the rate", seconds(sts_calls.STS_BURST_SECONDS), ""),
        ("calls in flight, for each account and region", count(sts_calls.STS_IN_FLIGHT), "a call waits"),
        ("those of keys that STS has not vouched for", count(sts_calls.STS_NEW_IN_FLIGHT), "the same"),
        ("calls in flight to one host", count(sts_calls.STS_HOST_IN_FLIGHT), "the same"),
        ("calls in flight in all", count(sts_calls.STS_TOTAL_IN_FLIGHT), "the same"),
        (
            "calls in flight in all, for keys that STS has not vouched for",
            count(sts_calls.STS_TOTAL_NEW_IN_FLIGHT),
            "the same",
        ),
        (
            "calls in flight to a host that has not answered yet, or whose last call failed",
            f"{count(circuits.UNPROVEN_IN_FLIGHT)}, which count against none of the limits above",
            "a further call waits for an answer to one of them",
        ),
        ("calls in flight to such hosts in all", count(sts_calls.STS_TOTAL_UNPROVEN_IN_FLIGHT), "the same"),
        (
            "waiting for a host whose first calls have no answer",
            f"until {seconds(sts_upstream.STS_SILENCE_SECONDS)} after the first of them began",
            "`sts_unavailable`; the calls stay queued",
        ),
        (
            "calls that wait, of keys that STS has vouched for",
            count(sts_calls.STS_QUEUED),
            "the account with the most waiting calls loses its last one to a call of another account. A call of that account itself is 503 `overloaded`, with the time until a place is expected",
        ),
        (
            "calls that wait, of all other keys",
            f"{count(sts_calls.STS_NEW_QUEUED)}, some 2.5 KB each with session tokens of 1,000 characters",
            "the same; calls that no decision waits for lose their places first",
        ),
        (
            "the same of one account, while STS rejects most of its new keys",
            f"{count(allowance.MIN_ALLOWED)}, and all such accounts together may add half of `KMESH_AWSIAM_STS_RATE`; the whole queue again when a quarter or more of them are real",
            "503 `overloaded`, by the key id in the text, before it is decoded",
        ),
        (
            "accounts with such a shorter queue",
            count(allowance.MAX_RESTRICTED),
            "the first one has the whole queue again",
        ),
        ("one call, with both attempts", seconds(sts_upstream.STS_CALL_SECONDS), "`sts_unavailable`"),
        (
            "accounts and regions with a budget of their own",
            count(call_limits.MAX_BUDGETS),
            "those that nobody uses are forgotten",
        ),
        (
            "keys that are known to be vouched for",
            count(known_keys.VOUCHED_KEYS),
            "the least recently used goes, and is one of the others",
        ),
        ("time that a key is known", hours(known_keys.VOUCHED_SECONDS), "it is one of the others"),
        ("rate that is left after a throttling answer", percent(rate_limiter.CUT_SHARE), "calls wait longer"),
        ("throttling answers that count as one", seconds(rate_limiter.SAME_SIGN_SECONDS), ""),
        ("rate that is left whatever AWS answers", percent(rate_limiter.LEAST_SHARE), ""),
        ("rate that comes back each second", f"{percent(rate_limiter.RECOVERY_A_SECOND)} of the whole", ""),
        ("`Retry-After` of a call that has to wait", f"{seconds(outcomes.MAX_RETRY_SECONDS)} at most", ""),
        (
            "spread of `Retry-After`, as part of it",
            f"{percent(outcomes.RETRY_SPREAD_SHARE)}, or one second if that is more",
            "",
        ),
        (
            "failures in a row that open the circuit of a host",
            count(sts_calls.STS_FAILURES),
            "`sts_unavailable` at once; the calls stay queued",
        ),
        (
            "pause between two probes of an open circuit",
            seconds(circuits.BREAKER_PAUSE_SECONDS),
            "a probe is a queued call; if it is answered, the others go out",
        ),
        (
            "time for the answer to a call that had to wait",
            seconds(call_queue.ANSWER_SECONDS),
            "a decision whose call has its turn later than that before its deadline is 503 `overloaded` at once",
        ),
        (
            "waiting decisions that are told in one turn of the event loop that they wait in vain",
            f"{count(waiting_decisions.TOLD_AT_ONCE)}, or as many as take half of the turn's time",
            "the others in the next turns",
        ),
        ("hosts whose failures are counted", count(call_limits.MAX_CIRCUITS), "those that nobody uses are forgotten"),
        (
            "connections that are kept, over all hosts",
            f"{count(http_pool.MAX_CONNECTIONS)}; those in use are bounded by the calls",
            "the longest unused one is closed",
        ),
        (
            "DNS, TCP and TLS",
            f"{seconds(_NETWORK.connect_timeout)}, or a quarter of the decision timeout if that is less",
            "a second try, else `sts_unavailable`",
        ),
        (
            "one attempt",
            f"{seconds(_NETWORK.total_timeout)}, or half of the decision timeout if that is less",
            "the same",
        ),
        ("attempts", f"{count(aws_exchange.ATTEMPTS)}, of the same bytes; not after throttling", "`sts_unavailable`"),
        ("answer", f"{kib(http_http1.MAX_REPLY_BYTES)}, not decompressed", "`sts_unavailable`"),
        ("answer, with its head and all that is around it", kib(http_http1.MAX_REPLY_WIRE_BYTES), "`sts_unavailable`"),
        ("unused connection", seconds(http_pool.IDLE_SECONDS), "closed"),
        ("remembered DNS answer", seconds(http_pool.DNS_SECONDS), "asked again"),
        ("remembered DNS answers", count(http_pool.MAX_NAMES), "the least recently used goes"),
    ),
    "IAM": (
        ("calls in flight, for each account", count(iam_calls.IAM_IN_FLIGHT), "a call waits"),
        ("calls in flight in all", count(iam_calls.IAM_TOTAL_IN_FLIGHT), "the same"),
        (
            "calls in flight to an account's IAM that has not answered yet, or whose last call failed",
            f"{count(circuits.UNPROVEN_IN_FLIGHT)}, which count against none of the limits above",
            "the same",
        ),
        ("calls in flight to such accounts in all", count(iam_calls.IAM_TOTAL_UNPROVEN_IN_FLIGHT), "the same"),
        ("one call, with both attempts", seconds(iam_upstream.IAM_CALL_SECONDS), "`iam_unavailable`"),
        (
            "calls begun, for each account",
            f"{rate('iam_rate')}; slower after throttling, as towards STS",
            "a call waits. A decision whose call has its turn after the decision's deadline takes the remembered role, or is 503 `overloaded` at once",
        ),
        ("calls saved up in a pause, for each account", count(iam_calls.IAM_BURST), ""),
        (
            "calls that wait",
            f"{count(iam_calls.IAM_QUEUED)} for roles that are read again, and as many for all other roles and pages",
            "as towards STS; a role that is remembered is used beyond its TTL",
        ),
        (
            "turns of roles that were not read before",
            "every second one, while others are to be read again; among them every second one for roles that were not found a while ago",
            "",
        ),
        (
            "a page of roles, read ahead",
            f"{count(iam_client.PAGE_ROLES)} roles, {mib(iam_client.MAX_PAGE_BYTES)}, {seconds(iam_client.PAGE_SECONDS)}; with its turn {seconds(iam_upstream.PAGE_SECONDS)}",
            "the roles are read one by one",
        ),
        (
            "pages of roles of one account, read ahead",
            f"{count(prefetch.MAX_PAGES)}, and none whose marker came before",
            "the same",
        ),
        (
            "accounts whose roles are read ahead at the same time",
            count(prefetch.ACCOUNTS_AT_ONCE),
            "one after the other",
        ),
        ("an account whose policy does not allow it", f"asked again after {seconds(prefetch.DENIED_SECONDS)}", ""),
        (
            "accounts whose failures are counted",
            count(call_limits.MAX_CIRCUITS),
            "those that nobody uses are forgotten",
        ),
        (
            "failures in a row that open the circuit of an account",
            count(iam_calls.IAM_FAILURES),
            "`iam_unavailable` at once, or the remembered role; the calls stay queued",
        ),
        ("pause between two probes of an open circuit", seconds(circuits.BREAKER_PAUSE_SECONDS), "as towards STS"),
        (
            "DNS, TCP and TLS",
            f"{seconds(_NETWORK.connect_timeout)}, or a quarter of the decision timeout if that is less",
            "a second try, else `iam_unavailable`",
        ),
        (
            "one attempt",
            f"{seconds(_NETWORK.total_timeout)} as a whole, or half of the decision timeout if that is less",
            "the same",
        ),
        (
            "attempts",
            f"{count(aws_exchange.ATTEMPTS)}, each signed anew; not after throttling or a refusal",
            "`iam_unavailable`",
        ),
        (
            "answer",
            f"{kib(iam_client.MAX_ANSWER_BYTES)}, not decompressed; four times as much with all that is around it",
            "`iam_unavailable`",
        ),
        (
            "sessions of reader roles",
            f"{count(reader_roles.MAX_SESSIONS)}, one for each account, until AWS's end of it",
            "the least recently used is assumed again",
        ),
        (
            "a session is renewed, after this part of its life",
            f"{percent(reader_roles.REFRESH_AFTER)}; it signs meanwhile",
            "",
        ),
        (
            "renewing a session that could not be renewed",
            f"once in {seconds(reader_roles.RENEW_PAUSE_SECONDS)}, to its end",
            "a line in the log; then the reason of AssumeRole",
        ),
        (
            "one AssumeRole",
            f"{seconds(reader_roles.ASSUME_SECONDS)} for all who wait for it, each no longer than its deadline",
            "`iam_unavailable`",
        ),
        (
            "one GetCallerIdentity of the service itself",
            f"{seconds(own_account.ASK_SECONDS)}, likewise",
            "`iam_unavailable`",
        ),
        (
            "threads",
            "1, in which the SDK finds and renews the service's own credentials",
            "the last ones sign to their end",
        ),
        (
            "waiting for the service's own credentials where there are none",
            seconds(own_credentials.FIND_SECONDS),
            "`iam_unavailable`",
        ),
        (
            "renewing the service's own credentials, or replacing those that AWS calls expired",
            f"once in {seconds(own_credentials.RENEW_PAUSE_SECONDS)}",
            "the last ones sign",
        ),
        ("one look for them", seconds(iam_client.OWN_SECONDS), "another one later"),
        (
            "looking for the service's own credentials and account",
            f"after {seconds(preparation.FIRST_RETRY_SECONDS)}, then less and less often",
            "not ready",
        ),
        ("the longest pause between two looks", seconds(preparation.LAST_RETRY_SECONDS), ""),
        (
            "asking STS anew for the service's own account, when IAM behaves as if it were another one",
            f"once in {seconds(own_account.DOUBT_SECONDS)}",
            "what is known stays",
        ),
    ),
    "Caches": (
        ("denials of STS", count(sts_upstream.MAX_DENIALS), "the least recently used goes"),
        (
            "time of a denial",
            f"{seconds(sts_upstream.DENIAL_SECONDS)}, for exactly this credential",
            "STS is asked again",
        ),
        ("different values of a tag that are looked at", count(schemas.MAX_VALUES), "the others are as one too many"),
        (
            "bodies that came before, of known credentials",
            count(known_calls.MAX_CALLS),
            "the least recently used is read anew",
        ),
        ("different sets of tags and of labels that these share", count(known_calls.MAX_SHARED), "all are kept anew"),
        ("characters of the claim in such a body", count(known_calls.MAX_KEPT_CHARACTERS), "it is read anew each time"),
        (
            "texts of credentials that were approved",
            f"{count(known_credentials.MAX_KNOWN)}, until the end of the signature's life",
            "the least recently used goes, and is judged anew",
        ),
        (
            "texts of credentials that STS vouched for, and that were not approved",
            f"{count(known_credentials.MAX_UNAPPROVED)}, likewise",
            "the same",
        ),
        ("those of one account", count(known_credentials.MAX_UNAPPROVED_OF_ACCOUNT), "the same"),
        (
            "entries looked at for expired ones, when one is full",
            count(ttl_cache.LOOK_AT),
            "the least recently used goes",
        ),
        (
            "a role in use is read again, after this part of its time",
            f"{percent(role_cache.REFRESH_AFTER)} of `KMESH_AWSIAM_ROLE_TTL`",
            "",
        ),
        ("pause until a refresh is tried again, as part of its time", percent(role_cache.REFRESH_PAUSE), ""),
        ("roles", f"{count(role_cache.MAX_ROLES)}, for {setting('role_ttl')}", "the least recently used goes"),
        (
            "roles while IAM cannot be asked",
            setting("role_max_stale", since=" since IAM answered"),
            "`iam_unavailable`",
        ),
        (
            "verified identities of accounts that are not listed, or of no role",
            f"{count(sts_upstream.MAX_STRANGERS)}, until the end of the signature's life",
            "the least recently used goes",
        ),
        ("roles that were not found", count(role_cache.MAX_MISSING_ROLES), "the least recently used goes"),
        ("time of a role that was not found", seconds(role_cache.NOT_FOUND_SECONDS), "IAM is asked again"),
        ("time that such a role waits behind roles that were never asked for", seconds(role_cache.MISSING_SECONDS), ""),
        ("roles that may not be read", count(role_cache.MAX_DENIED_ROLES), "the least recently used goes"),
        ("time of a role that may not be read", seconds(role_cache.ACCESS_DENIED_SECONDS), "IAM is asked again"),
        ("roles that are not the caller's", count(role_cache.MAX_MISMATCHED_ROLES), "the least recently used goes"),
        (
            "time of a role that is not the caller's",
            f"{seconds(role_cache.MISMATCH_SECONDS)}, or `KMESH_AWSIAM_ROLE_TTL` if that is less",
            "IAM is asked again",
        ),
    ),
    "The shared store": (
        ("a replica's claim of a call", seconds(replicas.CLAIM_SECONDS), "another replica asks AWS as well"),
        (
            "all waiting of one call to STS for other replicas and for the shared budget",
            f"{seconds(replicas.STS_PATIENCE_SECONDS)}, including the time that the store takes to answer",
            "the replica asks AWS itself, at its own rate",
        ),
        (
            "all waiting of one call to IAM for other replicas and for the shared budget",
            f"{seconds(replicas.IAM_PATIENCE_SECONDS)}, likewise",
            "the same",
        ),
        (
            "time that a shared budget that uses up this time is not asked",
            seconds(replicas.DISBELIEVED_SECONDS),
            "the replica's own rate counts",
        ),
        ("keys in the file", count(store_keys.MAX_STORE_KEYS), "the start ends, or the file is not taken over"),
        ("different bytes in a key, at least", count(store_keys.MIN_DIFFERENT_BYTES), "the same: it is not random"),
        (
            "life of an identity's record",
            f"{seconds(sealing.MAX_IDENTITY_SECONDS)}: 15 minutes, from a date that may be 5 minutes ahead",
            "not stored, or not believed",
        ),
        (
            "life of a role's record",
            "the larger of `KMESH_AWSIAM_ROLE_TTL` and `KMESH_AWSIAM_ROLE_MAX_STALE`",
            "the same",
        ),
        (
            "difference between the clocks of two replicas",
            seconds(sealing.MAX_SKEW_SECONDS),
            "the records of one are not believed by the other",
        ),
        ("a record", kib(redis_store.MAX_RECORD_BYTES), "not stored; no more is read"),
        ("connections of a process", "1, kept up in the background", ""),
        ("connecting, TLS and log-in", seconds(store_link.CONNECT_SECONDS), "tried again"),
        ("pause before it is tried again", seconds(store_link.RETRY_SECONDS), ""),
        ("failures in a row, until the store is left alone", count(breaker.BREAKER_FAILURES), "nothing is shared"),
        ("pause before one try is let through", seconds(breaker.BREAKER_PAUSE_SECONDS), "if it fails, another pause"),
        (
            "an answer",
            f"{seconds(store_port.ANSWER_SECONDS)}, in which the service itself was not busy",
            "the connection is closed; nobody waits for the next one",
        ),
        ("requests that wait to be sent", count(store_link.MAX_WAITING), "not sent"),
        ("requests that are sent together", count(store_link.MAX_TOGETHER), "the next ones wait for their answers"),
        ("unused connection", seconds(store_link.IDLE_SECONDS), "the store is asked whether it is there"),
        ("waiting for a turn in a shared budget", seconds(store_budget.MAX_WAIT_SECONDS), "the turn is not kept"),
        ("waiting for the store at the start", seconds(redis_store.START_SECONDS), "the service starts without it"),
        (
            "log lines about records that are not believed",
            f"one in {seconds(redis_store.LOG_SECONDS)}",
            "counted in the next line",
        ),
        ("what is said of a failed connection", characters(redis_connection.MAX_TEXT), "cut"),
    ),
    "Files": (
        (
            "looking for changed certificates, caller tokens and accounts",
            f"{seconds(settings_watch.INTERVAL_SECONDS)}; keys of the store, and keys that sign, too",
            "",
        ),
        (
            "a look at files that does not come to its end, as on a file system that hangs",
            seconds(settings_watch.SILENT_SECONDS),
            "they count as bad",
        ),
        (
            "the last good list of accounts, while its file is bad",
            seconds(settings_accounts.MAX_STALE_SECONDS),
            "503 `accounts_unavailable`",
        ),
    ),
    "The audit line": (
        ("a text of the proxy's claim", characters(telemetry_audit.MAX_TEXT), "cut"),
        ("services of the claim", count(telemetry_audit.MAX_SERVICES), "left out"),
        ("AWS's STS request id", "128 characters", "cut"),
    ),
    "The agent": (
        ("`--dataplane-file`", kib(dataplane_file.MAX_RESOURCE_BYTES), "usage error (2)"),
        ("nesting of `--dataplane-file`", f"{strict_json.MAX_NESTING} levels", "the same"),
        ("answer of the service", kib(service_client.MAX_ANSWER_BYTES), "`unexpected_answer`"),
        ("connecting to it, TLS included", seconds(service_client.CONNECT_SECONDS), "`service_unreachable`"),
        ("a call as a whole", f"{seconds(service_client.TIMEOUT_SECONDS)}, above its own longest deadline", "the same"),
        (
            "first pause after a failure",
            f"{seconds(agent_schedule.FIRST_PAUSE_SECONDS)}, or down to half of it",
            "it doubles",
        ),
        ("the longest pause", f"{seconds(agent_schedule.LAST_PAUSE_SECONDS)}, or down to half of it", ""),
        ("`Retry-After` that is heeded", f"{seconds(agent_schedule.MAX_RETRY_AFTER_SECONDS)} at most", ""),
        ("a credential is renewed after this part of its life", percent(agent_schedule.CREDENTIAL_SHARE), ""),
        ("a token is renewed after this part of its life", percent(agent_schedule.TOKEN_SHARE), ""),
        ("earlier by chance, as part of that time", percent(agent_schedule.JITTER_SHARE), ""),
        (
            "between two renewals, at least",
            f"{seconds(agent_schedule.MIN_RENEWAL_SECONDS)}, however little is left of what was got",
            "",
        ),
        ("what is left of a file that is healthy", seconds(agent_schedule.NEAR_END_SECONDS), "the health check fails"),
        (
            "what is left of a file that is healthy, as part of its life",
            f"{percent(agent_schedule.NEAR_END_SHARE)}, where that is less: of what lives under 12 minutes",
            "the same",
        ),
        (
            "time until a clock that was set is noticed",
            f"{seconds(renewal_thread.LOOK_AGAIN_SECONDS)}; one that was set back by 300 s or less is not, and no wait gets longer by it",
            "renewed at once",
        ),
        ("time for a proxy to end, when the agent gives up", seconds(agent_runner.END_SECONDS), "SIGKILL"),
    ),
    "The end": (
        ("notice after the signal, in which `/ready` says 503", seconds(server_process.NOTICE_SECONDS), ""),
        (
            "decisions under way, from the signal on",
            "`KMESH_AWSIAM_DECISION_TIMEOUT` in whole seconds, and 1 s",
            "connections that are still open have as long again, then they are cut",
        ),
    ),
}
