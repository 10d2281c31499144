"""The lists beside models, samplers and upscalers: from this process's catalogue, in A1111's shapes, for each key.

None of them touches a store or a backend, so they answer as fast while the whole pool loads models. No server path is
in any; what a pool of SD.Next servers has no notion of is an empty list, not an error: clients read a 404 as "no API".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.asking import Asking, as_json
from gateway.domain.catalogue import Catalogue
from gateway.domain.catalogue.listings import (
    embeddings_listed,
    latent_modes_listed,
    loras_listed,
    scripts_listed,
)
from gateway.domain.keys import Caller
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.schedules import schedules_listed
from gateway.flow.serve import Gateway

Handler = Callable[[Request], Awaitable[Response]]
Read = Callable[[Catalogue, Caller, OperatorPolicy], object]

ALWAYS_EMPTY = ("hypernetworks", "realesrgan-models", "extensions", "unets", "controlnets")
"""Lists of things that no request can name here: A1111's own, and what SD.Next keeps to itself."""


def list_routes(gateway: Gateway) -> list[tuple[str, str, str, Any]]:
    """(method, name below /sdapi/v1, further name below /v1, handler) of every list of this module."""
    asking = Asking(gateway)
    reads: dict[str, Read] = {**_LISTS, **dict.fromkeys(ALWAYS_EMPTY, _nothing)}
    return [("GET", name, "", _handler(asking, read)) for name, read in reads.items()]


def _handler(asking: Asking, read: Read) -> Handler:
    async def handle(request: Request) -> Response:
        caller, catalogue = await asking.caller_and_catalogue(request)
        return as_json(read(catalogue, caller, asking.gateway.operator))

    return handle


def _nothing(_catalogue: Catalogue, _caller: Caller, _operator: OperatorPolicy) -> list[Any]:
    return []


def _vaes(catalogue: Catalogue, _caller: Caller, _operator: OperatorPolicy) -> list[dict[str, Any]]:
    return [{"model_name": name, "filename": name} for name in catalogue.listed("vaes")]


def _detailers(catalogue: Catalogue, _caller: Caller, _operator: OperatorPolicy) -> list[dict[str, Any]]:
    return [{"name": name, "path": None} for name in catalogue.listed("detailers")]


def _face_restorers(catalogue: Catalogue, _caller: Caller, _operator: OperatorPolicy) -> list[dict[str, Any]]:
    """A1111's key for the folder with them, empty: SD.Next lists its detailers under this name (observed)."""
    return [{"name": name, "cmd_dir": None} for name in catalogue.listed("detailers")]


def _styles(catalogue: Catalogue, _caller: Caller, operator: OperatorPolicy) -> list[dict[str, Any]]:
    """The names only: a style is somebody's prompt. None where the operator has not enabled styles."""
    names = catalogue.listed("styles") if operator.allow_styles else ()
    return [{"name": name, "prompt": "", "negative_prompt": ""} for name in names]


def _scripts(catalogue: Catalogue, _caller: Caller, operator: OperatorPolicy) -> dict[str, list[str]]:
    return {**scripts_listed(catalogue, (*operator.scripts, *operator.alwayson_scripts)), "control": []}


def _script_info(catalogue: Catalogue, _caller: Caller, operator: OperatorPolicy) -> list[dict[str, Any]]:
    """A1111's form. What arguments a script takes no SD.Next server says (observed)."""
    always = {name.lower() for name in operator.alwayson_scripts}
    listed = scripts_listed(catalogue, (*operator.scripts, *operator.alwayson_scripts))
    return [
        {"name": name, "is_alwayson": name in always, "is_img2img": kind == "img2img", "args": []}
        for kind, names in listed.items()
        for name in names
    ]


def _if_allowed(kind: str, is_allowed: Callable[[OperatorPolicy], bool]) -> Read:
    """The plain list of that kind, for pools whose operator lets requests name an entry of it."""

    def read(catalogue: Catalogue, _caller: Caller, operator: OperatorPolicy) -> list[str]:
        return list(catalogue.listed(kind)) if is_allowed(operator) else []

    return read


_LISTS: dict[str, Read] = {
    "schedulers": lambda catalogue, _caller, _operator: schedules_listed(catalogue),
    "loras": lambda catalogue, caller, _operator: loras_listed(catalogue, caller.grants),
    "embeddings": lambda catalogue, _caller, _operator: embeddings_listed(catalogue),
    "sd-vae": _vaes,
    "sd-modules": _vaes,
    "latent-upscale-modes": lambda catalogue, caller, _operator: latent_modes_listed(catalogue, caller.grants),
    "face-restorers": _face_restorers,
    "detailers": _detailers,
    "prompt-styles": _styles,
    "scripts": _scripts,
    "script-info": _script_info,
    "control-models": _if_allowed("control_models", lambda operator: operator.allow_control_units),
    "preprocessors": _if_allowed("preprocessors", lambda operator: operator.allow_control_units),
    "ip-adapters": _if_allowed("ip_adapters", lambda operator: operator.allow_ip_adapter),
}
