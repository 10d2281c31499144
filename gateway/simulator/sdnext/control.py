"""`/__sim/*`: how tests look into a simulated server and change it while it runs. Never asks for credentials."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import JSONResponse

from gateway.simulator.sdnext.faults import fault_from_json
from gateway.simulator.sdnext.inspection import CONTROL_PREFIX

if TYPE_CHECKING:
    from gateway.simulator.sdnext.simulation import Simulation


def add_control_routes(router: APIRouter, simulation: Simulation) -> None:
    """Put them on a router without credentials."""
    control = _Control(simulation)
    for method, path, endpoint in (
        ("GET", "/received", control.received),
        ("DELETE", "/received", control.forget_received),
        ("GET", "/state", control.state),
        ("GET", "/faults", control.faults),
        ("POST", "/faults", control.add_faults),
        ("DELETE", "/faults", control.clear_faults),
        ("POST", "/hold", control.hold),
        ("DELETE", "/hold", control.release),
        ("POST", "/files", control.add_file),
        ("DELETE", "/files", control.delete_file),
        ("POST", "/poison", control.poison),
        ("POST", "/damage", control.damage),
    ):
        router.add_api_route(CONTROL_PREFIX + path, endpoint, methods=[method])


class _Control:
    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation
        self._engine = simulation.engine

    async def received(self, path: str | None = None) -> Response:
        return JSONResponse(self._s.received.listing(path))

    async def forget_received(self) -> Response:
        self._s.received.clear()
        return Response(status_code=204)

    async def state(self) -> Response:
        """What is loaded, how it is damaged, and what was counted since the start."""
        loaded = self._engine.shelf.loaded
        weights = None
        if loaded is not None:
            weights = {
                "title": loaded.checkpoint.title,
                "poisoned": loaded.poisoned,
                "fused": loaded.fused,
                "damage": loaded.damage,
            }
        return JSONResponse(
            {
                "loaded": weights,
                "damaged": self._engine.is_damaged,
                "files": sorted(self._engine.shelf.files),
                "loras": self._engine.loras.files,
                **asdict(self._engine.counters),
            }
        )

    async def faults(self) -> Response:
        return JSONResponse(self._s.faults.listing())

    async def add_faults(self, body: dict[str, Any] | list[dict[str, Any]]) -> Response:
        """Arm one fault or several; `refuse` begins at once, as nothing could be received to start it later."""
        try:
            faults = [fault_from_json(value) for value in (body if isinstance(body, list) else [body])]
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        for fault in faults:
            if fault.name == "refuse":
                self._engine.power.refuse(None if fault.seconds is None else self._s.clock.scaled(fault.seconds))
            else:
                self._s.faults.arm(fault)
        return JSONResponse(self._s.faults.listing())

    async def clear_faults(self) -> Response:
        self._s.faults.clear()
        return Response(status_code=204)

    async def hold(self, phase: str) -> Response:
        self._engine.hold(phase)
        return Response(status_code=204)

    async def release(self, phase: str) -> Response:
        if not self._engine.release(phase):
            raise HTTPException(404, f"phase {phase!r} is not held")
        return Response(status_code=204)

    async def add_file(self, title: str, kind: str = "model") -> Response:
        """A file appears on disk: `kind` model or lora. It is listed after the next rescan."""
        if kind == "lora":
            self._engine.loras.files.append(title)
        else:
            self._engine.shelf.add_file(self._engine.checkpoint(title))
        return Response(status_code=204)

    async def delete_file(self, title: str, broken: bool = False) -> Response:
        """A checkpoint's file vanishes, or is damaged if `broken`."""
        shelf = self._engine.shelf
        if not (shelf.break_file(title) if broken else shelf.delete_file(title)):
            raise HTTPException(404, f"no file {title!r}")
        return Response(status_code=204)

    async def damage(self) -> Response:
        """No load of this process works any more, and nothing is in memory, as after a load beside a load."""
        self._engine.is_damaged, self._engine.shelf.loaded = True, None
        return Response(status_code=204)

    async def poison(self) -> Response:
        """What is loaded makes nothing any more, as after an unload under a running job."""
        if self._engine.shelf.loaded is None:
            raise HTTPException(409, "nothing is loaded")
        self._engine.shelf.loaded.poisoned = True
        return Response(status_code=204)
