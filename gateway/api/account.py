"""What a key may do, what it has used, and what would happen to a request of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.asking import Asking, as_json
from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.flow.account import Account
from gateway.flow.explain import Explainer
from gateway.flow.serve import Gateway


class AccountRoutes:
    """Handlers for the key that asks."""

    def __init__(self, gateway: Gateway, account: Account) -> None:
        self._asking = Asking(gateway)
        self._account = account
        self._explainer = Explainer(gateway)

    async def account(self, request: Request) -> Response:
        """Plan, grants, overrides, usage."""
        return as_json(await self._account.of(await self._asking.caller(request)))

    async def explain(self, request: Request) -> Response:
        """What would happen to this body; `?operation=` says which call it is for, else its fields do."""
        caller = await self._asking.caller(request)
        body = await self._asking.body(request, caller)
        operation = operation_of(request.query_params.get("operation", ""), body)
        return as_json(await self._explainer.explain(operation, body, caller))


def operation_of(named: str, body: bytes) -> Operation:
    """The operation that is named, or that the fields of the body are for. Raises InvalidRequest."""
    if named:
        try:
            return Operation(named)
        except ValueError as error:
            known = ", ".join(Operation)
            raise InvalidRequest(f"operation must be one of: {known}.", "operation") from error
    if b'"init_images"' in body:
        return Operation.IMG2IMG
    return Operation.UPSCALE if b'"upscaler_1"' in body else Operation.TXT2IMG


def account_routes(gateway: Gateway, account: Account) -> list[Route]:
    """The gateway's own routes for tenants."""
    own = AccountRoutes(gateway, account)
    return [
        Route("/v1/account", own.account, methods=["GET"]),
        Route("/v1/explain", own.explain, methods=["POST"]),
    ]
