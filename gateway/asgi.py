"""The application: routes, error table, lifespan. The order of everything around a request is on this one screen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route

from gateway.api.account import account_routes
from gateway.api.captions import CaptionRoutes
from gateway.api.compression import Compression
from gateway.api.cors import Cors
from gateway.api.errors import on_gateway_error, on_http_error
from gateway.api.listings import ListingRoutes
from gateway.api.lists import list_routes
from gateway.api.measuring import Measuring
from gateway.api.middleware import Edge
from gateway.api.ops import OpsRoutes
from gateway.api.pages import PageRoutes
from gateway.api.pictures import picture_routes
from gateway.api.sdapi import GenerationRoutes
from gateway.api.sending import Holding
from gateway.api.session import page_routes, session_routes
from gateway.api.synthetic import root_routes, synthetic_routes
from gateway.api.tracing import Tracing
from gateway.domain.errors import GatewayError
from gateway.domain.jobs import Operation
from gateway.settings import Settings
from gateway.wiring.common import open_log
from gateway.wiring.serving import Services, open_services

SDAPI, ALIAS = "/sdapi/v1", "/v1"


def create_app(settings: Settings) -> FastAPI:
    """The gateway as an ASGI application; stores are opened and loops started by its lifespan."""
    app = FastAPI(
        title="SD.Next gateway",
        openapi_url=None,  # ours is made from the routes and the policy table: see pages
        lifespan=_lifespan(settings),
        exception_handlers={GatewayError: on_gateway_error, HTTPException: on_http_error},
    )
    app.state.log = open_log(settings)
    app.router.redirect_slashes = False  # the edge makes both forms one; a redirect would lose a POST's body
    app.add_middleware(Compression)
    app.add_middleware(Holding)
    # Outermost but for meter and traces, so that it answers what nobody else does and no answer lacks its headers.
    app.add_middleware(Edge, cors=Cors(settings.cors_origins), trusted=settings.trusted_proxies, log=app.state.log)
    app.add_middleware(Measuring)
    app.add_middleware(Tracing)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, app.state) as services:
            app.state.meter, app.state.tracer = services.meter, services.tracer
            app.state.byte_budget, app.state.call_limits = services.byte_budget, services.call_limits
            app.router.routes.extend(routes(services))
            yield

    return lifespan


def routes(services: Services) -> list[Route]:
    """Every route, under the name of a real server and under its alias."""
    generation = GenerationRoutes(services.gateway)
    listing = ListingRoutes(services.gateway)
    ops, pages = OpsRoutes(services.readiness), PageRoutes()
    # (method, name below /sdapi/v1, further name below /v1): each stands at /sdapi/v1/NAME, /v1/NAME and /v1/FURTHER.
    table: list[tuple[str, str, str, Any]] = [
        ("POST", "txt2img", "", generation.handler(Operation.TXT2IMG)),
        ("POST", "img2img", "", generation.handler(Operation.IMG2IMG)),
        ("POST", "extra-single-image", "upscale-img", generation.handler(Operation.UPSCALE)),
        ("GET", "sd-models", "img-models", listing.models),
        ("GET", "upscalers", "", listing.upscalers),
        ("GET", "samplers", "img-samplers", listing.samplers),
        *session_routes(services.gateway),
        *list_routes(services.gateway),
        *synthetic_routes(services.gateway, services.rescans),
        *picture_routes(services.gateway),
    ]
    if services.gateway.operator.caption_models:  # a call that is not there is how clients see that it cannot be done
        table.append(("POST", "caption", "", generation.handler(Operation.CAPTION)))
        table.append(("POST", "interrogate", "", CaptionRoutes(services.gateway).interrogate))
    doubled = [
        Route(path, handler, methods=[method])
        for method, name, further, handler in table
        for path in (f"{SDAPI}/{name}", f"{ALIAS}/{name}", *((f"{ALIAS}/{further}",) if further else ()))
    ]
    own: list[tuple[str, Any]] = [("/livez", ops.livez), ("/readyz", ops.readyz)]
    own += [("/", pages.front), ("/docs", pages.docs), ("/openapi.json", pages.openapi)]
    doubled += account_routes(services.gateway, services.account)
    doubled += [*page_routes(services.gateway), *root_routes()]
    return doubled + [Route(path, handler, methods=["GET"]) for path, handler in own]
