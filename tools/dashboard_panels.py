"""The rows and panels of the Grafana dashboard, with their queries (`tools.dashboard` writes the file)."""

from dataclasses import dataclass
from typing import Final, Literal

# Every query is limited to the instances that the reader has chosen. Grafana replaces the variables.
_ALL: Final = 'job=~"$job",instance=~"$instance"'
_RATE: Final = "[$__rate_interval]"
_OBJECTIVE: Final = 0.999


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel.

    Attributes:
        expr: PromQL.
        legend: the name of each series, in Grafana's template language.
        exemplars: whether to show the exemplars of the series.
    """

    expr: str
    legend: str = "__auto"
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: the heading.
        queries: the expressions.
        unit: Grafana's name of the unit.
        type: ``timeseries`` over time, or ``stat`` for the last value.
        width: in columns, of which a row has 24.
        text: what a reader should know beyond the meaning of the metrics.
        steps: the colours of values from a threshold on; the first has no threshold.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    type: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    text: str = ""
    steps: tuple[tuple[str, float | None], ...] = (("green", None),)


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


def _metric(name: str, *matchers: str) -> str:
    return f"kuma_aws_iam_{name}{{{','.join((_ALL, *matchers))}}}"


def _rate(by: str, name: str, *matchers: str) -> str:
    return f"sum by ({by}) (rate({_metric(name, *matchers)}{_RATE}))"


def _quantile(part: float, by: str, name: str, *matchers: str) -> str:
    by = f"{by}, le" if by else "le"
    return f"histogram_quantile({part}, {_rate(by, f'{name}_bucket', *matchers)})"


def _recorded(name: str) -> str:
    return f'job:kuma_aws_iam_{name}{{job=~"$job"}}'


def _part_of_month(numerator: str, denominator: str) -> str:
    return f"sum(sum_over_time({_recorded(numerator)}[30d])) / sum(sum_over_time({_recorded(denominator)}[30d]))"


_NOT_GOOD: Final = _part_of_month("valid_decisions_not_good:rate5m", "valid_decisions:rate5m")
_BAD_BELOW: Final = (("red", None), ("orange", 0.0), ("green", 0.25))
_BAD_ABOVE_ZERO: Final = (("green", None), ("red", 1.0))

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "Objective: 99.9 % of valid proxies are decided within 1 s",
        (
            Panel(
                "Decided within 1 s, 30 days",
                (Query(f"1 - {_NOT_GOOD}"),),
                unit="percentunit",
                type="stat",
                width=4,
                text="From the recording rules of config/prometheus/alerts.yaml.",
                steps=(("red", None), ("green", _OBJECTIVE)),
            ),
            Panel(
                "Error budget that is left",
                (Query(f"1 - ({_NOT_GOOD}) / {round(1 - _OBJECTIVE, 6)}"),),
                unit="percentunit",
                type="stat",
                width=4,
                text="Of 30 days. Below zero the objective is missed.",
                steps=_BAD_BELOW,
            ),
            Panel(
                "Valid proxies that are not decided within 1 s",
                tuple(
                    Query(f"max({_recorded(f'valid_decisions_not_good:ratio_rate{window}')})", window)
                    for window in ("5m", "30m", "1h", "6h", "3d")
                ),
                unit="percentunit",
                width=16,
                text="The alerts fire at 0.1 % over 3 days, 0.6 % over 6 hours and 1.44 % over 1 hour.",
            ),
        ),
    ),
    Row(
        "Decisions",
        (
            Panel("Decisions by outcome", (Query(_rate("outcome", "decision_seconds_count"), "{{outcome}}"),), "reqps"),
            Panel(
                "Refusals by reason",
                (Query(_rate("outcome, reason", "refusals_total"), "{{outcome}} {{reason}}"),),
                "reqps",
            ),
            Panel(
                "Approvals by proxy type and form",
                (Query(_rate("proxy_type, form", "decisions_total", 'outcome="allowed"'), "{{proxy_type}} {{form}}"),),
                "reqps",
            ),
            Panel(
                "Time of approvals",
                tuple(
                    Query(_quantile(part, "", "decision_seconds", 'outcome="allowed"'), f"{part:.0%}", exemplars=True)
                    for part in (0.5, 0.9, 0.99)
                ),
                "s",
                text="An exemplar is the request id of a slow approval. The audit line with this id says what took time.",
            ),
            Panel(
                "Time of refusals, 99 %",
                (
                    Query(
                        _quantile(0.99, "outcome", "decision_seconds", 'outcome!="allowed"'),
                        "{{outcome}}",
                        exemplars=True,
                    ),
                ),
                "s",
            ),
            Panel(
                "In progress",
                (Query(_metric("in_flight_decisions"), "{{instance}}"),),
            ),
        ),
    ),
    Row(
        "STS and IAM",
        (
            Panel(
                "Calls by result",
                (Query(_rate("upstream, outcome", "upstream_calls_total"), "{{upstream}} {{outcome}}"),),
                "reqps",
            ),
            Panel(
                "Calls by region",
                (Query(_rate("upstream, region", "upstream_calls_total"), "{{upstream}} {{region}}"),),
                "reqps",
            ),
            Panel(
                "Time of calls",
                tuple(
                    Query(_quantile(part, "upstream", "upstream_call_seconds"), f"{{{{upstream}}}} {part:.0%}")
                    for part in (0.5, 0.99)
                ),
                "s",
            ),
            Panel("Throttled", (Query(_rate("upstream", "upstream_throttles_total"), "{{upstream}}"),), "reqps"),
            Panel(
                "Own AWS credentials",
                (
                    Query(_metric("own_credentials_usable"), "{{instance}} usable"),
                    Query(_rate("fault", "own_credentials_failures_total"), "{{fault}}"),
                ),
            ),
            Panel("Waiting calls", (Query(f"sum by (upstream) ({_metric('waiting_calls')})", "{{upstream}}"),)),
            Panel("Open circuit breakers", (Query(f"sum by (upstream) ({_metric('open_circuits')})", "{{upstream}}"),)),
        ),
    ),
    Row(
        "Caches and the shared store",
        (
            Panel(
                "Hit rate",
                (
                    Query(
                        _rate("cache", "cache_requests_total", 'result=~"hit|coalesced|shared|stale"')
                        + " / "
                        + _rate("cache", "cache_requests_total"),
                        "{{cache}}",
                    ),
                ),
                "percentunit",
                text="Look-ups that needed no call to AWS of their own.",
            ),
            Panel(
                "Look-ups", (Query(_rate("cache, result", "cache_requests_total"), "{{cache}} {{result}}"),), "reqps"
            ),
            Panel("Entries", (Query(_metric("cache_entries"), "{{instance}} {{cache}}"),)),
            Panel(
                "Store",
                (Query(_rate("operation, result", "store_requests_total"), "{{operation}} {{result}}"),),
                "reqps",
                width=24,
            ),
        ),
    ),
    Row(
        "Tokens, keys and certificates",
        (
            Panel("Tokens", (Query(_rate("kind, origin", "tokens_issued_total"), "{{kind}} {{origin}}"),), "reqps"),
            Panel("Time to sign, 99 %", (Query(_quantile(0.99, "kind", "token_signing_seconds"), "{{kind}}"),), "s"),
            Panel(
                "Files that could not be reloaded",
                (
                    Query(
                        f"sum by (instance, what) (increase({_metric('reload_failures_total')}[10m]))",
                        "{{instance}} {{what}}",
                    ),
                ),
            ),
            Panel(
                "Certificate expires in",
                (
                    Query(
                        f"{_metric('tls_certificate_not_after_timestamp_seconds')} - time()",
                        "{{instance}} {{certificate}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Life of the certificate that is left",
                (
                    Query(
                        f"({_metric('tls_certificate_not_after_timestamp_seconds')} - time())"
                        f" / ({_metric('tls_certificate_not_after_timestamp_seconds')}"
                        f" - {_metric('tls_certificate_not_before_timestamp_seconds')})",
                        "{{instance}} {{certificate}}",
                    ),
                ),
                "percentunit",
            ),
            Panel(
                "Age of the signing keys' files",
                (
                    Query(
                        f"max by (kind, kid) (time() - {_metric('signing_key_changed_timestamp_seconds')})",
                        "{{kind}} {{kid}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Decisions, and what the report-only policy would decide",
                (
                    Query(
                        _rate("outcome, candidate", "candidate_decisions_total"),
                        "{{outcome}}, would be {{candidate}}",
                    ),
                ),
                "reqps",
            ),
        ),
    ),
    Row(
        "Callers and clocks",
        (
            Panel("Unknown callers", (Query(_rate("check", "unknown_callers_total"), "{{check}}"),), "reqps"),
            Panel(
                "Clocks of signers",
                tuple(
                    Query(_quantile(part, "", "client_clock_skew_seconds"), f"{part:.0%}") for part in (0.01, 0.5, 0.99)
                ),
                "s",
                text="Below zero is normal: a signature is some seconds or minutes old when it is presented.",
            ),
            Panel("Audit lines lost", (Query(_rate("instance", "audit_lines_lost_total"), "{{instance}}"),), "reqps"),
        ),
    ),
    Row(
        "Instances",
        (
            Panel(
                "Ready", (Query(_metric("ready"), "{{instance}}"),), type="stat", steps=(("red", None), ("green", 1.0))
            ),
            Panel(
                "Version",
                (Query(f"count by (version, python) ({_metric('build_info')})", "{{version}}, Python {{python}}"),),
                type="stat",
            ),
            Panel(
                "Runs for",
                (Query(f"time() - {_metric('process_start_time_seconds')}", "{{instance}}"),),
                "s",
                type="stat",
            ),
            Panel("CPU", (Query(_rate("instance", "process_cpu_seconds_total"), "{{instance}}"),), "percentunit"),
            Panel(
                "Memory",
                (
                    Query(_metric("process_resident_memory_bytes"), "{{instance}}"),
                    Query(_metric("process_virtual_memory_bytes"), "{{instance}} address space"),
                ),
                "bytes",
            ),
            Panel(
                "Open files and connections",
                (Query(f"{_metric('process_open_fds')} / {_metric('process_max_fds')}", "{{instance}}"),),
                "percentunit",
            ),
        ),
    ),
)
