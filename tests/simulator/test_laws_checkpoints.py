"""Checkpoints: what switches, what persists, what it costs, and how one request breaks the server for everybody."""

from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import A, B, in_process, in_virtual_time, info, instant, last_line, on_a_socket, until

C = "Diffusers/acme/tiny-c [0123456789]"
THREE = instant(models=(A, B, C))


@pytest.mark.parametrize(
    "name",
    [
        C,
        "Diffusers/acme/tiny-c",
        "0123456789",
        "tiny-c",
        "/sdnext/data/models/Diffusers/models--acme--tiny-c/snapshots/0123456789abcdef0123456789abcdef01234567",
    ],
)
async def test_a_top_level_model_may_be_a_title_a_name_a_file_a_hash_or_a_basename(name: str) -> None:
    async with in_process(THREE) as backend:
        reply = await backend.txt2img(sd_model_checkpoint=name)

        assert last_line(reply)["Model"] == "tiny-c"
        assert await backend.loaded() == C


async def test_a_top_level_switch_persists_for_all_later_requests_and_costs_one_load() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(sd_model_checkpoint=B)
        later = await backend.txt2img()

        assert last_line(later)["Model"] == "tiny-b"
        assert (await backend.get("options")).json()["sd_model_checkpoint"] == B
        assert backend.engine.counters.loads == 1


@in_virtual_time
async def test_a_switch_takes_the_swap_time_and_the_same_model_none() -> None:
    options = SimulationOptions(swap_seconds=20, seconds_per_megapixel_step=0)
    async with in_process(options) as backend:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await backend.txt2img(sd_model_checkpoint=B)
        switched = loop.time()
        await backend.txt2img(sd_model_checkpoint=B)

        assert 20 <= switched - started < 20.1
        assert loop.time() - switched < 0.1


async def test_a_model_in_override_settings_costs_two_loads_and_the_old_one_comes_back() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(override_settings={"sd_model_checkpoint": B})

        assert last_line(reply)["Model"] == "tiny-b"
        assert await backend.loaded() == A
        assert backend.engine.counters.loads == 2


async def test_an_override_that_is_not_restored_costs_one_load_and_persists() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(override_settings={"sd_model_checkpoint": B}, override_settings_restore_afterwards=False)

        assert await backend.loaded() == B
        assert backend.engine.counters.loads == 1


@pytest.mark.parametrize("name", ["tiny-b", "no-such-model", "acme/no-such"])
async def test_override_settings_need_an_exact_alias_and_ignore_anything_else(name: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(override_settings={"sd_model_checkpoint": name})

        assert (reply.status_code, last_line(reply)["Model"]) == (200, "tiny-a")
        assert backend.engine.counters.loads == 0


async def test_an_unknown_model_at_top_level_is_200_without_images_and_unloads_the_model_for_everybody() -> None:
    async with in_process(instant()) as backend:
        named = await backend.txt2img(sd_model_checkpoint="no-such-model")
        somebody_else = await backend.txt2img()

        for reply in (named, somebody_else):
            assert (reply.status_code, reply.json()["images"], reply.json()["info"]) == (200, [], "")
        assert await backend.loaded() is None


async def test_a_good_name_heals_what_a_bad_one_broke() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(sd_model_checkpoint="https://huggingface.co/acme/no-such")
        stored = (await backend.get("options")).json()["sd_model_checkpoint"]
        healed = await backend.txt2img(sd_model_checkpoint=A)

        assert stored == "acme/no-such"
        assert len(healed.json()["images"]) == 1


async def test_an_unlisted_model_with_a_slash_makes_it_search_the_hub_which_is_500_offline() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(sd_model_checkpoint="acme/x")

        assert (reply.status_code, reply.json()["error"]) == (500, "OfflineModeIsEnabled")
        assert "x-process-time" not in reply.headers


async def test_setting_the_model_option_to_an_unknown_name_answers_true_and_breaks_the_server() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("options", {"sd_model_checkpoint": "no-such-model"})

        assert (reply.status_code, reply.json()) == (200, {"updated": [{"sd_model_checkpoint": True}]})
        assert (await backend.txt2img()).json()["images"] == []


async def test_setting_the_model_option_to_what_it_is_answers_false() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("options", {"sd_model_checkpoint": A})

        assert reply.json() == {"updated": [{"sd_model_checkpoint": False}]}


async def test_the_model_option_waits_behind_the_running_job() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        job = tasks.create_task(backend.txt2img())
        await until(lambda: backend.engine.state.task == "Inference")
        change = tasks.create_task(backend.post("options", {"sd_model_checkpoint": B}))
        assert (await backend.get("checkpoint")).json()["title"] == A
        assert not change.done()
        backend.engine.release("inference")
        await change

        assert last_line(await job)["Model"] == "tiny-a"
        assert await backend.loaded() == B


async def test_the_checkpoint_endpoint_is_the_only_one_that_says_whether_a_load_worked() -> None:
    async with in_process(instant()) as backend:
        good = await backend.post("checkpoint", sd_model_checkpoint=B)
        bad = await backend.post("checkpoint", sd_model_checkpoint="nope")

        assert (good.json(), bad.json()) == ({"ok": True}, {"ok": False})
        assert await backend.loaded() is None


async def test_what_the_checkpoint_endpoint_loaded_stays_loaded_though_the_option_names_another() -> None:
    async with in_process(instant()) as backend:
        await backend.post("checkpoint", sd_model_checkpoint=B)
        reply = await backend.txt2img()

        assert last_line(reply)["Model"] == "tiny-b"
        assert (await backend.get("options")).json()["sd_model_checkpoint"] == A
        assert (await backend.loaded(), backend.engine.counters.loads) == (B, 1)


async def test_the_checkpoint_endpoint_does_not_wait_for_the_running_job() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        job = tasks.create_task(backend.txt2img())
        await until(lambda: backend.engine.state.task == "Inference")
        answer = await backend.post("checkpoint", sd_model_checkpoint=B)

        assert answer.json() == {"ok": True}
        assert not job.done()
        assert (await backend.get("status")).json()["task"] == "Inference"
        backend.engine.release("inference")


async def test_locking_the_checkpoint_does_not_prevent_a_switch() -> None:
    async with in_process(instant()) as backend:
        await backend.post("lock-checkpoint", lock=True)
        reply = await backend.txt2img(sd_model_checkpoint=B)

        assert last_line(reply)["Model"] == "tiny-b"


async def test_while_a_checkpoint_loads_the_status_says_so_and_no_model_is_shown() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("load")
        tasks.create_task(backend.txt2img(sd_model_checkpoint=B))
        await until(lambda: backend.engine.state.task == "Load model")
        status, checkpoint = await backend.get("status"), await backend.get("checkpoint")
        backend.engine.release("load")

        assert (status.json()["status"], status.json()["task"]) == ("running", "Load model")
        assert checkpoint.json() == {"type": None, "class": None}


# --- the poisoned checkpoint ------------------------------------------------------------------------------------------


async def _poison(backend) -> None:
    async with asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        job = tasks.create_task(backend.txt2img(sd_model_checkpoint=A))
        await until(lambda: backend.engine.state.task == "Inference")
        await backend.post("unload-checkpoint")
        backend.engine.release("inference")
        await job


async def test_an_unload_under_a_running_job_poisons_the_checkpoint_for_ever() -> None:
    async with on_a_socket(instant()) as (backend, _):
        await _poison(backend)
        replies = [await backend.txt2img(sd_model_checkpoint=A) for _ in range(3)]

        for reply in replies:
            assert (reply.status_code, reply.json()["images"]) == (200, [])
            assert last_line(reply)["Model"] == "tiny-a"
            assert info(reply)["all_seeds"]
        assert await backend.loaded() == A


async def test_neither_a_reload_nor_a_plain_load_heals_a_poisoned_checkpoint() -> None:
    async with on_a_socket(instant()) as (backend, _):
        await _poison(backend)
        await backend.post("reload-checkpoint")
        plain = await backend.post("checkpoint", sd_model_checkpoint=A)

        assert plain.json() == {"ok": False}
        assert (await backend.txt2img(sd_model_checkpoint=A)).json()["images"] == []


@pytest.mark.parametrize("cure", ["force", "another checkpoint", "idle unload"])
async def test_a_poisoned_checkpoint_is_healed_by(cure: str) -> None:
    async with on_a_socket(instant()) as (backend, _):
        await _poison(backend)
        if cure == "force":
            assert (await backend.post("checkpoint", sd_model_checkpoint=A, force=True)).json() == {"ok": True}
        elif cure == "another checkpoint":
            await backend.txt2img(sd_model_checkpoint=B)
        else:
            await backend.post("unload-checkpoint")
        healed = await backend.txt2img(sd_model_checkpoint=A)

        assert len(healed.json()["images"]) == 1


# --- rescans and files ------------------------------------------------------------------------------------------------


async def test_during_a_rescan_the_list_is_empty_then_partial_then_whole() -> None:
    async with on_a_socket(instant(models=(A, B))) as (backend, _), asyncio.TaskGroup() as tasks:
        seen = []
        for phase in ("rescan", "rescan-partial"):
            backend.engine.hold(phase)
        rescan = tasks.create_task(backend.post("refresh-checkpoints"))
        await until(lambda: backend.engine.shelf.listed == [])
        seen.append((await backend.get("sd-models")).json())
        backend.engine.release("rescan")
        await until(lambda: backend.engine.shelf.listed != [])
        seen.append([model["title"] for model in (await backend.get("sd-models")).json()])
        backend.engine.release("rescan-partial")
        assert (await rescan).status_code == 204
        seen.append([model["title"] for model in (await backend.get("sd-models")).json()])

        assert seen == [[], [A], [A, B]]


async def test_during_a_rescan_a_switch_by_an_exact_valid_title_fails_and_unloads_the_model() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("rescan")
        tasks.create_task(backend.post("refresh-checkpoints"))
        await until(lambda: backend.engine.shelf.listed == [])
        reply = await backend.txt2img(sd_model_checkpoint=B)
        backend.engine.release("rescan")

        assert (reply.status_code, reply.json()["error"]) == (500, "OfflineModeIsEnabled")
        assert await backend.loaded() is None


async def test_a_rescan_does_not_wait_for_the_running_job_and_does_not_harm_it() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        job = tasks.create_task(backend.txt2img())
        await until(lambda: backend.engine.state.task == "Inference")
        assert (await backend.post("refresh-checkpoints")).status_code == 204
        backend.engine.release("inference")

        assert len((await job).json()["images"]) == 1


async def test_a_new_file_is_unseen_until_a_rescan_and_naming_it_before_is_500() -> None:
    async with in_process(instant(new_models=("Diffusers/tiny-new",))) as backend:
        before = [model["title"] for model in (await backend.get("sd-models")).json()]
        named = await backend.txt2img(sd_model_checkpoint="Diffusers/tiny-new")
        await backend.post("refresh-checkpoints")
        after = [model["title"] for model in (await backend.get("sd-models")).json()]
        reply = await backend.txt2img(sd_model_checkpoint="Diffusers/tiny-new")

        assert (before, named.status_code, after) == ([A, B], 500, [A, B, "Diffusers/tiny-new"])
        assert last_line(reply)["Model"] == "tiny-new"


@pytest.mark.parametrize("broken", [False, True])
async def test_a_deleted_or_broken_file_stays_listed_and_its_use_is_200_empty_and_unloads(broken: bool) -> None:
    async with in_process(instant()) as backend:
        await backend.http.delete("/__sim/files", params={"title": B, "broken": broken})
        listed = [model["title"] for model in (await backend.get("sd-models")).json()]
        named = await backend.txt2img(sd_model_checkpoint=B)
        unnamed = await backend.txt2img()
        stored = (await backend.get("options")).json()["sd_model_checkpoint"]
        healed = await backend.txt2img(sd_model_checkpoint=A)

        assert listed == [A, B]
        assert [reply.json()["images"] for reply in (named, unnamed)] == [[], []]
        assert stored == B
        assert len(healed.json()["images"]) == 1


async def test_a_model_that_is_loaded_deleted_and_rescanned_answers_500() -> None:
    async with in_process(instant()) as backend:
        await backend.http.delete("/__sim/files", params={"title": A})
        await backend.post("refresh-checkpoints")

        assert (await backend.txt2img(sd_model_checkpoint=A)).status_code == 500


@in_virtual_time
async def test_mixed_switches_by_exact_title_always_give_the_right_model() -> None:
    async with in_process(SimulationOptions(models=(A, B, C))) as backend, asyncio.TaskGroup() as tasks:
        jobs = [(title, tasks.create_task(backend.txt2img(sd_model_checkpoint=title))) for title in (B, A, C, C, A, B)]
        for title, job in jobs:
            made_by = last_line(await job)["Model"]
            assert made_by in title


@pytest.mark.parametrize("beside", ["a load", "a job"])
async def test_a_load_beside_a_load_or_a_job_breaks_every_later_load_of_that_process(beside: str) -> None:
    async with on_a_socket(instant(fragile_loads=True)) as (backend, _):
        async with asyncio.TaskGroup() as tasks:
            phase = "load" if beside == "a load" else "inference"
            backend.engine.hold(phase)
            tasks.create_task(backend.txt2img(sd_model_checkpoint=B if beside == "a load" else A))
            await until(lambda: backend.engine.state.task == ("Load model" if beside == "a load" else "Inference"))
            tasks.create_task(backend.post("checkpoint", sd_model_checkpoint=A, force=True))
            await until(lambda: backend.engine.is_damaged)
            backend.engine.release(phase)

        for title in (A, B):
            reply = await backend.txt2img(sd_model_checkpoint=title)
            assert (reply.status_code, reply.json()["images"]) == (200, [])
            assert (await backend.post("checkpoint", sd_model_checkpoint=title, force=True)).json() == {"ok": False}
        assert (await backend.get("checkpoint")).json() == {"type": None, "class": None}
