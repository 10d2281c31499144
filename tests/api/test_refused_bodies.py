"""What a refused call held is let go at once: the collector runs seldom, and a body may have 32 MB."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.api.whole import KEY, opened

SIZE = 2_000_000
WRAPPED = b"A" * 76 + rb"\n"
HEAD = b'{"prompt": "x", "sd_model_checkpoint": "red", '
BODIES = {
    "a picture that is none": ("img2img", HEAD + b'"init_images": ["' + WRAPPED * (SIZE // len(WRAPPED)) + b'"]}'),
    "two of them": ("img2img", HEAD + b'"init_images": ["' + b"!" * SIZE + b'", "?"], "mask": "!"}'),
    "a batch of them": ("extra-batch-images", b'{"imageList": [{"data": "' + b"A" * SIZE + b'"}, {"data": "!"}]}'),
    "a field of the wrong type": ("txt2img", HEAD + b'"steps": "x", "negative_prompt": "' + b"a" * SIZE + b'"}'),
    "no JSON": ("txt2img", b'{"prompt": "' + b"a" * SIZE),
    "a model that nobody has": (
        "txt2img",
        b'{"prompt": "x", "zzz": "' + b"a" * SIZE + b'", "sd_model_checkpoint": "q"}',
    ),
}


@pytest.mark.parametrize("which", BODIES)
async def test_refused_bodies_do_not_pile_up_until_the_collector_runs(which, tmp_path, valkey):
    name, body = BODIES[which]
    async with opened(tmp_path, valkey) as whole:

        async def refused():
            answer = await whole.client.post(
                f"/sdapi/v1/{name}", content=body, headers={"Authorization": f"Bearer {KEY}"}
            )
            assert answer.status_code == 422, answer.text

        await refused()
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(4):
                await refused()
            assert tracemalloc.get_traced_memory()[0] < SIZE
        finally:
            tracemalloc.stop()
            gc.enable()
