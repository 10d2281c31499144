"""The application behind its edge, before anything is opened and over a pool in virtual time."""

from __future__ import annotations

import httpx2
import pytest
from starlette.requests import Request

from gateway.adapters.metrics import Metrics
from gateway.asgi import create_app, routes
from gateway.flow.account import Account
from gateway.flow.byte_budget import ByteBudget
from gateway.flow.call_limits import CallLimits
from gateway.flow.pulse import Pulse
from gateway.flow.readiness import Readiness
from gateway.settings import Settings
from gateway.wiring.serving import Services
from tests.api.support import asking
from tests.flow.world import KEY, MemoryLedger, running

ORIGIN = {"origin": "https://app.example"}


async def test_the_edge_is_around_everything_with_the_settings_of_the_operator(tmp_path):
    app = create_app(Settings(data_dir=tmp_path, cors_origins=("https://app.example",), trusted_proxies="10.0.0.0/8"))
    who = []

    async def tell(request: Request):
        who.append(request.client.host)
        raise RuntimeError("a defect")

    app.router.add_route("/tell", tell)
    async with asking(app, "10.0.0.1") as client:
        answer = await client.get("/tell/", headers={**ORIGIN, "x-forwarded-for": "198.51.100.9"})
    assert who == ["198.51.100.9"]
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, ORIGIN["origin"])
    assert answer.headers["x-request-id"]


@pytest.mark.virtual_time
async def test_every_core_route_stands_under_both_paths_and_answers_the_same():
    async with running() as world:
        app = create_app(Settings())
        app.router.routes.extend(routes(services_of(world)))
        async with asking(app) as client:
            client.headers["authorization"] = f"Bearer {KEY}"
            for name, alias in (
                ("sd-models", "img-models"),
                ("upscalers", "upscalers"),
                ("samplers", "img-samplers"),
                ("options", "img-options"),
            ):
                answers = [await client.get(path) for path in (f"/sdapi/v1/{name}", f"/v1/{name}", f"/v1/{alias}")]
                assert [answer.status_code for answer in answers] == [200] * 3
                assert answers[0].json() == answers[1].json() == answers[2].json()
            for path in ("/sdapi/v1/txt2img", "/v1/upscale-img", "/v1/img2img"):
                assert await refusal(client, path) == (422, "InvalidRequest")
                assert (await client.get(path)).status_code == 405
            assert (await client.get("/v1/models")).content == b'{"detail":"Not Found"}'


async def refusal(client: httpx2.AsyncClient, path: str) -> tuple[int, str]:
    answer = await client.post(path, content=b"[]")
    return answer.status_code, answer.json()["error"]


def services_of(world) -> Services:
    process = world.process
    pulse = Pulse(process.jobs, process.jobs, process.held, process.way_out, process.epoch, process.current)
    account = Account(MemoryLedger(), process.own, lambda: 0.0)
    readiness = Readiness(pulse, process.current)
    return Services(
        process.gateway, process.current, readiness, ByteBudget(), CallLimits(), account, process.rescans, Metrics()
    )
