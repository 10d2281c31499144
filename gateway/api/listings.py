"""The lists: answered from this process's snapshot of the catalogue, in the shapes that clients read."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.asking import Asking, as_json
from gateway.domain.catalogue.listings import models_listed, samplers_listed, upscalers_listed
from gateway.domain.samplers import working_names
from gateway.domain.upscalers import aliases_of
from gateway.flow.own_view import require_a_model
from gateway.flow.serve import Gateway


class ListingRoutes:
    """Handlers of the lists, each for the key that asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asking = Asking(gateway)

    async def models(self, request: Request) -> Response:
        """The checkpoints this key may use."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        return as_json(models_listed(catalogue, caller.grants))

    async def samplers(self, request: Request) -> Response:
        """The samplers of the pool, for keys that have an image model to use them with."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        require_a_model(caller, catalogue)
        return as_json(samplers_listed(catalogue, working_names(catalogue)))

    async def upscalers(self, request: Request) -> Response:
        """The upscalers this key may use."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        aliases = self._gateway.operator.upscaler_aliases
        return as_json(upscalers_listed(catalogue, caller.grants, aliases_of(catalogue, aliases)))
