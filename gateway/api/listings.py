"""The lists: answered from this process's snapshot of the catalogue, in the shapes that clients read."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.credentials import caller_of
from gateway.api.errors import json_response
from gateway.domain.catalogue import Catalogue
from gateway.domain.catalogue.listings import models_listed, samplers_listed, upscalers_listed
from gateway.domain.errors import NoCapacity
from gateway.domain.keys import Caller
from gateway.domain.samplers import working_names
from gateway.domain.upscalers import aliases_of
from gateway.flow.own_view import require_a_model
from gateway.flow.serve import Gateway


class ListingRoutes:
    """Handlers of the lists, each for the key that asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def models(self, request: Request) -> Response:
        """The checkpoints this key may use."""
        caller, catalogue = await self._caller_and_catalogue(request)
        return json_response(msgspec.json.encode(models_listed(catalogue, caller.grants)))

    async def samplers(self, request: Request) -> Response:
        """The samplers of the pool, for keys that have an image model to use them with."""
        caller, catalogue = await self._caller_and_catalogue(request)
        require_a_model(caller, catalogue)
        return json_response(msgspec.json.encode(samplers_listed(catalogue, working_names(catalogue))))

    async def upscalers(self, request: Request) -> Response:
        """The upscalers this key may use."""
        caller, catalogue = await self._caller_and_catalogue(request)
        aliases = self._gateway.operator.upscaler_aliases
        return json_response(
            msgspec.json.encode(upscalers_listed(catalogue, caller.grants, aliases_of(catalogue, aliases)))
        )

    async def _caller_and_catalogue(self, request: Request) -> tuple[Caller, Catalogue]:
        caller = await caller_of(request, self._gateway.authenticator)
        catalogue = self._gateway.current.catalogue
        if not catalogue.backends:
            raise NoCapacity("No backend has been seen yet. Try again in a moment.", retry_after_s=2.0)
        return caller, catalogue
