"""The routes that only tell: lists, options, progress, and the open pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from gateway.simulator.sdnext.failures import Crashed
from gateway.simulator.sdnext.request_models import InternalProgressBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.sdnext.simulation import Simulation

_P = "/sdapi/v1"
_EMPTY = (
    "extensions",
    "unets",
    "controlnets",
    "control-models",
    "ip-adapters",
    "preprocessors",
    "wildcards",
    "openclip",
)


def add_read_routes(router: APIRouter, simulation: Simulation) -> None:
    """Put them on a router that asks for credentials."""
    lists, state = _Lists(simulation), _State(simulation)
    for path, endpoint in {**lists.routes(), **state.routes()}.items():
        router.add_api_route(path, endpoint, methods=["GET"])
    router.add_api_route("/internal/progress", state.internal_progress, methods=["POST"])


def add_open_routes(router: APIRouter) -> None:
    """The pages that answer without credentials, also with `--auth`."""

    async def page(request: Request) -> Response:
        head = '<!doctype html>\n<html\n\tlang="en"><head><title>SD.Next</title></head>'
        return HTMLResponse(f"{head}<body>{'<!-- ui -->' * 400}</body></html>")

    router.add_api_route("/", page, methods=["GET"])
    router.add_api_route("/", page, methods=["HEAD"], include_in_schema=False)
    router.add_api_route("/js", page, methods=["GET"])


class _Lists:
    """What the server has."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation
        self._engine = simulation.engine

    def routes(self) -> dict[str, Callable[..., Any]]:
        """Path -> endpoint."""
        own: dict[str, Callable[[], Any]] = {
            "sd-models": lambda: [c.listing() for c in self._engine.shelf.listed],
            "samplers": lambda: [{"name": n, "options": o} for n, o in self._s.facts.samplers.items()],
            "upscalers": self._upscalers,
            "loras": self._engine.loras.listing,
            "loaded-loras": lambda: (
                [n for n, _ in self._engine.shelf.loaded.fused] if self._engine.shelf.loaded else []
            ),
            "sd-vae": self._vaes,
            "embeddings": lambda: {"loaded": [], "skipped": []},
            "face-restorers": lambda: self._s.facts.listings["detailers"],
            "script-info": self._scripts,
            "extra-networks": self._networks,
            "schedulers": self._schedulers,
            "latents": list,
            "log": list,
            "motd": lambda: "",
            "history": lambda: list(self._engine.state.history),
            "options-info": self._options_info,
        }
        for name in ("detailers", "scripts", "prompt-styles", "sampler", "version"):
            own[name] = lambda name=name: self._s.facts.listings[name]  # type: ignore[misc]
        for name in _EMPTY:
            own[name] = list
        return {f"{_P}/{name}": _endpoint(read) for name, read in own.items()}

    def _upscalers(self) -> list[dict[str, Any]]:
        """`model_path` is a URL where the weights are missing, a path where they are present (observed)."""
        return [
            {"name": name, "model_name": None, "model_path": path, "model_url": None, "scale": _scale(name)}
            for name, path in (self._with_path(*upscaler) for upscaler in self._s.facts.upscalers.items())
        ]

    def _with_path(self, name: str, path: str | None) -> tuple[str, str | None]:
        """The path is a local one where the weights are on disk, else where to get them."""
        if path is None or name not in self._s.options.upscaler_weights:
            return name, path
        return name, f"/sdnext/data/models/upscalers/{path.rpartition('/')[2]}"

    def _vaes(self) -> list[dict[str, str]]:
        return [{"model_name": name, "filename": f"/sdnext/data/models/VAE/{name}"} for name in self._s.options.vaes]

    def _scripts(self) -> list[dict[str, Any]]:
        scripts = self._s.facts.listings["scripts"]
        return [
            {"name": name, "is_alwayson": False, "is_img2img": kind == "img2img", "args": []}
            for kind in ("txt2img", "img2img", "control")
            for name in scripts[kind]
        ]

    def _networks(self) -> list[dict[str, Any]]:
        found = [(c.name, "model", c.title, c.filename, c.hash) for c in self._engine.shelf.listed]
        found += [(s["name"], "style", s["name"], s["filename"], None) for s in self._s.facts.listings["prompt-styles"]]
        found += [(item["name"], "lora", item["name"], item["path"], None) for item in self._engine.loras.listing()]
        preview = f"{_P}/network/thumb?filename=ui/assets/missing.png"
        return [
            {
                "name": n,
                "type": t,
                "title": title,
                "fullname": None,
                "filename": file,
                "hash": h,
                "preview": preview,
                "version": "SD 1.5",
                "tags": None,
            }
            for n, t, title, file, h in found
        ]

    def _schedulers(self) -> None:
        """Broken in this revision: the separators have no class, which the reply's model does not allow."""
        first = {"type": "string_type", "loc": ("response", 0, "cls"), "msg": "Input should be a valid string"}
        errors = f"23 validation errors:\n  {first}"
        raise Crashed("ResponseValidationError", errors, self._s.facts.schedulers)

    def _options_info(self) -> dict[str, Any]:
        """As observed: every option under `options`, with these eleven fields; `is_secret` is always false."""
        facts = self._s.facts.options
        options = {
            name: {
                "label": name,
                "section_id": f.section,
                "section_title": f.section,
                "visible": not f.hidden,
                "hidden": f.hidden,
                "type": f.type,
                "component": None,
                "component_args": {},
                "default": f.default,
                "is_legacy": False,
                "is_secret": False,
            }
            for name, f in facts.items()
        }
        sections = sorted({f.section for f in facts.values() if f.section})
        return {"options": options, "sections": [{"id": s, "title": s} for s in sections]}


class _State:
    """What the server is doing, and what it is set to."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation
        self._engine = simulation.engine

    def routes(self) -> dict[str, Callable[..., Any]]:
        """Path -> endpoint."""
        return {
            f"{_P}/progress": self.progress,
            f"{_P}/status": _endpoint(self._engine.state.status),
            f"{_P}/options": _endpoint(self._engine.server_options.listing),
            f"{_P}/checkpoint": _endpoint(self._checkpoint),
            f"{_P}/cmd-flags": _endpoint(self._cmd_flags),
            f"{_P}/memory": _endpoint(self._memory),
            f"{_P}/platform": _endpoint(lambda: {"arch": "x86_64", "cpu": "", "system": "Linux", "python": "3.12"}),
            "/config": _endpoint(lambda: {"version": "3.43.2", "mode": "blocks", "components": []}),
            "/info": _endpoint(lambda: {"named_endpoints": {}, "unnamed_endpoints": {}}),
        }

    async def progress(self, skip_current_image: bool = False) -> Response:
        image = None if skip_current_image else self._s.generation.current_preview()
        return JSONResponse(self._engine.state.progress(image))

    async def internal_progress(self, body: InternalProgressBody) -> Response:
        return JSONResponse(self._engine.state.internal())

    def _checkpoint(self) -> dict[str, Any]:
        loaded = self._engine.shelf.loaded
        if loaded is None:
            return {"type": None, "class": None}
        c = loaded.checkpoint
        kind = {"type": "sd", "class": "StableDiffusionPipeline", "checkpoint": c.filename}
        return {**kind, "title": c.title, "name": c.name, "filename": c.filename, "hash": c.hash}

    def _cmd_flags(self) -> dict[str, Any]:
        """The command line, the password in clear."""
        return {**self._s.facts.cmd_flags, "auth": self._s.options.auth, "port": self._s.options.port}

    def _memory(self) -> dict[str, Any]:
        gib = 2**30
        return {"ram": {"free": 20 * gib, "used": 4 * gib, "total": 24 * gib}, "cuda": {"error": "unavailable"}}


def _scale(upscaler: str) -> float:
    """What `/upscalers` claims: 4 whatever the name says, and 1 for three of them."""
    return 1.0 if upscaler.startswith("SeedVR2") else 4.0


def _endpoint(read: Callable[[], Any]) -> Callable[..., Any]:
    async def endpoint() -> Response:
        return JSONResponse(read())

    return endpoint
