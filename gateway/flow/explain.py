"""What would happen to a request: its effective parameters and its price. Nothing is admitted and no GPU is touched."""

from __future__ import annotations

from typing import Any

from gateway.domain.jobs import Operation
from gateway.domain.keys import Caller
from gateway.domain.options import effective
from gateway.domain.parameters import Shaped, shape
from gateway.domain.rendering import parameters_echo
from gateway.flow.account import limits_of
from gateway.flow.off_loop import off_loop
from gateway.flow.serve import Gateway


class Explainer:
    """Shapes a request as `serve` would, for the key that asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def explain(self, operation: Operation, body: bytes, caller: Caller) -> dict[str, Any]:
        """As JSON. Raises what the request itself would be refused with, before it is admitted."""
        gateway = self._gateway
        options = effective((await gateway.options.kept(caller)).values)
        context = gateway.context(caller, options)
        shaped = await off_loop(body, lambda: shape(operation, body, context))
        outstanding, waiting = await gateway.work.counts(caller)
        checkpoint = shaped.model.name if shaped.model else ""
        expected = await gateway.work.expectation(caller, checkpoint)
        wait_s = expected.wait_s
        if wait_s is None and not checkpoint and not waiting:
            wait_s = 0.0  # what needs no checkpoint needs no swap
        return {
            "operation": operation,
            "model": shaped.model.name if shaped.model else None,
            "parameters": parameters_echo(shaped),
            "adjusted": list(shaped.adjustments),
            "price": price_of(shaped),
            "pool": {
                "able_backends": len(shaped.runnable_on),
                "waiting_jobs": waiting,
                "expected_wait_s": None if wait_s is None else round(wait_s, 1),
            },
            "limits": {
                **limits_of(caller),
                "outstanding_of_this_key": outstanding,
                "calls_left_now": expected.rate.remaining,
                "all_calls_back_in_s": round(expected.rate.reset_s, 1),
            },
        }


def price_of(shaped: Shaped) -> dict[str, Any]:
    """What it costs: pictures, steps times megapixels, and megapixels that come out."""
    price = shaped.price
    return {
        "images": price.images,
        "megapixel_steps": round(price.megapixel_steps, 6),
        "output_megapixels": round(price.output_megapixels, 6),
    }
