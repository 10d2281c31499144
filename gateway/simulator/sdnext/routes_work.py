"""The routes that change something: generations, upscales, options, checkpoints, interrupts, shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from gateway.simulator.sdnext.encoding import decode_image, image_bytes, read_infotext
from gateway.simulator.sdnext.failures import Crashed
from gateway.simulator.sdnext.request_models import (
    CaptionBody,
    ImageBody,
    UpscaleBatchBody,
    UpscaleImageBody,
    generation_model,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from gateway.simulator.sdnext.simulation import Simulation

_P = "/sdapi/v1"


def add_work_routes(router: APIRouter, simulation: Simulation) -> None:
    """Put them on a router."""
    for kind in ("txt2img", "img2img"):
        endpoint = _generation_endpoint(simulation, kind, generation_model(simulation.facts, kind))
        router.add_api_route(f"{_P}/{kind}", endpoint, methods=["POST"])
    _Jobs(simulation).add_to(router)
    _Checkpoints(simulation).add_to(router)


def _generation_endpoint(
    simulation: Simulation, kind: str, model: type[BaseModel]
) -> Callable[..., Awaitable[Response]]:
    async def endpoint(body: Any, request: Request) -> Response:  # noqa: ANN401 - its real type is set below
        fault = request.scope.get("state", {}).get("fault", "")
        return JSONResponse(await simulation.generation.run(body.model_dump(), kind, fault))

    # The model is built at run time from the field table, so its name cannot stand in the signature.
    endpoint.__annotations__["body"] = model
    endpoint.__annotations__["request"] = Request
    endpoint.__annotations__["return"] = Response
    return endpoint


class _Jobs:
    """What is done to jobs and to the server as a whole."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation
        self._engine = simulation.engine

    def add_to(self, router: APIRouter) -> None:
        posts: dict[str, Callable[..., Any]] = {
            "extra-single-image": self.upscale_one,
            "process": self.upscale_one,
            "extra-batch-images": self.upscale_many,
            "process-batch": self.upscale_many,
            "caption": self.caption,
            "png-info": self.png_info,
            "control": self.control,
            "interrupt": self.interrupt,
            "skip": self.skip,
            "shutdown": self.shutdown,
            "restart": self.shutdown,
            "options": self.set_options,
            "log": self.write_log,
        }
        for path, endpoint in posts.items():
            router.add_api_route(f"{_P}/{path}", endpoint, methods=["POST"])

    async def upscale_one(self, body: UpscaleImageBody) -> Response:
        return JSONResponse(await self._s.upscaling.single(body))

    async def upscale_many(self, body: UpscaleBatchBody) -> Response:
        return JSONResponse(await self._s.upscaling.batch(body))

    async def caption(self, body: CaptionBody) -> Response:
        """By its schema alone: what a real one says of a picture was never observed."""
        picture = decode_image(image_bytes(body.image))
        engine = self._engine
        async with engine.lock():
            engine.begin_job("Caption")
            engine.counters.jobs += 1
            seconds = engine.options.upscale_seconds_per_megapixel * picture.size[0] * picture.size[1] / 1e6
            await engine.work(seconds, "upscale", stoppable=False)
            engine.state.end()
        told = f"a picture of {picture.size[0]}x{picture.size[1]} pixels, by {body.model}"
        return JSONResponse({"backend": body.backend, "tags" if body.backend == "tagger" else "caption": told})

    async def png_info(self, body: ImageBody) -> Response:
        items = read_infotext(image_bytes(body.image))
        text = items.get("parameters") or items.get("UserComment") or ""
        return JSONResponse({"info": text, "items": items, "parameters": _parsed(text)})

    async def control(self, body: dict[str, Any]) -> Response:
        raise Crashed("TypeError", "control_run() got an unexpected keyword argument 'xyz'")

    async def interrupt(self) -> Response:
        self._engine.interrupt()
        return Response(status_code=204)

    async def skip(self) -> Response:
        self._engine.skip()
        return Response(status_code=204)

    async def shutdown(self) -> Response:
        """The answer still goes out; everybody else's connection is dropped without one."""
        return Response(status_code=204, background=BackgroundTask(self._engine.power.die, 0))

    async def set_options(self, body: dict[str, Any]) -> Response:
        updated: list[dict[str, bool]] = []
        for name, value in body.items():
            if name == "sd_model_checkpoint":
                updated.append({name: await self._engine.set_model_option(str(value))})
            else:
                updated.append({name: self._engine.server_options.set(name, value)})
        self._engine.server_options.save()
        return JSONResponse({"updated": updated})

    async def write_log(self) -> Response:
        return JSONResponse(None)


class _Checkpoints:
    """What is done to checkpoints; none of it but the option takes the lock."""

    def __init__(self, simulation: Simulation) -> None:
        self._engine = simulation.engine

    def add_to(self, router: APIRouter) -> None:
        posts: dict[str, Callable[..., Any]] = {
            "checkpoint": self.load,
            "refresh-checkpoints": self.rescan,
            "refresh-loras": self.rescan_loras,
            "refresh-vae": self.nothing,
            "refresh-unets": self.nothing,
            "unload-checkpoint": self.unload,
            "reload-checkpoint": self.reload,
            "lock-checkpoint": self.nothing,
        }
        for path, endpoint in posts.items():
            router.add_api_route(f"{_P}/{path}", endpoint, methods=["POST"])

    async def load(self, sd_model_checkpoint: str, force: bool = False) -> Response:
        return JSONResponse({"ok": await self._engine.load_by_endpoint(sd_model_checkpoint, force=force)})

    async def rescan(self) -> Response:
        await self._engine.rescan()
        return Response(status_code=204)

    async def rescan_loras(self) -> Response:
        self._engine.loras.rescan()
        return JSONResponse(None)

    async def unload(self) -> Response:
        self._engine.unload()
        return Response(status_code=204)

    async def reload(self, force: bool = False) -> Response:
        await self._engine.reload_by_endpoint(force=force)
        return Response(status_code=204)

    async def nothing(self) -> Response:
        """Accepted without effect; `lock-checkpoint` too does not prevent a switch (observed)."""
        return Response(status_code=204)


def _parsed(text: str) -> dict[str, str]:
    """The fields of an infotext's last line, and its prompts."""
    if not text:
        return {}
    lines = text.split("\n")
    found = {"Prompt": lines[0]}
    found["Negative prompt"] = next((line[17:] for line in lines if line.startswith("Negative prompt: ")), "")
    pairs = (part.partition(": ") for part in lines[-1].split(", "))
    return found | {key: value for key, separator, value in pairs if separator}
