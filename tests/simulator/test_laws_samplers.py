"""Samplers, sigmas and hires: what is silently replaced or not done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.support import SMALL, A, in_process, info, instant, last_line, picture
from tests.simulator.test_laws_pictures import differs

PNDM = instant(schedulers={A: "PNDM"})


@pytest.mark.parametrize("name", ["DPM++ 2M", "Euler a", "UniPC", "Heun", "DDIM", "LMSD", "DEIS", "KDPM2", "DPM++ SDE"])
async def test_with_an_euler_checkpoint_a_sampler_without_sigmas_is_replaced_by_the_default(name: str) -> None:
    async with in_process(instant()) as backend:
        default, asked = await backend.txt2img(seed=1), await backend.txt2img(seed=1, sampler_name=name)

        assert differs(picture(default), picture(asked)) == 0
        assert info(asked)["sampler_name"] == name
        assert (last_line(asked)["Sampler"], last_line(asked)["Scheduler"]) == (name, "EulerDiscreteScheduler")


async def test_with_a_pndm_checkpoint_every_sampler_works() -> None:
    async with in_process(PNDM) as backend:
        default = await backend.txt2img(seed=1)
        made = {name: await backend.txt2img(seed=1, sampler_name=name) for name in ("Euler a", "DDIM", "DPM++ 2M")}

        assert last_line(default)["Scheduler"] == "PNDMScheduler"
        assert [last_line(reply)["Scheduler"] for reply in made.values()] == [
            "EulerAncestralDiscreteScheduler",
            "DDIMScheduler",
            "DPMSolverMultistepScheduler",
        ]
        assert all(differs(picture(default), picture(reply)) > 0 for reply in made.values())


@pytest.mark.parametrize("name", ["DPM++ 2M Karras", "Nope 3000", "", "None"])
async def test_an_unknown_sampler_is_404_at_once_without_waiting_for_the_lock(name: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(sampler_name=name)

        assert (reply.status_code, reply.json()["detail"]) == (404, "Sampler not found")
        assert backend.engine.counters.jobs == 0


async def test_sampler_names_are_matched_whatever_their_case() -> None:
    async with in_process(instant()) as backend:
        assert (await backend.txt2img(sampler_name="EULER")).status_code == 200


async def test_sampler_index_counts_only_without_a_sampler_name() -> None:
    async with in_process(PNDM) as backend:
        ignored = await backend.txt2img(sampler_index="Euler a")
        used = await backend.txt2img(sampler_name="", sampler_index="Euler a")

        assert last_line(ignored)["Scheduler"] == "PNDMScheduler"
        assert last_line(used)["Scheduler"] == "EulerAncestralDiscreteScheduler"


@pytest.mark.parametrize(
    ("sampler", "sigma", "works"),
    [
        ("DPM++ 2M", "karras", True),
        ("DPM++ 2M", "Karras", False),
        ("DPM++ 2M", "nonsense", False),
        ("Euler a", "karras", False),
        ("DDIM", "karras", False),
    ],
)
async def test_schedulers_sigma_needs_lower_case_and_a_fitting_sampler_but_is_always_claimed(
    sampler, sigma, works
) -> None:
    async with in_process(PNDM) as backend:
        plain = picture(await backend.txt2img(seed=1, sampler_name=sampler))
        reply = await backend.txt2img(seed=1, sampler_name=sampler, schedulers_sigma=sigma)
        after = picture(await backend.txt2img(seed=1, sampler_name=sampler))

        assert (differs(plain, picture(reply)) > 0) is works
        assert last_line(reply)["Sampler sigma"] == sigma
        assert differs(plain, after) == 0


A1111_HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}


@pytest.mark.parametrize("upscaler", ["Latent", "R-ESRGAN 4x+", "Resize Lanczos", "Nope"])
async def test_hires_asked_the_a1111_way_does_nothing(upscaler: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(**A1111_HIRES, hr_upscaler=upscaler)

        assert picture(reply).size == (64, 64)


@pytest.mark.parametrize(
    ("fields", "size"),
    [({"hr_scale": 2}, (128, 128)), ({"hr_resize_x": 96, "hr_resize_y": 160}, (96, 160))],
)
async def test_hires_with_a_resize_mode_and_a_real_upscaler_enlarges(
    fields: dict[str, Any], size: tuple[int, int]
) -> None:
    async with in_process(instant()) as backend:
        asked = {"enable_hr": True, "hr_resize_mode": 1, "hr_upscaler": "Resize Lanczos"} | fields

        assert picture(await backend.txt2img(**asked)).size == size


async def test_an_unknown_hires_sampler_is_ignored() -> None:
    async with in_process(instant()) as backend:
        assert (await backend.txt2img(**A1111_HIRES, hr_sampler_name="Nope 3000")).status_code == 200


@pytest.mark.parametrize(("steps", "images"), [(1, 0), (3, 0), (4, 1)])
async def test_pndm_with_fewer_than_four_steps_is_an_empty_200(steps: int, images: int) -> None:
    async with in_process(PNDM) as backend:
        reply = await backend.txt2img(sampler_name="PNDM", steps=steps)

        assert (reply.status_code, len(reply.json()["images"])) == (200, images)
        assert len(info(reply)["infotexts"]) == 1
        assert len((await backend.txt2img(steps=steps)).json()["images"]) == 1  # the checkpoint's own PNDM can


async def test_with_an_euler_checkpoint_pndm_is_replaced_and_needs_no_steps_of_its_own() -> None:
    async with in_process(instant()) as backend:
        assert len((await backend.txt2img(sampler_name="PNDM", steps=1)).json()["images"]) == 1


@pytest.mark.parametrize(("strength", "images"), [(0.01, 0), (0.5, 1)])
async def test_a_strength_that_plans_for_more_steps_than_were_trained_is_an_empty_200(
    strength: float, images: int
) -> None:
    async with in_process(PNDM) as backend:
        init = (await backend.txt2img()).json()["images"]
        asked = {"init_images": init, "denoising_strength": strength, "sampler_name": "DDIM", "steps": 20}
        reply = await backend.post("img2img", SMALL | asked)

        assert (reply.status_code, len(reply.json()["images"])) == (200, images)
