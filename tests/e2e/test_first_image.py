"""The path of a request over real processes: two gateway workers, a real Valkey, simulated SD.Next servers."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from io import BytesIO

import aiohttp
from PIL import Image

from gateway.domain.keys import Grants, Names
from tests.support.patience import PATIENCE_S
from tests.support.pools import SMALL
from tests.support.processes import wait_until

SECOND = "sk-second-0123456789abcdefghij"
NO_RATE = {"requests_per_minute": 1_000_000, "burst": 1_000_000}
FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}


def test_a_call_gives_a_png_with_its_metadata(pool):
    pool.add_sim("one", "red,blue", **FAST)
    pool.start()
    answer = pool.post({**SMALL, "sd_model_checkpoint": "blue", "prompt": "a lighthouse", "seed": 7})
    assert answer.status_code == 200
    reply = answer.json()
    image = Image.open(BytesIO(base64.b64decode(reply["images"][0])))
    assert (image.format, image.size) == ("PNG", (64, 64))
    assert "a lighthouse" in image.text["parameters"]
    info = json.loads(reply["info"])
    assert (info["sd_model_name"], info["seed"]) == ("blue", 7)
    assert reply["parameters"]["sd_model_checkpoint"] == "blue"


def test_a_model_on_one_of_two_backends_is_served_there_twenty_times_at_once(pool):
    one, two = pool.add_sim("one", "red,shared", **FAST), pool.add_sim("two", "shared,blue", **FAST)
    pool.start(workers=2)
    pool.add_key(SECOND, "many", {"max_queued": 100, "burst": 100})
    answers = pool.post_many([{**SMALL, "sd_model_checkpoint": "blue"}] * 20, SECOND)
    assert Counter(answer.status_code for answer in answers) == {200: 20}
    assert len(two.received("/sdapi/v1/txt2img")) == 20
    assert one.received("/sdapi/v1/txt2img") == []


def test_each_backend_gets_one_job_at_a_time(pool):
    one = pool.add_sim("one", "red", **FAST)
    pool.start(workers=2)
    pool.add_key(SECOND, "many", {"max_queued": 100, "burst": 100, "max_concurrency": 50})
    answers = pool.post_many([{**SMALL, "sd_model_checkpoint": "red"}] * 12, SECOND)
    assert Counter(answer.status_code for answer in answers) == {200: 12}
    spans = [(entry["at"], entry["at"] + entry["seconds"]) for entry in one.received("/sdapi/v1/txt2img")]
    overlapping = [end - begin for (begin, _), (_, end) in zip(spans[1:], spans, strict=False) if end > begin + 0.001]
    assert (len(spans), overlapping) == (12, [])


def test_a_key_sees_and_uses_only_what_it_was_granted(pool):
    pool.add_sim("one", "red,blue", **FAST)
    pool.start()
    pool.add_key(SECOND, "narrow", grants=Grants(models=Names(("red",))))
    assert [model["title"] for model in pool.get("/sdapi/v1/sd-models", SECOND).json()] == ["red"]
    assert [model["title"] for model in pool.get("/v1/img-models").json()] == ["blue", "red"]
    assert pool.post({**SMALL, "sd_model_checkpoint": "red"}, SECOND).status_code == 200
    refused = pool.post({**SMALL, "sd_model_checkpoint": "blue"}, SECOND)
    assert (refused.status_code, refused.json()["error"]) == (403, "NotGranted")


def test_wrong_keys_and_unknown_routes_get_truthful_answers(pool):
    pool.add_sim("one", "red", **FAST)
    pool.start()
    unknown = pool.post(SMALL, "sk-unknown-0123456789abcdef")
    assert (unknown.status_code, unknown.headers["www-authenticate"][:5]) == (401, "Basic")
    assert pool.get("/sdapi/v1/log").json() == {"detail": "Not Found"}
    wrong_method = pool.get("/sdapi/v1/txt2img")
    assert (wrong_method.status_code, wrong_method.json()) == (405, {"detail": "Method Not Allowed"})


def test_two_thousand_calls_over_two_processes_against_a_hundred_a_day_admit_a_hundred(pool):
    pool.add_sim("one", "red", **FAST)
    pool.start(workers=2)
    pool.add_key(SECOND, "hundred", {**NO_RATE, "images_per_day": 100, "max_queued": 2000})
    answers = asyncio.run(statuses_of(pool, 2000, 2000))
    assert answers == {(200, ""): 100, (429, "QuotaExceeded"): 1900}


def test_two_thousand_calls_over_two_processes_against_a_hundred_outstanding_admit_a_hundred(pool):
    pool.add_sim("one", "red", **FAST)
    pool.start(workers=2)
    pool.add_key(SECOND, "hundred", {**NO_RATE, "max_concurrency": 2, "max_queued": 98, "max_wait_s": 600})
    pool.sims["one"].ask("/__sim/hold?phase=inference", method="POST")
    # The hundred that were admitted wait for as long as the backend is held: only the refusals come back.
    answers = asyncio.run(statuses_of(pool, 2000, 1900))
    assert answers == {(429, "TooManyOutstanding"): 1900}


async def statuses_of(pool, sent, awaited):
    """(status, error) of the first `awaited` answers to `sent` calls at once; the other calls are given up then."""
    url = f"http://127.0.0.1:{pool.gateway.port}/sdapi/v1/txt2img"
    body = {**SMALL, "sd_model_checkpoint": "red"}
    options = {"headers": {"Authorization": f"Bearer {SECOND}"}, "connector": aiohttp.TCPConnector(limit=0)}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), **options) as session:

        async def ask():
            async with session.post(url, json=body) as answer:
                reply = await answer.json()
                return answer.status, reply.get("error", "")

        calls = [asyncio.ensure_future(ask()) for _ in range(sent)]
        answers = [await call for call in itertools.islice(asyncio.as_completed(calls), awaited)]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return Counter(answers)


def test_a_killed_process_gives_back_what_it_held_and_its_job_is_recorded_lost(pool):
    one = pool.add_sim("one", "red", seconds_per_megapixel_step="3000")
    started = pool.start(workers=2)
    pool.add_key(SECOND, "patient", {"max_queued": 100, "burst": 100})
    running = one.process  # the job below runs for minutes unless it is interrupted
    assert running.process.poll() is None
    caller = threading.Thread(target=lambda: _ignore_failure(pool, SECOND), daemon=True)
    caller.start()
    wait_until(lambda: pool.valkey.client.hlen("{gateway}:slot"), "the job has its slot")
    job = pool.valkey.client.hget("{gateway}:slot", "one").split()[0]
    holder = pool.valkey.client.hget(f"{{gateway}}:job:{job}", "proc")
    os.kill(int(holder.split("-")[-2]), signal.SIGKILL)
    tenant = pool.valkey.client.hget(f"{{gateway}}:job:{job}", "tenant")
    wait_until(lambda: not pool.valkey.client.scard(f"{{gateway}}:out:{tenant}"), "outstanding is back")
    wait_until(lambda: not pool.valkey.client.hlen("{gateway}:slot"), "the slot is back")
    wait_until(lambda: recorded(pool, job), "the job stands in the ledger")
    assert recorded(pool, job) == [("lost", "one")]
    assert pool.post({**SMALL, "sd_model_checkpoint": "nothing"}).status_code == 422
    assert started.process.poll() is None
    caller.join(PATIENCE_S)


def recorded(pool, job):
    with closing(sqlite3.connect(pool.settings.data_dir / "gateway.db")) as database:
        return database.execute("select outcome, backend from ledger where job_id = ?", [job]).fetchall()


def _ignore_failure(pool, key):
    try:
        pool.post({**SMALL, "steps": 150, "sd_model_checkpoint": "red"}, key)
    except Exception:  # noqa: BLE001 - its gateway is killed
        return
