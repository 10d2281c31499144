"""Options: what is listed, what is secret, what is written, what any request may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import A, B, in_process, instant, picture


def kept_in(folder: Path, **changes: Any) -> SimulationOptions:
    return instant(state_dir=folder, **changes)


async def test_a_first_run_lists_all_634_options_and_a_later_one_about_35(tmp_path: Path) -> None:
    async with in_process(kept_in(tmp_path)) as backend:
        first = (await backend.get("options")).json()
        await backend.post("options", {"jpeg_quality": 80})
    async with in_process(kept_in(tmp_path)) as backend:
        later = (await backend.get("options")).json()

    assert len(first) == 634
    assert 30 <= len(later) <= 40
    assert later["jpeg_quality"] == 80


async def test_options_written_over_the_api_survive_a_restart(tmp_path: Path) -> None:
    async with in_process(kept_in(tmp_path)) as backend:
        changes = {"samples_format": "png", "server_rate_limit": 0, "sd_model_checkpoint": B, "lora_fuse_native": False}
        await backend.post("options", changes)
    async with in_process(kept_in(tmp_path)) as backend:
        listed = (await backend.get("options")).json()

        assert {name: listed[name] for name in changes} == changes
        assert await backend.loaded() == B
        assert picture(await backend.txt2img()).format == "PNG"


async def test_on_a_first_run_the_first_model_is_loaded(tmp_path: Path) -> None:
    async with in_process(kept_in(tmp_path)) as backend:
        assert await backend.loaded() == A
        assert len((await backend.txt2img()).json()["images"]) == 1


async def test_a_bad_model_name_survives_a_restart_as_well(tmp_path: Path) -> None:
    async with in_process(kept_in(tmp_path)) as backend:
        await backend.post("options", {"sd_model_checkpoint": "no-such-model"})
    async with in_process(kept_in(tmp_path)) as backend:
        assert (await backend.txt2img()).json()["images"] == []


async def test_a_top_level_switch_is_not_written_to_disk(tmp_path: Path) -> None:
    async with in_process(kept_in(tmp_path)) as backend:
        await backend.post("options", {"jpeg_quality": 80})
        await backend.txt2img(sd_model_checkpoint=B)
    async with in_process(kept_in(tmp_path)) as backend:
        assert await backend.loaded() == A


async def test_secrets_set_over_the_api_are_not_listed_but_a_project_id_is(tmp_path: Path) -> None:
    secrets = {
        "huggingface_token": "hf_X",
        "civitai_token": "civ_X",
        "google_api_key": "g_X",
        "google_project_id": "p_X",
    }
    async with in_process(kept_in(tmp_path)) as backend:
        reply = await backend.post("options", secrets)
        listed = (await backend.get("options")).text

    assert reply.json() == {"updated": [dict.fromkeys([name], True) for name in secrets]}
    assert [value in listed for value in secrets.values()] == [False, False, False, True]
    assert json.loads((tmp_path / "secrets.json").read_text())["huggingface_token"] == secrets["huggingface_token"]


async def test_a_token_that_stands_in_config_json_is_listed_in_clear_for_that_run(tmp_path: Path) -> None:
    config = {"huggingface_token": "hf_INCONFIG"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    async with in_process(kept_in(tmp_path)) as backend:
        assert (await backend.get("options")).json().items() >= config.items()


async def test_options_show_the_machines_paths() -> None:
    async with in_process(instant()) as backend:
        listed = (await backend.get("options")).json()

        assert listed["ckpt_dir"] == "/sdnext/data/models/Stable-diffusion"


async def test_the_command_line_flags_show_the_password_in_clear() -> None:
    async with in_process(instant(auth="user:password")) as backend:
        flags = await backend.http.get("/sdapi/v1/cmd-flags", auth=("user", "password"))

        assert flags.json()["auth"] == "user:password"


@pytest.mark.parametrize(
    ("body", "updated"),
    [
        ({"no_such_option": 1}, [{"no_such_option": False}]),
        ({"jpeg_quality": "high"}, [{"jpeg_quality": True}]),
        ({"jpeg_quality": 90}, [{"jpeg_quality": False}]),
        ({}, []),
    ],
)
async def test_writing_options_never_fails_and_says_what_changed(body: dict[str, Any], updated: list[Any]) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("options", body)

        assert (reply.status_code, reply.json()) == (200, {"updated": updated})


async def test_an_override_sets_any_option_for_one_request_only() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(override_settings={"jpeg_quality": 10})

        assert backend.engine.server_options.get("jpeg_quality") == 90


async def test_an_override_that_is_not_restored_stays_for_everybody() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(override_settings={"jpeg_quality": 10}, override_settings_restore_afterwards=False)

        assert backend.engine.server_options.get("jpeg_quality") == 10


async def test_output_paths_cannot_be_overridden() -> None:
    async with in_process(instant()) as backend:
        before = backend.engine.server_options.get("outdir_txt2img_samples")
        evil = {"override_settings": {"outdir_txt2img_samples": "/evil"}, "override_settings_restore_afterwards": False}
        await backend.txt2img(**evil)

        assert backend.engine.server_options.get("outdir_txt2img_samples") == before


OPTION_FIELDS = (
    "label section_id section_title visible hidden type component component_args default is_legacy is_secret".split()
)


async def test_options_info_lists_every_option_below_options_and_calls_none_a_secret() -> None:
    async with in_process(instant()) as backend:
        told = (await backend.get("options-info")).json()

        assert set(told) == {"options", "sections"}
        assert len(told["options"]) == 635
        assert all(list(each) == OPTION_FIELDS for each in told["options"].values())
        assert not any(each["is_secret"] for each in told["options"].values())
        assert told["options"]["samples_format"]["default"] == "jpg"
