"""The application as a whole: routes, refusals of the router, headers, what happens when a store is away."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from gateway.domain.jobs import Outcome
from tests.api.whole import SMALL, opened
from tests.support.processes import wait_until_async


async def test_a_picture_is_made_under_every_name_of_the_route(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        for path in ("/sdapi/v1/txt2img", "/v1/txt2img", "//sdapi//v1/txt2img/"):
            answer = await whole.post(path)
            assert (answer.status_code, len(answer.json()["images"])) == (200, 1)
            assert {"x-request-id", "x-job-id", "server-timing", "ratelimit", "ratelimit-policy"} <= set(answer.headers)


async def test_any_content_type_with_a_json_body_is_read_as_json(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        body = b'{"prompt":"a cat","steps":1,"width":64,"height":64,"sd_model_checkpoint":"red"}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            headers = {"Authorization": f"Bearer {whole.settings.first_key.get_secret_value()}"}
            headers |= {"Content-Type": kind} if kind else {}
            answer = await whole.client.post("/sdapi/v1/txt2img", content=body, headers=headers)
            assert answer.status_code == 200


async def test_what_does_not_exist_is_told_in_the_words_of_a_real_server(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        missing = await whole.get("/sdapi/v1/no-such-thing")
        assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
        wrong = await whole.get("/sdapi/v1/txt2img")
        assert (wrong.status_code, wrong.json(), wrong.headers["allow"]) == (
            405,
            {"detail": "Method Not Allowed"},
            "OPTIONS, POST",
        )
        assert missing.headers["x-request-id"] != wrong.headers["x-request-id"]
        assert (await whole.client.head("/livez")).status_code == 200


async def test_it_is_ready_when_its_pool_is_seen_and_alive_without_a_key(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        assert (await whole.client.get("/livez")).status_code == 200
        ready = await whole.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["pool"] == {"ok": True, "backends": 1, "up": 1, "models": 2}
        whole.app.state.is_draining = True
        draining = await whole.client.get("/readyz")
        assert (draining.status_code, draining.json()["status"]) == (503, "starting or draining")


async def test_errors_have_one_body_whatever_their_kind(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        refusals = [
            (await whole.post(key="sk-unknown-0123456789abcdef"), 401),
            (await whole.post(body=SMALL | {"sd_model_checkpoint": "green"}), 422),
            (await whole.post(body=SMALL | {"steps": "many"}), 422),
            (await whole.post(body=SMALL | {"sampler_name": "no such sampler"}), 404),
        ]
        for answer, status in refusals:
            body = answer.json()
            assert (answer.status_code, body["code"], body["detail"]) == (status, status, body["message"])
            assert body.keys() == {"error", "code", "detail", "body", "errors", "message"}


async def test_without_redis_calls_are_503_and_the_process_stays_ready_and_recovers_by_itself(tmp_path, valkey):
    async with opened(tmp_path, valkey, store_timeout_s=0.4) as whole:
        assert (await whole.post()).status_code == 200
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            refused = await whole.post()
            assert (refused.status_code, refused.json()["error"]) == (503, "StoreUnavailable")
            assert int(refused.headers["retry-after"]) >= 1

            async def is_degraded():
                ready = await whole.client.get("/readyz")
                return ready.status_code == 200 and ready.json()["status"] == "degraded"

            await wait_until_async(is_degraded, "the outage is told")
            assert (await whole.get("/sdapi/v1/sd-models")).status_code == 200
        finally:
            os.kill(valkey.pid, signal.SIGCONT)

        async def is_served():
            return (await whole.post()).status_code == 200

        await wait_until_async(is_served, "calls are served again")


async def test_no_task_is_left_when_the_application_has_ended(tmp_path, valkey):
    before = asyncio.all_tasks()
    async with opened(tmp_path, valkey) as whole:
        await whole.post()
    assert asyncio.all_tasks() - before == set()


@pytest.mark.parametrize("outcome", [Outcome.FINISHED])
async def test_every_admitted_job_ends_in_the_ledger(tmp_path, valkey, outcome):
    from gateway.domain.reports import Grouping, UsageQuestion
    from gateway.wiring.desk import open_management

    async with opened(tmp_path, valkey) as whole:
        for _ in range(3):
            await whole.post()

        async def jobs():
            async with open_management(whole.settings) as manager:
                rows = await manager.usage(UsageQuestion((Grouping.TENANT,), 0.0, 1e11))
                return sum(row.jobs for row in rows) == 3

        await wait_until_async(jobs, f"three jobs {outcome} stand in the ledger")
