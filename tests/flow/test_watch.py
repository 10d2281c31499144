"""The watcher, over simulated SD.Next servers: up and down, lists, managed options, backends that were lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.backends import BackendState
from gateway.domain.jobs import Outcome
from gateway.flow.observe import STALE_S
from gateway.flow.snapshot import PublishedInventory
from gateway.flow.upkeep import MANAGED_OPTIONS
from gateway.flow.watch import READ_LISTS_EVERY_S, SET_ASIDE_S
from gateway.ports import Leaving, PoolNews
from tests.flow.world import NOTHING_HELD, now, running, until
from tests.support.fake_backends import BLUE, RED, sdnext

pytestmark = pytest.mark.virtual_time


def states_of(world):
    """Every state a backend was published to be in, in order."""
    published = world.process.jobs.named("publish")
    return [dict(news.states) for news in published if news.states]


async def test_a_backend_is_up_once_its_lists_are_read_and_its_options_are_set():
    async with running() as world:
        assert world.store.states == {"a": "up"}
        assert [model.name for model in world.process.current.catalogue.models] == ["blue", "red"]
        assert world.store.loaded == {"a": "red"}
        await until(lambda: world.backends["a"].received("options")[-1]["method"] == "GET")
        listing = world.backends["a"].engine.server_options.listing()
        assert {name: listing[name] for name in MANAGED_OPTIONS} == MANAGED_OPTIONS


async def test_managed_options_are_set_under_the_slot_and_read_back():
    async with running(ready=False) as world:
        await until(lambda: world.backends["a"].received("options"))
        await until(lambda: world.backends["a"].engine.server_options.get("samples_format") == "png")
        calls = [name for name, _ in world.process.jobs.calls if name in ("hold", "leave")]
        await until(lambda: not world.store.slots)
        options = [entry["method"] for entry in world.backends["a"].received("options")]
        assert (calls[0], options[:3]) == ("hold", ["GET", "POST", "GET"])
        assert world.process.jobs.named("leave")[0].outcome is Outcome.FINISHED


async def test_what_a_server_has_set_of_a_generations_options_is_read_with_its_lists():
    async with running(ready=False) as world:
        world.backends["a"].engine.server_options.set("freeu_b1", 1.5)
        world.backends["a"].engine.server_options.set("outdir_samples", "/data/x")
        await until(lambda: world.process.current.catalogue.backends)
        assert world.process.current.catalogue.options["freeu_b1"] == 1.5
        assert b"/data/x" not in world.store.catalogue["a"]


async def test_managed_options_wait_while_a_job_holds_the_slot():
    async with running() as world:
        call = world.asking(steps=40)
        await until(lambda: world.store.slots)
        world.backends["a"].engine.server_options.set("samples_format", "jpg")
        await asyncio.sleep(20)
        assert world.store.states == {"a": "preparing"}
        assert world.backends["a"].engine.server_options.get("samples_format") == "jpg"
        await call
        await until(lambda: world.backends["a"].engine.server_options.get("samples_format") == "png")


async def test_an_upkeep_that_takes_longer_than_a_heartbeat_keeps_its_slot():
    async with running(ready=False) as world:
        world.backends["a"].arm_once("slow", path="/sdapi/v1/options", after=1, seconds=20.0)
        await until(lambda: world.store.slots)
        began, recovering = now(), False
        while world.store.slots:
            recovering |= any(slot.is_recovering for slot in world.store.slots.values())
            await asyncio.sleep(0.1)
        assert (recovering, now() - began > 10) == (False, True)


async def test_a_backend_that_refuses_is_down_at_the_next_look_and_up_when_it_is_back():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].is_refusing = True
        gone = now()
        await until(lambda: world.store.states["a"] == "down")
        assert now() - gone < 2.5
        world.backends["a"].is_refusing = False
        back = now()
        await until(lambda: world.store.states["a"] == "up")
        assert now() - back < 2.5
        assert world.store.states["b"] == "up"


async def test_one_bad_answer_does_not_take_a_backend_down_and_two_do():
    async with running() as world:
        world.backends["a"].arm_once("500", path="/sdapi/v1/checkpoint")
        await asyncio.sleep(5)
        assert world.store.states == {"a": "up"}
        assert {"a": "down"} not in states_of(world)
        world.backends["a"].arm("500,path=/sdapi/v1/checkpoint,times=2")
        await until(lambda: world.store.states["a"] == "down")
        await until(lambda: world.store.states["a"] == "up")


async def test_a_new_leader_takes_no_backend_down_for_one_bad_answer():
    async with running() as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        world.backends["a"].arm_once("500", path="/sdapi/v1/checkpoint")
        await world.kill(world.process)
        await until(lambda: second.dispatcher.is_leading)
        await asyncio.sleep(5)
        published = [news.states["a"] for news in second.jobs.named("publish") if news.states]
        assert {"down", "preparing"}.isdisjoint(published)
        assert world.store.states == {"a": "up"}


async def test_lists_are_read_when_a_backend_comes_back_and_every_ten_minutes_but_not_between():
    async with running() as world:
        read = len(world.backends["a"].received("sd-models"))
        assert read == 1
        await asyncio.sleep(READ_LISTS_EVERY_S - 60)
        assert len(world.backends["a"].received("sd-models")) == 1
        await asyncio.sleep(120)
        assert len(world.backends["a"].received("sd-models")) == 2
        world.backends["a"].is_refusing = True
        await until(lambda: world.store.states["a"] == "down")
        world.backends["a"].is_refusing = False
        await until(lambda: world.store.states["a"] == "up")
        assert len(world.backends["a"].received("sd-models")) == 3


async def test_lists_are_read_when_a_job_found_the_backend_dead_and_it_answers_again_at_once():
    async with running() as world:
        await world.process.jobs.publish("op", PoolNews(states={"a": BackendState.DOWN}))
        await until(lambda: world.store.states["a"] == "up")
        assert len(world.backends["a"].received("sd-models")) == 2


async def test_a_shorter_list_is_believed_only_when_five_seconds_later_it_is_the_same():
    async with running() as world:
        shelf = world.backends["a"].engine.shelf
        full = list(shelf.listed)
        shelf.listed[:] = full[:1]  # a rescan empties the list for a moment
        world.process.watcher._watched["a"].read_at = -1e12
        await until(lambda: len(world.backends["a"].received("sd-models")) == 2)
        shelf.listed[:] = full
        await asyncio.sleep(12)
        assert len(world.process.current.catalogue.models) == 2
        assert world.store.states == {"a": "up"}
        shelf.listed[:] = full[:1]
        world.process.watcher._watched["a"].read_at = -1e12
        await asyncio.sleep(15)
        kept = PublishedInventory.from_bytes(world.store.catalogue["a"])
        assert [entry["title"] for entry in kept.lists["sd-models"]] == [full[0].title]
        assert [entry["title"] for entry, _ in kept.departed] == [full[1].title]


async def test_a_backend_that_was_set_aside_stays_so_for_its_time_and_its_lists_are_left_alone():
    async with running() as world:
        await world.process.jobs.publish("op", PoolNews(states={"a": BackendState.SET_ASIDE}))
        began = now()
        await asyncio.sleep(2)
        assert world.store.states == {"a": "set_aside"}
        await until(lambda: world.store.states["a"] == "up")
        assert now() - began == pytest.approx(SET_ASIDE_S, abs=3)
        assert len(world.backends["a"].received("sd-models")) == 1


async def test_a_backend_set_aside_again_at_once_stays_so_for_the_whole_time_again():
    async with running() as world:
        for number in range(2):
            await world.process.jobs.publish(f"op-{number}", PoolNews(states={"a": BackendState.SET_ASIDE}))
            began = now()
            await until(lambda: world.store.states["a"] == "up")
            assert now() - began == pytest.approx(SET_ASIDE_S, abs=3)


async def lose_holder(world, backend="a"):
    """A slot whose holder was lost, with no call of ours that could give it back."""
    await world.process.jobs.hold("hold", "ghost", backend)
    await world.process.jobs.leave(Leaving("lost", "ghost", Outcome.FAILED, is_abandoned=True))
    assert world.store.slots[backend].is_recovering


async def test_a_recovering_backend_is_interrupted_and_free_after_two_idle_answers():
    async with running() as world:
        await lose_holder(world)
        began = now()
        await until(lambda: not world.store.slots)
        assert 1.0 <= now() - began < 5.0
        assert len(world.backends["a"].received("interrupt")) == 2
        assert len(world.backends["a"].received("progress")) == 2
        assert await world.settle() == NOTHING_HELD


async def test_every_recovery_takes_two_idle_answers_of_its_own():
    async with running() as world:
        await lose_holder(world)
        await until(lambda: world.backends["a"].received("progress"))
        await world.process.jobs.publish("freed", PoolNews(quiet={"a": world.store.slots["a"].mark}))
        await world.process.jobs.hold("hold again", "ghost 2", "a")
        await world.process.jobs.leave(Leaving("lost again", "ghost 2", Outcome.FAILED, is_abandoned=True))
        await until(lambda: not world.store.slots)
        assert len(world.backends["a"].received("progress")) == 3


async def test_a_recovering_backend_is_not_freed_while_it_loads_a_checkpoint():
    async with running({"a": sdnext(swap_seconds=30.0)}) as world:
        call = world.asking(sd_model_checkpoint="blue", steps=100)
        await until(lambda: world.store.slots)
        job_id = world.store.slots["a"].job_id
        await world.process.jobs.leave(Leaving("lost", job_id, Outcome.FAILED, is_abandoned=True))
        began = now()
        await until(lambda: not world.store.slots)
        assert now() - began > 28
        await asyncio.gather(call, return_exceptions=True)


async def test_a_recovering_backend_that_hangs_ends_no_loop_and_disturbs_no_other():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].arm("hang,path=/sdapi/v1/interrupt,times=20")
        await lose_holder(world)
        await asyncio.sleep(120)
        assert world.process.failures == []
        assert world.store.states["b"] == "up"
        world.backends["a"].simulation.faults.clear()
        await until(lambda: not world.store.slots)


async def test_a_backend_whose_progress_went_stale_after_a_failure_is_freed_all_the_same():
    """SD.Next leaves the state of a job that crashed standing (observed)."""
    async with running() as world:
        world.backends["a"].engine.state.begin("Inference")  # nothing runs and nothing will ever end it
        await lose_holder(world)
        began = now()
        await until(lambda: not world.store.slots, within_s=400)
        assert now() - began == pytest.approx(STALE_S, abs=5)


@pytest.mark.parametrize(
    "route", ["checkpoint", "sd-models", "samplers", "embeddings", "scripts", "upscalers", "loras", "options"]
)
@pytest.mark.parametrize("fault", ["html", "cut-json", "500", "401", "bad-utf8"])
async def test_whatever_a_backend_answers_the_watcher_goes_on(route, fault):
    async with running({"a": sdnext(), "b": sdnext()}, ready=False) as world:
        world.backends["a"].arm(f"{fault},path=/sdapi/v1/{route},times=3")
        await until(lambda: world.store.states.get("b") == "up")
        await until(lambda: world.store.states.get("a") == "up")
        assert world.process.failures == []


async def test_a_backend_without_a_checkpoint_in_memory_is_known_to_have_none():
    async with running() as world:
        world.backends["a"].engine.unload()
        await until(lambda: world.store.loaded == {})


async def test_a_swap_done_behind_the_gateways_back_is_noticed():
    async with running() as world:
        engine = world.backends["a"].engine
        await engine.load(engine.checkpoint(BLUE))
        await until(lambda: world.store.loaded == {"a": "blue"})


async def test_a_backend_that_left_the_configuration_is_removed():
    async with running({"a": sdnext(RED), "b": sdnext(BLUE)}) as world:
        del world.backends.declared["b"]
        await until(lambda: "b" not in world.store.states)
        await until(lambda: [model.name for model in world.process.current.catalogue.models] == ["red"])


async def test_while_the_store_is_away_no_backend_is_taken_for_down():
    async with running() as world:
        world.process.jobs.is_away = True
        await asyncio.sleep(30)
        world.process.jobs.is_away = False
        await until(lambda: world.process.dispatcher.is_leading)
        await asyncio.sleep(5)
        assert {"a": "down"} not in states_of(world)
        assert world.store.states == {"a": "up"}


async def test_only_the_process_that_leads_looks():
    async with running() as world:
        second = world.add_process("two")
        await asyncio.sleep(30)
        assert second.watcher._watched == {}
        assert second.jobs.named("publish") == []


def drain(world, name, *, is_draining=True):
    world.backends.declared[name] = replace(world.backends.declared[name], is_draining=is_draining)


async def test_a_draining_backend_finishes_its_job_and_gets_no_new_one_until_it_is_resumed():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        running_there = world.asking(steps=30)
        await until(lambda: world.store.slots)
        (name,) = world.store.slots
        other = {"a": "b", "b": "a"}[name]
        drain(world, name)
        await until(lambda: world.store.states[name] == "draining")
        assert (await running_there).job_id
        assert len(world.backends[name].received("txt2img")) == 1
        await asyncio.gather(*(world.asking() for _ in range(3)))
        assert len(world.backends[name].received("txt2img")) == 1
        assert len(world.backends[other].received("txt2img")) == 3
        drain(world, name, is_draining=False)
        await until(lambda: world.store.states[name] == "up")
        await asyncio.gather(*(world.asking() for _ in range(2)))
        assert len(world.backends[name].received("txt2img")) > 1


async def test_a_draining_backend_that_is_stopped_is_not_told_as_down_and_is_read_anew_when_it_is_back():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        drain(world, "a")
        await until(lambda: world.store.states["a"] == "draining")
        world.backends["a"].is_refusing = True
        await asyncio.sleep(10)
        assert world.store.states["a"] == "draining"
        read_before = len(world.backends["a"].received("sd-models"))
        world.backends["a"].is_refusing = False
        await until(lambda: len(world.backends["a"].received("sd-models")) > read_before)
        assert world.store.states["a"] == "draining"


async def test_a_backend_that_is_resumed_while_it_is_stopped_is_down():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        drain(world, "a")
        world.backends["a"].is_refusing = True
        await until(lambda: world.store.states["a"] == "draining")
        drain(world, "a", is_draining=False)
        await until(lambda: world.store.states["a"] != "draining")
        assert world.store.states["a"] == "down"
