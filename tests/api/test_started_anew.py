"""Gateway and servers started anew over kept data, on sockets and a real store, with calls from the first moment."""

from __future__ import annotations

import asyncio

import httpx2

from gateway.asgi import create_app
from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.api.whole import KEY, SMALL, settings_for

CALLS = 24
PNG = "iVBORw0KGgo"


async def answers_from_the_first_moment(settings):
    """What so many calls at once are answered, sent as soon as the application takes calls."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://gateway.test", timeout=120) as client,
        asyncio.TaskGroup() as group,
    ):
        headers = {"Authorization": f"Bearer {KEY}"}
        calls = [group.create_task(client.post("/sdapi/v1/txt2img", json=SMALL, headers=headers)) for _ in range(CALLS)]
        return [await call for call in calls]


async def test_the_second_start_in_the_same_folder_gives_only_png_and_no_error(tmp_path, valkey):
    """Of 120 calls 113 came as JPEG, and one was a 500: "it limits the gateway's rate"."""
    options = SimulationOptions(models=("Diffusers/red",), time_scale=0)
    ports = [None, None]
    for start in ("first", "second"):
        async with (
            SimulatedServer(options, port=ports[0] or 0) as one,
            SimulatedServer(options, port=ports[1] or 0) as two,
        ):
            ports = [int(server.url.rpartition(":")[2]) for server in (one, two)]
            declared = [{"name": "one", "url": one.url}, {"name": "two", "url": two.url}]
            settings = settings_for(tmp_path, valkey.url, declared, first_key="", demo_key=KEY, demo_key_2=f"{KEY}-2")
            for answer in await answers_from_the_first_moment(settings):
                # A store that a busy machine lets wait too long is told as such; nothing else may go wrong.
                assert answer.status_code == 200 or answer.json()["error"] == "StoreUnavailable", (start, answer.text)
                assert answer.status_code != 200 or answer.json()["images"][0].startswith(PNG), start
            for server in (one, two):
                made = [entry["path"].rpartition("/")[2] for entry in server.simulation.received.listing()
                        if entry["method"] == "POST"]  # fmt: skip
                assert made.index("options") < [*made, "txt2img"].index("txt2img"), start
