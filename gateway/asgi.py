"""The application: routes, error table, lifespan. The order of everything around a request is on this one screen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from gateway.api.errors import on_caller_left, on_gateway_error, on_http_error, on_unexpected_error
from gateway.api.listings import ListingRoutes
from gateway.api.middleware import Edge
from gateway.api.ops import OpsRoutes
from gateway.api.sdapi import CallerLeft, GenerationRoutes
from gateway.domain.errors import GatewayError
from gateway.domain.jobs import Operation
from gateway.settings import Settings
from gateway.wiring import Services, open_services

SDAPI, ALIAS = "/sdapi/v1", "/v1"


def create_app(settings: Settings) -> FastAPI:
    """The gateway as an ASGI application; stores are opened and loops started by its lifespan."""
    app = FastAPI(
        title="SD.Next gateway",
        docs_url="/docs",
        redoc_url=None,
        lifespan=_lifespan(settings),
        exception_handlers={
            GatewayError: on_gateway_error,
            HTTPException: on_http_error,
            CallerLeft: on_caller_left,
            ClientDisconnect: on_caller_left,
            Exception: on_unexpected_error,
        },
    )
    app.router.redirect_slashes = False  # the middleware makes both forms one; a redirect would lose a POST's body
    app.add_middleware(Edge)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, app.state) as services:
            app.router.routes.extend(routes(services, settings))
            yield

    return lifespan


def routes(services: Services, settings: Settings) -> list[Route]:
    """Every route, under the name of a real server and under its alias."""
    generation = GenerationRoutes(services.gateway)
    listing = ListingRoutes(services.gateway, services.current, settings.default_model)
    ops = OpsRoutes(services.readiness)
    table: list[tuple[str, tuple[str, ...], Any]] = [
        ("POST", (f"{SDAPI}/txt2img", f"{ALIAS}/txt2img"), generation.handler(Operation.TXT2IMG)),
        ("GET", (f"{SDAPI}/sd-models", f"{ALIAS}/sd-models", f"{ALIAS}/img-models"), listing.models),
        ("GET", (f"{SDAPI}/options", f"{ALIAS}/options", f"{ALIAS}/img-options"), listing.options),
        ("GET", ("/livez",), ops.livez),
        ("GET", ("/readyz",), ops.readyz),
    ]
    return [Route(path, handler, methods=[method]) for method, paths, handler in table for path in paths]
