"""Upscales: always 500 on a stock server; on a fixed one silent about all it does not do.

Names are case-sensitive; an unknown one, `None` and `Latent *` give the picture back at its old size with 200. Only
`html_info` tells, and for `Latent *` not even that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from gateway.simulator.sdnext.encoding import decode_image, encode_image, image_bytes, megapixels_of
from gateway.simulator.sdnext.failures import Crashed

if TYPE_CHECKING:
    from gateway.simulator.sdnext.engine import Engine
    from gateway.simulator.sdnext.request_models import UpscaleBatchBody, UpscaleBody, UpscaleImageBody

_DOWNLOAD_S = 3.0
_ENCODE_S_PER_MEGAPIXEL = {"png": 0.32}
# Seconds relative to Lanczos, measured on a CPU.
_SLOWNESS = {"ICB Interpolation": 5000.0, "HQX Interpolation": 25.0}
_NEEDS_WEIGHTS = ("SeedVR2", "Asymmetric VAE", "WAN Asymmetric")
_FILTERS = {
    "Resize Nearest": Image.Resampling.NEAREST,
    "Resize Bicubic": Image.Resampling.BICUBIC,
    "Resize Bilinear": Image.Resampling.BILINEAR,
    "Resize Hamming": Image.Resampling.HAMMING,
    "Resize Box": Image.Resampling.BOX,
}


class Upscaling:
    """Runs upscales on an engine, under the same lock as generations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def single(self, body: UpscaleImageBody) -> dict[str, Any]:
        """The reply to `/extra-single-image`. Raises `Refused` for a bad image, `Crashed` on a stock server."""
        (image,), info = await self._run(body, [body.image], "ResProcessImage")
        return {"html_info": info, "image": image}

    async def batch(self, body: UpscaleBatchBody) -> dict[str, Any]:
        """The reply to `/extra-batch-images`: one info for all."""
        images, info = await self._run(body, [file.data for file in body.imageList], "ResProcessBatch")
        return {"html_info": info, "images": images}

    async def _run(self, body: UpscaleBody, encoded: list[str], reply: str) -> tuple[list[str], str]:
        engine = self._engine
        images = [await self._decode(text) for text in encoded]
        async with engine.lock():
            engine.begin_job("Extras")
            engine.counters.jobs += 1
            done = [await self._upscale(image, body) for image in images]
            engine.state.end()
        if engine.options.upscalers == "stock":
            raise _broken_reply(reply)
        info = _html_info(body, done[-1].size, does_anything=self._does_anything(body.upscaler_1)) if done else ""
        return [await self._encode(image, info) for image in done], info

    async def _decode(self, text: str) -> Image.Image:
        data = image_bytes(text)
        await self._engine.hold_in_memory(megapixels_of(data))
        return decode_image(data).convert("RGB")

    async def _upscale(self, image: Image.Image, body: UpscaleBody) -> Image.Image:
        name = body.upscaler_1
        if self._lacks_weights(name):
            await self._engine.clock.sleep(_DOWNLOAD_S)
            self._engine.state.end()
            raise Crashed("IndexError", "list index out of range")
        if not self._does_anything(name) or name.startswith("Latent"):
            return image
        size = _target(image.size, body)
        await self._engine.hold_in_memory(size[0] * size[1] / 1e6)
        seconds = self._engine.options.upscale_seconds_per_megapixel * size[0] * size[1] / 1e6
        await self._engine.work(seconds * _SLOWNESS.get(name, 1.0), "upscale", stoppable=False)
        big = image.resize(size, _FILTERS.get(name, Image.Resampling.LANCZOS))
        if body.resize_mode == 1 and body.upscaling_crop:
            wanted = (body.upscaling_resize_w, body.upscaling_resize_h)
            left, top = (size[0] - wanted[0]) // 2, (size[1] - wanted[1]) // 2
            return big.crop((left, top, left + wanted[0], top + wanted[1]))
        return big

    async def _encode(self, image: Image.Image, info: str) -> str:
        """Outside the lock, with `/progress` already idle; a large PNG takes long."""
        options = self._engine.server_options
        image_format = options.get("samples_format")
        per_megapixel = _ENCODE_S_PER_MEGAPIXEL.get(str(image_format), 0.03)
        await self._engine.clock.sleep(per_megapixel * image.size[0] * image.size[1] / 1e6)
        text = info if image_format == "png" else ""
        return encode_image(image, image_format, options.get("jpeg_quality"), text, "postprocessing")

    def _does_anything(self, name: str) -> bool:
        return name != "None" and name in self._engine.facts.upscalers

    def _lacks_weights(self, name: str) -> bool:
        needs = self._engine.facts.upscalers.get(name) is not None or name.startswith(_NEEDS_WEIGHTS)
        return needs and self._does_anything(name) and name not in self._engine.options.upscaler_weights


def _target(size: tuple[int, int], body: UpscaleBody) -> tuple[int, int]:
    """Pixels before cropping: by a factor, or as large as covers the wanted size."""
    factor = body.upscaling_resize
    if body.resize_mode == 1:
        factor = max(body.upscaling_resize_w / size[0], body.upscaling_resize_h / size[1])
    return round(size[0] * factor), round(size[1] * factor)


def _html_info(body: UpscaleBody, size: tuple[int, int], *, does_anything: bool) -> str:
    """Plain text in spite of its name. Without an upscaler it ends in a comma and a space."""
    head = f"Size: {size[0]}x{size[1]}, "
    if not does_anything:
        return head
    parts = [f"Postprocess upscale by: {body.upscaling_resize}"]
    if body.resize_mode == 1:
        wanted = f"{body.upscaling_resize_w}x{body.upscaling_resize_h}"
        parts = [f"Postprocess upscale to: {wanted}"]
        parts += [f"Postprocess crop to: {wanted}"] if body.upscaling_crop else []
    parts.append(f"Postprocess upscaler: {body.upscaler_1}")
    if body.upscaler_2 != "None":
        parts.append(f"Postprocess upscaler 2: {body.upscaler_2}")
    return head + ", ".join(parts)


def _broken_reply(model: str) -> Crashed:
    """The work is done, then the reply cannot be built: a bug of this revision."""
    return Crashed(
        "ValidationError",
        f"1 validation error for {model}\nhtml_info\n  Input should be a valid string "
        "[type=string_type, input_value=None, input_type=NoneType]\n    "
        "For further information visit https://errors.pydantic.dev/2.13/v/string_type",
    )
