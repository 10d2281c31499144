"""Calls about pictures over HTTP."""

from __future__ import annotations

import asyncio
import base64

import pytest
from PIL import Image
from starlette.routing import Route

from gateway.api.pictures import PictureRoutes
from tests.api.serving import Request, application
from tests.clients.support import SECOND, encoded, opened, small_pool
from tests.domain.pool import png_head
from tests.flow.world import running
from tests.support.inline_executor import InlineExecutor

TWO = [{"data": encoded(Image.new("RGB", (64, 48))), "name": "a"}, {"data": encoded(Image.new("RGB", (32, 32)))}]


def test_pictures_are_read_and_enlarged_one_by_one_each_metered(pool):
    small_pool(pool)
    pool.add_key(SECOND, "metered", {"images_per_day": 3})
    asyncio.run(_pictures(pool))


def test_of_a_batch_with_a_broken_picture_nothing_is_sent_and_nothing_counted(pool):
    small_pool(pool)
    pool.add_key(SECOND, "metered", {"images_per_day": 2})
    asyncio.run(_batches(pool))


async def _batches(pool):
    path, asked = "/sdapi/v1/extra-batch-images", {"upscaler_1": "Lanczos", "upscaling_resize": 2}
    upscales = pool.sims["one"].received
    broken, damaged = {"data": TWO[0]["data"][:60]}, {"data": damaged_pixels()}
    async with pool.client(SECOND) as client:
        refused = await client.post(path, json={**asked, "imageList": [*TWO, broken]})
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "imageList[2]"])
        assert upscales("/sdapi/v1/extra-single-image") == []

        # Only a server finds out that pixels are damaged; the two pictures that are paid for are not lost.
        made = await client.post(path, json={**asked, "imageList": [TWO[0], damaged, TWO[1]]})
        assert (made.status_code, [opened(image).size for image in made.json()["images"]]) == (
            200,
            [(128, 96), (64, 64)],
        )
        assert [one["loc"] for one in made.json()["failed"]] == [["body", "imageList[1]"]]
        assert "imageList[1] (failed: image could not be decoded" in made.headers["x-gateway-adjusted"]
        assert (await client.post(path, json={**asked, "imageList": TWO})).status_code == 429, "both were counted"


def damaged_pixels():
    """A picture that is whole but for its pixels."""
    return base64.b64encode(png_head(64, 64)).decode()


async def _pictures(pool):
    async with pool.client(SECOND) as client:
        made = (await client.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "steps": 1, "width": 64})).json()
        for text in (made["images"][0], "data:image/png;base64," + made["images"][0]):
            read = (await client.post("/sdapi/v1/png-info", json={"image": text})).json()
            assert (read["parameters"]["Prompt"], read["parameters"]["Steps"]) == ("a cat", 1)
            assert read["info"] == read["items"]["parameters"]
        assert (await client.post("/sdapi/v1/png-info", json={"image": ""})).json()["info"] == ""
        wrapped = "\r\n".join(made["images"][0][at : at + 76] for at in range(0, len(made["images"][0]), 76))
        url_safe = made["images"][0].rstrip("=").replace("+", "-").replace("/", "_")
        for text in (wrapped, url_safe, 'data:image/png;name="a, b";base64,' + wrapped):
            assert (await client.post("/sdapi/v1/png-info", json={"image": text})).json() == read
        for image in ("http://127.0.0.1:9/a.png", "AAAA", 3, None, [], "/etc/passwd"):
            refused = await client.post("/sdapi/v1/png-info", json={"image": image})
            assert refused.status_code == 422, image

        both = {"upscaler_1": "Lanczos", "upscaling_resize": 2, "imageList": TWO}
        larger = await client.post("/sdapi/v1/extra-batch-images", json=both)
        assert [opened(image).size for image in larger.json()["images"]] == [(128, 96), (64, 64)]
        assert len(larger.headers["x-job-id"].split(", ")) == 2
        assert (await client.post("/sdapi/v1/extra-batch-images", json=both)).status_code == 429, "three were paid for"
        assert len(pool.sims["one"].received("/sdapi/v1/extra-single-image")) == 2
        assert pool.sims["one"].received("/sdapi/v1/extra-batch-images") == []
        for pictures in (None, [], {}, TWO * 5, [3], [{"data": "http://x/y.png"}], ["AAAA"]):
            refused = await client.post("/sdapi/v1/extra-batch-images", json={**both, "imageList": pictures})
            assert refused.status_code in (422, 429), pictures


@pytest.mark.virtual_time
async def test_a_picture_is_read_beside_the_calls_and_so_is_the_json_around_it():
    path, reader = "/sdapi/v1/png-info", InlineExecutor()
    async with running() as world:
        route = Route(path, PictureRoutes(world.process.gateway, reader).png_info, methods=["POST"])
        app = application(world.process.gateway, route)
        answer = await Request(app, {"image": TWO[0]["data"]}, path).send_all()
        assert (answer.status, answer.json["info"]) == (200, "")
        refused = await Request(app, b"{", path).send_all()
        assert (refused.status, len(reader.submitted)) == (422, 2)
