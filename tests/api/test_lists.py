"""The lists over HTTP: A1111's shapes, no path of a server, and no wait for a backend."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from gateway.api.lists import ALWAYS_EMPTY
from gateway.domain.keys import Grants, Names
from tests.clients.support import FAST, SECOND, UnderWay, small_pool
from tests.support.processes import wait_until

LISTS = (
    "schedulers", "loras", "embeddings", "sd-vae", "sd-modules", "latent-upscale-modes", "face-restorers", "detailers",
    "prompt-styles", "scripts", "script-info", "control-models", "preprocessors", "ip-adapters", *ALWAYS_EMPTY,
)  # fmt: skip


def test_every_list_is_there_for_its_key_alone_and_names_no_place(pool):
    small_pool(pool)
    pool.add_key(SECOND, "narrow", grants=Grants(loras=Names(()), upscalers=Names(("Resize*",))))
    answers = {name: pool.get(f"/sdapi/v1/{name}") for name in LISTS}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(LISTS, 200)
    assert "/" not in json.dumps([answers[name].json() for name in LISTS if name != "schedulers"])
    assert answers["loras"].json() == [{"name": "inky", "alias": "inky", "path": "inky", "metadata": {}}]
    assert answers["embeddings"].json() == {"loaded": {}, "skipped": {}}
    assert answers["face-restorers"].json()[0]["cmd_dir"] is None
    assert answers["scripts"].json() == {"txt2img": [], "img2img": [], "control": []}
    assert [answers[name].json() for name in ALWAYS_EMPTY] == [[]] * len(ALWAYS_EMPTY)
    assert (pool.get("/sdapi/v1/loras", SECOND).json(), pool.get("/v1/latent-upscale-modes", SECOND).json()) == ([], [])


def test_lists_options_and_progress_answer_at_once_while_the_whole_pool_loads_a_model(pool):
    pool.add_sim("one", "red,blue", **{**FAST, "swap_seconds": "600"})
    pool.start(default_model="red")
    call = {"prompt": "", "steps": 1, "sd_model_checkpoint": "blue"}
    UnderWay(lambda: pool.post(call))
    wait_until(lambda: pool.get("/sdapi/v1/progress").json()["state"]["job_count"], "the job is seen")
    took = asyncio.run(_asked_while_loading(pool))
    assert pool.sims["one"].ask("/sdapi/v1/progress")["state"]["sampling_step"] == 0, "it loads still"
    # Whoever waits for a backend waits for its ten minutes. `make bench-loading` measures how quick the answers are;
    # here they are compared with one that looks at nothing, which tells how busy the machine is.
    of_lists, of_livez = ([seconds for seconds, path in took if (path == "/livez") is bare] for bare in (False, True))
    assert statistics.median(of_lists) < 0.05 + 10 * statistics.median(of_livez)


async def _asked_while_loading(pool):
    took = []
    async with pool.client() as client:
        paths = [f"/sdapi/v1/{name}" for name in (*LISTS, "sd-models", "samplers", "options", "progress", "memory")]
        for path in [each for listed in paths * 3 for each in ("/livez", listed)]:
            began = time.perf_counter()
            assert (await client.get(path)).status_code == 200
            took.append((time.perf_counter() - began, path))
    return took
