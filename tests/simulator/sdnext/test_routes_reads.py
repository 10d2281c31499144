from __future__ import annotations

import pytest

from tests.simulator.support import in_process, instant


@pytest.mark.parametrize(("path", "count"), [("samplers", 114), ("upscalers", 51), ("sd-models", 2), ("detailers", 10)])
async def test_lists_have_the_observed_lengths(path: str, count: int) -> None:
    async with in_process(instant()) as backend:
        assert len((await backend.get(path)).json()) == count


@pytest.mark.parametrize("path", ["unets", "controlnets", "ip-adapters", "extensions"])
async def test_what_it_has_not_is_an_empty_list(path: str) -> None:
    async with in_process(instant()) as backend:
        assert (await backend.get(path)).json() == []


async def test_vaes_and_loras_are_listed_with_their_paths() -> None:
    async with in_process(instant(vaes=("sharp.safetensors",), loras=("styles/inky2",))) as backend:
        assert (await backend.get("sd-vae")).json() == [
            {"model_name": "sharp.safetensors", "filename": "/sdnext/data/models/VAE/sharp.safetensors"}
        ]
        assert (await backend.get("loras")).json() == [
            {
                "name": "inky2",
                "alias": "inky2",
                "path": "/sdnext/data/models/Lora/styles/inky2.safetensors",
                "metadata": {},
            }
        ]


async def test_memory_is_there_for_clients_that_ask_it_whether_the_server_is_ready() -> None:
    async with in_process(instant()) as backend:
        assert set((await backend.get("memory")).json()) == {"ram", "cuda"}
