"""Puts the web floor together: routers in, a FastAPI application with all its layers out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from threading import Lock
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.version import __version__
from mistudio.web.boundary import Boundary
from mistudio.web.guard import Guard
from mistudio.web.interface import Interface
from mistudio.web.limits import BodyLimit, RateLimit, is_upload
from mistudio.web.problems import Problem, problem_for, problem_response, problems

API = "/api/v1"


def build_api(
    settings: Settings,
    routers: Sequence[APIRouter],
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The application with these routers under `/api/v1`, the UI everywhere else, and every guard and
    limit."""
    app = FastAPI(
        title="miStudio",
        version=__version__,
        description="Train, read and steer with sparse autoencoders. Errors are problem+json.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=_operation_ids(routers),
        responses=problems(403, 413, 422, 429, 500),
        middleware=[
            Middleware(Boundary, settings=settings),
            Middleware(
                Guard,
                host=settings.host,
                allowed_hosts=settings.allowed_hosts,
                allowed_origins=settings.allowed_origins,
            ),
            Middleware(RateLimit, per_minute=settings.rate_limit_per_minute),
            *_cross_origin(settings),
            Middleware(
                BodyLimit,
                limit=settings.max_body_bytes,
                upload_limit=settings.max_upload_bytes,
                uploads=_upload_paths(routers),
            ),
        ],
    )
    for router in routers:
        app.include_router(router, prefix=API)
    for kind in (StudioError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_with_problem(settings))
    app.router.default = Interface()
    _complete_openapi(app)
    _describe(app)
    return app


def _operation_ids(routers: Sequence[APIRouter]) -> Callable[[APIRoute], str]:
    """Operations are named by their function; where domains share a function's name, by tag and function."""
    names = Counter(route.name for route in _routes(routers))

    def operation_id(route: APIRoute) -> str:
        shared = names[route.name] > 1 and route.tags
        return f"{str(route.tags[0]).replace('-', '_')}_{route.name}" if shared else route.name

    return operation_id


def _cross_origin(settings: Settings) -> list[Middleware]:
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After", "Content-Disposition"],
        )
    ]


def _upload_paths(routers: Sequence[APIRouter]) -> list[re.Pattern[str]]:
    return [compile_path(f"{API}{route.path}")[0] for route in _routes(routers) if is_upload(route.endpoint)]


def _routes(routers: Sequence[APIRouter]) -> list[RouteContext]:
    """Every route of these routers, of routers within them too (they are not in `router.routes` themselves)."""
    return [route for router in routers for route in iter_route_contexts(router.routes)]


def _answer_with_problem(settings: Settings) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        found = problem_for(error, settings)
        if found is None:  # only called for kinds that have one
            raise error
        headers = getattr(error, "headers", None)
        return problem_response(found, request.scope.get("request_id"), headers)

    return answer


def _complete_openapi(app: FastAPI) -> None:
    """Add the schema that the error responses refer to, and refuse two operations of one name."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = schema
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            _refuse_duplicates(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _describe(app: FastAPI) -> None:
    """Serve the document. It takes seconds to make, for which FastAPI's own route would hold up every socket."""
    making = Lock()

    @app.get("/api/openapi.json", include_in_schema=False)
    def description() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        with making:
            document = app.openapi()
        return JSONResponse(document)


def _refuse_duplicates(document: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            here = f"{method.upper()} {path}"
            name = operation["operationId"]
            if name in seen:
                raise ValueError(f"{seen[name]} and {here} share the operation id “{name}”")
            seen[name] = here
