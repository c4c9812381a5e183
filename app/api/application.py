"""The ASGI applications: FastAPI with its OpenAPI description, and the hot path in front of it."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api.answer import to_response
from app.api.authenticate import PATH, AuthenticateEndpoint, request_id_of
from app.api.decisions_page import DecisionsPage, add_decisions_page
from app.api.metrics_page import DEFAULT_LIMITS, ScrapeLimits
from app.api.probes import add_probes
from app.api.problems import MEDIA_TYPE, reason_answer
from app.api.schemas import AuthenticateAnswer, AuthenticateCall, Problem, TokenAnswer
from app.api.tokens import EXT_AUTHZ_PREFIX, TOKEN_PATH, TokenWays, is_ext_authz
from app.core.audience_hint import AUDIENCE_HINT_HEADER
from app.core.reasons import EXPLANATIONS, Reason
from app.local.caller_tokens import OWN_HEADER
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness

_DESCRIPTION: Final = (
    "A signed `sts:GetCallerIdentity` request in, an authorized Kuma proxy identity out. 401 and 403 are decisions; 503 "
    "says that none could be taken, and 500 is a bug: treat both as undecided."
)
_REF: Final = "#/components/schemas/{model}"
_NOT_FOUND: Final = 404
_UNAUTHORIZED: Final = 401
_CALLER_TOKEN: Final = "callerToken"  # noqa: S105 - a scheme's name
_OWN_HEADER: Final = "callerTokenHeader"
_CREDENTIAL: Final = "credential"

# The bare-ASGI endpoints read the body, so FastAPI does not see it.
_HINT: Final[dict[str, Any]] = {
    "name": AUDIENCE_HINT_HEADER,
    "in": "header",
    "description": "The audience that the credential was signed for, if the caller knows it. It is read only after STS has "
    "rejected the credential, and can change `sts_rejected` to `audience_mismatch`. An invalid value is ignored.",
    "schema": {"type": "string"},
}
_CALL: Final[dict[str, Any]] = {
    "parameters": [_HINT],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model=AuthenticateCall.__name__)}}},
    },
}

Guard = Callable[[ASGIApp], ASGIApp]


class HotPath:
    """Answers the hot paths itself, and passes all other requests to FastAPI."""

    def __init__(self, app: ASGIApp, endpoint: AuthenticateEndpoint, ways: TokenWays | None = None) -> None:
        self._app = app
        self._endpoint = endpoint
        self._ways = ways

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route by the exact path."""
        path = scope["path"] if scope["type"] == "http" else ""
        way = None if self._ways is None or path == PATH else self._ways.of(path)
        if path == PATH or way is not None:
            await (await self._endpoint.answer(scope, receive, way)).send(send)
        else:
            await self._app(scope, receive, send)


def build_api(  # noqa: PLR0913 - one parameter a part
    endpoint: AuthenticateEndpoint,
    metrics: Metrics,
    readiness: Readiness,
    *,
    with_probes: bool,
    guard: Guard | None = None,
    ways: TokenWays | None = None,
    scrape_limits: ScrapeLimits = DEFAULT_LIMITS,
    trace: Guard | None = None,
) -> ASGIApp:
    """Build the application of the API's listener.

    The application serves the probes, unless the probes have a listener of their own. It issues tokens if signing keys
    are configured. If a guard is given, only callers with an accepted token reach the application, and ``trace``, which
    records the calls that are decided.
    """
    app = _new_app("kuma-aws-iam", needs_token=guard is not None)

    @app.post(
        PATH,
        summary="Decide about one credential and its proxy",
        tags=["decisions"],
        response_model=AuthenticateAnswer,
        responses=_problem_responses(),
        openapi_extra=_CALL,
    )
    async def authenticate(request: Request) -> Response:
        # The hot path answers before this route is reached. The route exists for the OpenAPI description, and gives the
        # same answer.
        return to_response(await endpoint.answer(request.scope, request.receive))

    if with_probes:
        add_probes(app, metrics, readiness, scrape_limits)
    if ways is not None:
        _add_tokens(app, endpoint, ways)
    api: ASGIApp = HotPath(app, endpoint, ways)
    if trace is not None:
        api = trace(api)
    return api if guard is None else guard(api)


def _add_tokens(app: FastAPI, endpoint: AuthenticateEndpoint, ways: TokenWays) -> None:
    """Describe the two paths that issue tokens. The hot path answers before these routes are reached."""

    @app.post(
        TOKEN_PATH,
        summary="Decide about one credential and its proxy, and issue a token for its control plane",
        tags=["tokens"],
        response_model=TokenAnswer,
        responses=_problem_responses(),
        openapi_extra=_CALL,
    )
    async def token(request: Request) -> Response:
        return to_response(await endpoint.answer(request.scope, request.receive, ways.of(request.scope["path"])))

    @app.post(
        f"{EXT_AUTHZ_PREFIX}{{path:path}}",
        summary="Decide for Envoy's ext_authz about the authorization of a stream",
        tags=["tokens"],
        response_class=Response,
        responses={
            **_problem_responses(),
            200: {
                "description": "Approved. The rest of the path after the prefix has no effect on the decision.",
                "headers": {
                    "Authorization": {
                        "description": "The token that takes the credential's place on the way to the control plane.",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                },
            },
        },
        openapi_extra={
            "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}, _HINT]
        },
    )
    async def ext_authz(request: Request) -> Response:
        return to_response(await endpoint.answer(request.scope, request.receive, ways.of(request.scope["path"])))


def build_diagnostics(
    metrics: Metrics,
    readiness: Readiness,
    scrape_limits: ScrapeLimits = DEFAULT_LIMITS,
    page: DecisionsPage | None = None,
) -> ASGIApp:
    """Build the application of the separate listener for diagnostics. The page of decisions is part of it only if given."""
    app = _new_app("kuma-aws-iam diagnostics")
    add_probes(app, metrics, readiness, scrape_limits)
    if page is not None:
        add_decisions_page(app, page)
    return app


def _new_app(title: str, *, needs_token: bool = False) -> FastAPI:
    # No interactive pages: they would load scripts from other hosts.
    app = FastAPI(
        title=title,
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, _answer_http_exception)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
            _describe_security(app.openapi_schema, needs_token=needs_token)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the description
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """Add the models that the bare-ASGI endpoint reads and writes, which FastAPI cannot see."""
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, models = models_json_schema([(AuthenticateCall, "validation"), (Problem, "serialization")], ref_template=_REF)
    description.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
    return description


def _describe_security(description: dict[str, Any], *, needs_token: bool) -> None:
    """Describe the headers with which a caller must authenticate.

    For Envoy's call they include the credential: it is in the header ``authorization``, and OpenAPI allows no parameter with
    that name.
    """
    known = "A token of the service's KMESH_AWSIAM_CALLER_TOKEN_FILE."
    schemes: dict[str, dict[str, str]] = {}
    for path, operations in description["paths"].items():
        used = {}
        if is_ext_authz(path):
            used[_CREDENTIAL] = _header_scheme(
                "authorization", "The credential, or a token of this service, without the prefix Bearer."
            )
        if needs_token and is_ext_authz(path):
            used[_OWN_HEADER] = _header_scheme(OWN_HEADER.decode("ascii"), known)
        elif needs_token and path in (PATH, TOKEN_PATH):
            used[_CALLER_TOKEN] = {"type": "http", "scheme": "bearer", "description": known}
        if used:
            operations["post"]["security"] = [{name: [] for name in used}]
            schemes |= used
    if schemes:
        description["components"]["securitySchemes"] = schemes


def _header_scheme(name: str, description: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name, "description": description}


def _problem_responses() -> dict[int | str, dict[str, Any]]:
    """Describe every status with its reasons, from the table of reasons."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({explanation.status for explanation in EXPLANATIONS.values()} - {_NOT_FOUND}):
        reasons = [reason for reason, explanation in EXPLANATIONS.items() if explanation.status == status]
        response: dict[str, Any] = {
            "description": "; ".join(f"`{reason}`: {EXPLANATIONS[reason].title}" for reason in reasons),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": _REF.format(model=Problem.__name__)},
                    "examples": {reason.value: {"value": _example(reason)} for reason in reasons},
                }
            },
        }
        if any(EXPLANATIONS[reason].retry_after is not None for reason in reasons):
            response["headers"] = {
                "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
            }
        if status == _UNAUTHORIZED:
            response["headers"] = {
                "WWW-Authenticate": {
                    "description": f"With `{Reason.CALLER_NOT_AUTHENTICATED}` alone: how a caller makes itself known.",
                    "schema": {"type": "string"},
                }
            }
        responses[status] = response
    return responses


def _example(reason: Reason) -> dict[str, Any]:
    explanation = EXPLANATIONS[reason]
    return {
        "type": "about:blank",
        "title": explanation.title,
        "status": explanation.status,
        "detail": explanation.detail,
        "reason": reason.value,
        "requestId": "6f1c2a4be0d94f0f8f0a3f1f0c9d7e21",
    }


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer FastAPI's own errors (unknown paths and methods) in the format of problems."""
    not_found = isinstance(error, HTTPException) and error.status_code == _NOT_FOUND
    reason = Reason.NOT_FOUND if not_found else Reason.METHOD_NOT_ALLOWED
    response = to_response(reason_answer(reason, request_id_of(request.headers.raw)))
    if isinstance(error, HTTPException) and error.headers and "Allow" in error.headers:
        response.headers["allow"] = error.headers["Allow"]
    return response
