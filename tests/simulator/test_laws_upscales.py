"""Upscales: broken on a stock server, silent about what they do not do on a repaired one."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import pytest
from PIL import Image

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import as_base64, in_process, in_virtual_time, instant

SOURCE = as_base64(Image.linear_gradient("L").resize((64, 48)).convert("RGB"))
FIXED = instant(upscalers="fixed")


def image_of(reply: Any) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(reply.json()["image"])))
    image.load()
    return image


async def _upscaled(backend: Any, name: str, **fields: Any) -> Any:
    return await backend.post("extra-single-image", {"image": SOURCE, "upscaler_1": name, **fields})


@pytest.mark.parametrize("name", ["Resize Lanczos", "None", "Nope", "R-ESRGAN 4x+"])
async def test_on_a_stock_server_every_upscale_is_500_after_the_work_was_done(name: str) -> None:
    async with in_process(instant()) as backend:
        reply = await _upscaled(backend, name)

        assert (reply.status_code, reply.json()["error"]) == (500, "ValidationError")
        assert backend.engine.counters.jobs == 1
        assert (await backend.get("status")).json()["status"] == "idle"


async def test_repaired_it_enlarges_and_says_so_in_plain_text() -> None:
    async with in_process(FIXED) as backend:
        reply = await _upscaled(backend, "Resize Lanczos", upscaling_resize=2)

        assert image_of(reply).size == (128, 96)
        expected = "Size: 128x96, Postprocess upscale by: 2.0, Postprocess upscaler: Resize Lanczos"
        assert reply.json()["html_info"] == expected


@pytest.mark.parametrize("name", ["None", "Nope", "resize lanczos", "R-ESRGAN 4x+"])
async def test_an_unknown_name_or_another_case_gives_the_picture_back_at_its_size_with_200(name: str) -> None:
    async with in_process(FIXED) as backend:
        reply = await _upscaled(backend, name)

        assert (reply.status_code, image_of(reply).size) == (200, (64, 48))
        assert "Postprocess upscaler" not in reply.json()["html_info"]


async def test_latent_upscalers_claim_to_have_worked_and_do_nothing() -> None:
    async with in_process(FIXED) as backend:
        reply = await _upscaled(backend, "Latent Bicubic")

        assert image_of(reply).size == (64, 48)
        assert "Postprocess upscaler: Latent Bicubic" in reply.json()["html_info"]


@pytest.mark.parametrize("upscalers", ["stock", "fixed"])
@in_virtual_time
async def test_a_listed_upscaler_without_weights_tries_to_download_and_then_is_500(upscalers: Any) -> None:
    async with in_process(SimulationOptions(upscalers=upscalers)) as backend:
        started = asyncio.get_running_loop().time()
        reply = await _upscaled(backend, "ESRGAN 4x Ultrasharp")

        assert (reply.status_code, reply.json()["errors"]) == (500, "list index out of range")
        assert 3 <= asyncio.get_running_loop().time() - started < 4


async def test_an_upscaler_whose_weights_are_on_disk_works() -> None:
    options = instant(upscalers="fixed", upscaler_weights=frozenset({"ESRGAN 4x Ultrasharp"}))
    async with in_process(options) as backend:
        assert image_of(await _upscaled(backend, "ESRGAN 4x Ultrasharp", upscaling_resize=4)).size == (256, 192)


async def test_resize_mode_1_gives_exactly_the_size_asked_for_by_cropping() -> None:
    async with in_process(FIXED) as backend:
        asked = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50}

        assert image_of(await _upscaled(backend, "Resize Lanczos", **asked)).size == (100, 50)


@pytest.mark.parametrize(("factor", "status"), [(0.5, 422), (1, 200), (8, 200), (9, 422)])
async def test_the_factor_lies_between_1_and_8(factor: float, status: int) -> None:
    async with in_process(FIXED) as backend:
        assert (await _upscaled(backend, "Resize Box", upscaling_resize=factor)).status_code == status


async def test_the_global_png_option_also_applies_to_upscales_with_its_own_text_key() -> None:
    async with in_process(FIXED) as backend:
        await backend.post("options", {"samples_format": "png"})
        reply = await _upscaled(backend, "Resize Lanczos")

        assert image_of(reply).format == "PNG"
        assert image_of(reply).info["postprocessing"] == reply.json()["html_info"]


@in_virtual_time
async def test_some_interpolations_are_thousands_of_times_slower_than_lanczos() -> None:
    async with in_process(SimulationOptions(upscalers="fixed")) as backend:
        now, took = asyncio.get_running_loop().time, {}
        for name in ("Resize Lanczos", "HQX Interpolation", "ICB Interpolation"):
            started = now()
            await _upscaled(backend, name)
            took[name] = now() - started

        assert took["ICB Interpolation"] > 100 * took["HQX Interpolation"] > 1000 * took["Resize Lanczos"]


@in_virtual_time
async def test_a_large_png_is_encoded_outside_the_lock_with_progress_idle() -> None:
    big = as_base64(Image.new("RGB", (1024, 1024)), "JPEG")
    options = SimulationOptions(upscalers="fixed", upscale_seconds_per_megapixel=0)
    async with in_process(options) as backend, asyncio.TaskGroup() as tasks:
        await backend.post("options", {"samples_format": "png"})
        body = {"image": big, "upscaler_1": "Resize Nearest", "upscaling_resize": 2}
        upscale = tasks.create_task(backend.post("extra-single-image", body))
        await asyncio.sleep(0.5)
        idle = (await backend.get("status")).json()["status"]
        other = await backend.txt2img(steps=1)

        assert not upscale.done()
        assert (idle, other.status_code) == ("idle", 200)


async def test_a_batch_has_one_info_for_all_its_images() -> None:
    async with in_process(FIXED) as backend:
        files = [{"data": SOURCE, "name": "a.png"}, {"data": SOURCE, "name": "b.png"}]
        reply = await backend.post("extra-batch-images", {"imageList": files, "upscaler_1": "Resize Lanczos"})

        assert len(reply.json()["images"]) == 2
        assert reply.json()["html_info"].startswith("Size: 128x96, ")
