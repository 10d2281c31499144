"""The app as a client sees it, on a real socket."""

from __future__ import annotations

import base64
import io
import json

import httpx2
from PIL import Image

from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions


async def test_a_picture_comes_back_as_a_jpeg_that_says_which_model_made_it() -> None:
    async with (
        SimulatedServer(SimulationOptions(time_scale=0)) as server,
        httpx2.AsyncClient(base_url=server.url) as client,
    ):
        reply = await client.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "width": 128, "height": 64, "steps": 2})

    body = reply.json()
    image = Image.open(io.BytesIO(base64.b64decode(body["images"][0])))
    assert (image.format, image.size) == ("JPEG", (128, 64))
    assert json.loads(body["info"])["infotexts"][0].endswith("Operations: txt2img, Model: tiny-a")
