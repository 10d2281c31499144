from __future__ import annotations

import pytest

from tests.simulator.support import in_process, instant


@pytest.mark.parametrize(
    "path",
    [
        "interrupt",
        "skip",
        "refresh-checkpoints",
        "refresh-vae",
        "unload-checkpoint",
        "reload-checkpoint",
        "lock-checkpoint",
    ],
)
async def test_commands_answer_204_with_nothing_in_it(path: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post(path)

        assert (reply.status_code, reply.content, "content-type" in reply.headers) == (204, b"", False)


async def test_a_picture_without_infotext_has_none() -> None:
    async with in_process(instant()) as backend:
        image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
        reply = await backend.post("png-info", {"image": image})

        assert reply.json() == {"info": "", "items": {}, "parameters": {}}


async def test_control_is_there_and_always_fails() -> None:
    async with in_process(instant()) as backend:
        assert (await backend.post("control", {"prompt": "a cat"})).json()["error"] == "TypeError"


async def test_a_checkpoint_must_be_named() -> None:
    async with in_process(instant()) as backend:
        assert (await backend.post("checkpoint")).status_code == 422
