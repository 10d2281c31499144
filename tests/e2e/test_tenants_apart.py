"""Two tenants on one backend behind two processes: neither sees, stops or changes anything of the other's."""

from __future__ import annotations

import json

import pytest

from tests.clients.support import SECOND, UnderWay
from tests.support.pools import KEY, SMALL
from tests.support.processes import wait_until

SLOW = {"seconds_per_megapixel_step": "100", "swap_seconds": "0.05"}  # 0.4 s for a step of 64x64
PROMPT = "the first tenant's secret picture"


@pytest.fixture
def shared(pool):
    """Two processes, one backend; the first tenant's job is running there."""
    pool.add_sim("one", "red,blue", **SLOW)
    pool.start(workers=2, default_model="red")
    pool.add_key(SECOND, "second")
    return pool


def progress(pool, key, query=""):
    return pool.get(f"/sdapi/v1/progress{query}", key).json()


def start(pool, key, **fields):
    return UnderWay(lambda: pool.post({**SMALL, "steps": 100, **fields}, key))


def is_idle(answer):
    return (answer["progress"], answer["state"]["job_count"], answer["state"]["job"]) == (0, 0, "")


def test_progress_preview_and_queue_are_each_tenants_own(shared):
    first = start(shared, KEY, prompt=PROMPT, force_task_id="task(mine)")
    wait_until(lambda: progress(shared, KEY)["state"]["job"], "the first tenant's job is seen")
    for path in ("/sdapi/v1/progress?id_task=task(mine)", "/sdapi/v1/progress?force_task_id=task(mine)"):
        assert is_idle(shared.get(path, SECOND).json())
    assert is_idle(progress(shared, SECOND))
    second = start(shared, SECOND)
    wait_until(lambda: progress(shared, SECOND)["state"]["job"] == "queued", "the second tenant's job waits")
    assert progress(shared, SECOND)["textinfo"].startswith("Queued 1 of 1")
    # Each process asks the one that holds the job; the picture so far comes with a later look.
    wait_until(lambda: progress(shared, KEY)["current_image"], "a preview is seen")
    seen = progress(shared, KEY)
    assert 0 < seen["progress"] < 1
    assert (seen["id"], seen["state"]["sampling_steps"]) == ("task(mine)", 100)
    theirs = progress(shared, SECOND)
    assert (theirs["current_image"], theirs["state"]["sampling_step"]) == (None, 0)
    assert theirs["textinfo"].startswith("Queued 1 of 1")
    assert shared.get("/sdapi/v1/status", SECOND).json()["queued"] == 1
    assert shared.get("/internal/pending-tasks", KEY).json() == {"size": 0, "tasks": []}
    assert shared.get("/internal/pending-tasks", SECOND).json()["size"] == 1
    assert shared.get("/queue/status", SECOND).json()["queue_size"] == 1
    asked = {"id_task": "undefined", "id_live_preview": -1, "live_preview": True}
    assert shared.post(asked, SECOND, "/internal/progress").json()["live_preview"] is None
    assert PROMPT not in json.dumps([theirs, shared.get("/sdapi/v1/status", SECOND).json()])
    for key in (SECOND, KEY):
        assert shared.post({}, key, "/sdapi/v1/interrupt").json() == {}
    for job in (second, first):
        answer = job.result()
        assert (answer.status_code, answer.json()["images"]) == (200, [])


def test_no_tenant_ends_anothers_job_and_each_ends_its_own(shared):
    first = start(shared, KEY, force_task_id="task(mine)")
    wait_until(lambda: shared.sims["one"].received("/sdapi/v1/txt2img"), "the first tenant's job runs")
    second = start(shared, SECOND)
    wait_until(lambda: progress(shared, SECOND)["state"]["job"] == "queued", "the second tenant's job waits")
    for path in ("/sdapi/v1/interrupt?id_task=task(mine)", "/sdapi/v1/interrupt", "/sdapi/v1/skip"):
        assert shared.post({}, SECOND, path).json() == {}
    ended = second.result()
    assert (ended.status_code, ended.json()["images"], json.loads(ended.json()["info"])["interrupted"]) == (
        200,
        [],
        True,
    )
    assert shared.sims["one"].received("/sdapi/v1/interrupt") == shared.sims["one"].received("/sdapi/v1/skip") == []
    assert progress(shared, KEY)["state"]["job_count"] == 1
    shared.post({}, KEY, "/sdapi/v1/interrupt")
    ended = first.result()
    assert (ended.status_code, json.loads(ended.json()["info"])["interrupted"]) == (200, True)
    assert shared.post({**SMALL, "seed": 3}, SECOND).status_code == 200, "the backend is as well as before"


def test_options_are_each_keys_own_in_every_process_and_no_backend_learns_of_them(shared):
    before = shared.get("/sdapi/v1/options", SECOND).json()
    posted = {"sd_model_checkpoint": "blue", "CLIP_stop_at_last_layers": 2, "outdir_samples": "/x", "mine": "a"}
    told = shared.post(posted, KEY, "/sdapi/v1/options").json()
    assert told == {"updated": [{name: name != "outdir_samples"} for name in posted]}
    for _ in range(6):  # as good as certainly both processes
        mine, theirs = (shared.get("/sdapi/v1/options", key).json() for key in (KEY, SECOND))
        assert (mine["sd_model_checkpoint"], mine["CLIP_stop_at_last_layers"], mine["mine"]) == ("blue", 2, "a")
        assert "outdir_samples" not in mine
        assert theirs == before
    for key, model in ((KEY, "blue"), (SECOND, "red")):
        assert json.loads(shared.post(SMALL, key).json()["info"])["sd_model_name"] == model
    bodies = [entry["body"] for entry in shared.sims["one"].received("/sdapi/v1/txt2img")]
    assert [body.get("clip_skip") for body in bodies] == [2, None]
    assert all("mine" not in json.dumps(entry) for entry in shared.sims["one"].ask("/__sim/received"))
