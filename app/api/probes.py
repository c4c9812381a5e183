"""``/healthy``, ``/ready`` and ``/metrics``, with the names of Kuma's own probes. They expose only status."""

from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from app.api.answer import to_response
from app.api.authenticate import request_id_of
from app.api.metrics_page import DEFAULT_LIMITS, MetricsPage, ScrapeLimits
from app.api.problems import MEDIA_TYPE, reason_answer
from app.api.schemas import Problem
from app.core.reasons import Reason
from app.telemetry.exposition import Exposition, choose_exposition
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness


class Health(BaseModel):
    """The process answers requests."""

    status: Literal["healthy"] = "healthy"


class ReadyAnswer(BaseModel):
    """Whether new calls should be sent here."""

    ready: bool
    detail: str = Field(description="What is, in a sentence, and what to do about it.")
    withoutTls: list[Literal["sts", "iam"]] = Field(  # noqa: N815
        description="Upstreams that are reached without TLS, on loopback. This is only for emulators: the service takes "
        "whatever listens there for AWS. It never changes the status."
    )
    upstreams: dict[Literal["sts", "iam"], str] = Field(
        description="Outcome of the last call to each: ok, a reason, or none yet. It never changes the status."
    )
    ownCredentials: Literal["ok", "own_credentials_unavailable", "none"] = Field(  # noqa: N815
        description="Whether the service's own AWS credentials can be used, as far as is known; none before the first "
        "search. Once they were found, it never changes the status."
    )
    causes: dict[Literal["sts", "iam", "own_credentials"], str] = Field(
        description="Why the last call to an upstream decided nothing, or why the own credentials cannot be used: what is "
        "wrong, and what to do about it."
    )


def add_probes(
    app: FastAPI, metrics: Metrics, readiness: Readiness, scrape_limits: ScrapeLimits = DEFAULT_LIMITS
) -> None:
    """Add the three routes to an application."""
    router = APIRouter(tags=["diagnostics"])

    @router.get("/healthy", summary="Does the process serve?")
    async def healthy() -> Health:
        return Health()

    @router.get(
        "/ready",
        summary="Should calls be sent here?",
        responses={503: {"model": ReadyAnswer, "description": "Not yet, or not any more."}},
    )
    async def ready(response: Response) -> ReadyAnswer:
        response.headers["Cache-Control"] = "no-store"
        response.status_code = 200 if readiness.ready else 503
        return ReadyAnswer(
            ready=readiness.ready,
            detail=readiness.explain(),
            withoutTls=list(readiness.without_tls),
            upstreams=metrics.last_outcomes(),
            ownCredentials=metrics.states.own_credentials,
            causes=dict(metrics.states.causes),
        )

    def render(exposition: Exposition) -> bytes:
        metrics.ready.set(readiness.ready)
        return metrics.expose(exposition)

    page = MetricsPage(render, scrape_limits)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus; in OpenMetrics, with exemplars, if `Accept` asks for it",
        response_class=Response,
        responses={
            503: {
                "description": f"`{Reason.OVERLOADED}`: too many scrapers wait already.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
            }
        },
    )
    async def expose(request: Request) -> Response:
        exposition = choose_exposition(", ".join(request.headers.getlist("accept")))
        exposed = await page.read(exposition)
        if exposed is None:
            answer = reason_answer(Reason.OVERLOADED, request_id_of(request.headers.raw))
            return to_response(answer._replace(extra_headers=(*answer.extra_headers, (b"connection", b"close"))))
        return Response(exposed, media_type=exposition.value, headers={"Vary": "Accept"})

    app.include_router(router)
