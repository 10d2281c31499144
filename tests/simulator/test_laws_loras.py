"""LoRAs: how they are named, and how the default setting lets two calls damage the checkpoint for everybody."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import ImageChops, ImageStat

from tests.simulator.support import A, in_process, instant, picture
from tests.simulator.test_laws_pictures import differs

OPTIONS = instant(loras=("inky", "styles/inky2"), new_loras=("fresh",))


async def _made(backend: Any, prompt: str) -> Any:
    return picture(await backend.txt2img(prompt=prompt, seed=1, width=128, height=120))


@pytest.mark.parametrize("tag", ["<lora:inky:0.5>", "<lora:styles/inky2:0.5>", "<lora:inky2:0.5>", "<lora:fresh:0.5>"])
async def test_a_lora_on_disk_changes_the_picture_also_when_it_is_not_listed(tag: str) -> None:
    async with in_process(OPTIONS) as backend:
        assert differs(await _made(backend, "a cat"), await _made(backend, f"a cat {tag}")) > 0.5


@pytest.mark.parametrize("tag", ["<lora:Inky:1>", "<lora:nope:1>", "<lora:other/inky:1>"])
async def test_unknown_loras_and_other_cases_are_silently_ignored(tag: str) -> None:
    async with in_process(OPTIONS) as backend:
        assert differs(await _made(backend, "a cat"), await _made(backend, f"a cat {tag}")) == 0


async def test_new_loras_are_listed_after_a_rescan() -> None:
    async with in_process(OPTIONS) as backend:
        before = [lora["name"] for lora in (await backend.get("loras")).json()]
        await backend.post("refresh-loras")
        after = [lora["name"] for lora in (await backend.get("loras")).json()]

        assert (before, after) == (["inky", "inky2"], ["fresh", "inky", "inky2"])


async def test_the_same_lora_with_another_strength_gets_the_first_strength() -> None:
    async with in_process(OPTIONS) as backend:
        half = await _made(backend, "a cat <lora:inky:0.5>")
        tenth = await _made(backend, "a cat <lora:inky:0.1>")

        assert differs(half, tenth) == 0


async def test_and_it_damages_the_checkpoint_for_everybody_until_it_is_loaded_anew() -> None:
    async with in_process(OPTIONS) as backend:
        plain = await _made(backend, "a cat")
        await _made(backend, "a cat <lora:inky:0.5>")
        await _made(backend, "a cat <lora:inky:0.1>")
        damaged = [await _made(backend, "a cat") for _ in range(3)]
        await backend.post("checkpoint", sd_model_checkpoint=A, force=True)
        mended = await _made(backend, "a cat")

        for picture_after in damaged:
            most = max(high for _, high in ImageStat.Stat(ImageChops.difference(plain, picture_after)).extrema)
            assert 3 < differs(plain, picture_after) < 11
            assert 40 < most <= 90
        assert differs(plain, mended) == 0


async def test_a_plain_call_in_between_prevents_the_damage() -> None:
    async with in_process(OPTIONS) as backend:
        plain = await _made(backend, "a cat")
        for prompt in ("a cat <lora:inky:0.5>", "a cat", "a cat <lora:inky:0.1>"):
            await _made(backend, prompt)

        assert differs(plain, await _made(backend, "a cat")) == 0


@pytest.mark.parametrize("field", ["lora_fuse_native", "lora_force_reload"])
async def test_the_per_request_fields_change_nothing(field: str) -> None:
    async with in_process(OPTIONS) as backend:
        plain = await _made(backend, "a cat")
        for strength in (0.5, 0.1):
            await backend.txt2img(prompt=f"a cat <lora:inky:{strength}>", **{field: field == "lora_force_reload"})

        assert differs(plain, await _made(backend, "a cat")) > 0


async def test_the_option_lora_fuse_native_false_cures_it_exactly() -> None:
    async with in_process(OPTIONS) as backend:
        await backend.post("options", {"lora_fuse_native": False})
        plain = await _made(backend, "a cat")
        tenth = await _made(backend, "a cat <lora:inky:0.1>")
        half = await _made(backend, "a cat <lora:inky:0.5>")
        tenth_again = await _made(backend, "a cat <lora:inky:0.1>")

        assert differs(tenth, half) > 0
        assert differs(tenth, tenth_again) == 0
        assert differs(plain, await _made(backend, "a cat")) == 0
