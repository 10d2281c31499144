from __future__ import annotations

from PIL import Image

from tests.simulator.support import as_base64, in_process, instant

SOURCE = as_base64(Image.new("RGB", (40, 20)))


async def test_resize_mode_1_without_cropping_covers_the_size_asked_for() -> None:
    async with in_process(instant(upscalers="fixed")) as backend:
        body = {"image": SOURCE, "upscaler_1": "Resize Box", "resize_mode": 1, "upscaling_crop": False}
        reply = await backend.post("extra-single-image", body | {"upscaling_resize_w": 100, "upscaling_resize_h": 100})

        assert reply.json()["html_info"].startswith(
            "Size: 200x100, Postprocess upscale to: 100x100, Postprocess upscaler"
        )


async def test_an_empty_batch_is_an_empty_answer() -> None:
    async with in_process(instant(upscalers="fixed")) as backend:
        reply = await backend.post("extra-batch-images", {"imageList": []})

        assert reply.json() == {"html_info": "", "images": []}


async def test_one_bad_image_spoils_a_batch_before_any_work() -> None:
    async with in_process(instant(upscalers="fixed")) as backend:
        files = [{"data": SOURCE, "name": "a"}, {"data": "zzzz", "name": "b"}]
        reply = await backend.post("extra-batch-images", {"imageList": files})

        assert reply.json()["detail"] == "Invalid encoded image"
        assert backend.engine.counters.jobs == 0
