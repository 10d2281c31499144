"""Calls about pictures over HTTP."""

from __future__ import annotations

import asyncio
import base64

from PIL import Image

from tests.api.whole import opened as opened_app
from tests.clients.support import SECOND, encoded, opened, small_pool

TWO = [{"data": encoded(Image.new("RGB", (64, 48))), "name": "a"}, {"data": encoded(Image.new("RGB", (32, 32)))}]


def test_pictures_are_read_and_enlarged_one_by_one_each_metered(pool):
    small_pool(pool)
    pool.add_key(SECOND, "metered", {"images_per_day": 3})
    asyncio.run(_pictures(pool))


async def _pictures(pool):
    async with pool.client(SECOND) as client:
        made = (await client.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "steps": 1, "width": 64})).json()
        for text in (made["images"][0], "data:image/png;base64," + made["images"][0]):
            read = (await client.post("/sdapi/v1/png-info", json={"image": text})).json()
            assert (read["parameters"]["Prompt"], read["parameters"]["Steps"]) == ("a cat", 1)
            assert read["info"] == read["items"]["parameters"]
        assert (await client.post("/sdapi/v1/png-info", json={"image": ""})).json()["info"] == ""
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


async def test_a_picture_that_takes_long_to_read_holds_up_no_other_call(tmp_path, valkey):
    slow = base64.b64encode(b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000).decode()  # a JPEG of nothing but markers
    async with opened_app(tmp_path, valkey) as whole:
        clock = asyncio.get_running_loop().time
        call = asyncio.ensure_future(whole.post("/sdapi/v1/png-info", {"image": slow}))
        began = turned = clock()
        longest = 0.0  # that the loop, and with it every other call, stood still
        while not call.done():
            await asyncio.sleep(0)
            longest, turned = max(longest, clock() - turned), clock()
        assert (await call).status_code == 422
        assert longest < (turned - began) / 2
