"""Loading a checkpoint anew: alone on the backend, to its real end, and what follows when that does not help."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.backends import NEEDS_RESTART
from gateway.domain.errors import GenerationFailed, NoCapacity
from gateway.domain.jobs import Outcome
from gateway.flow.reload import EMPTY, ONLY_ONE, Suspect
from gateway.flow.watch import HANGING_LOAD, LONGEST_LOAD_S, SET_ASIDE_S
from gateway.ports import Leaving
from tests.flow.world import CALLER, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import BLUE, RED, sdnext

pytestmark = pytest.mark.virtual_time

GREEN = "Diffusers/green"
PATIENT = replace(CALLER, plan=replace(PLAN, max_wait_s=600.0))


def reloads_of(server):
    return server.received("checkpoint") and [e for e in server.received("checkpoint") if e["method"] == "POST"]


def lines_of(world, event):
    return [fields for name, fields in world.process.log.others if name == event]


async def test_a_checkpoint_that_answers_with_nothing_is_loaded_anew_and_makes_pictures_again():
    async with running({"a": sdnext(RED, BLUE)}) as world:
        world.backends["a"].engine.shelf.loaded.poisoned = True
        with pytest.raises(GenerationFailed):
            await world.ask()
        await until(lambda: lines_of(world, "checkpoint_reloaded"))
        assert lines_of(world, "checkpoint_reloaded") == [{"backend": "a", "model": RED}]
        assert (await world.ask()).job_id
        assert world.store.states == {"a": "up"}
        assert await world.settle() == NOTHING_HELD


async def test_the_slot_is_held_until_a_load_that_takes_minutes_has_really_ended():
    async with running({"a": sdnext(RED, swap_seconds=200.0, fragile_loads=True)}, caller=PATIENT) as world:
        world.process.reloader.ask(Suspect("a", RED))
        await until(lambda: reloads_of(world.backends["a"]))
        began, call = now(), world.asking()
        await asyncio.sleep(150)
        assert world.store.slots["a"].job_id.startswith("upkeep-")
        assert world.backends["a"].received("txt2img") == []
        assert (await call).job_id
        assert now() - began > 195
        assert not world.backends["a"].engine.is_damaged


@pytest.mark.parametrize("what", ["cancelled", "broken off"])
async def test_a_reload_that_is_cut_short_leaves_the_slot_to_the_end_of_the_load(what):
    async with running({"a": sdnext(RED, swap_seconds=60.0, fragile_loads=True)}) as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        second.reloader.ask(Suspect("a", RED))
        await until(lambda: reloads_of(world.backends["a"]))
        await asyncio.sleep(5)
        if what == "cancelled":
            await world.kill(second)
        else:
            world.backends["a"].break_connections()
        assert (await world.asking()).job_id
        assert not world.backends["a"].engine.is_damaged


async def test_nothing_is_loaded_beside_what_somebody_else_does_there():
    async with running({"a": sdnext(RED, fragile_loads=True)}) as world:
        engine = world.backends["a"].engine
        engine.hold("load")
        foreign = asyncio.get_running_loop().create_task(engine.load(engine.checkpoint(RED)))
        await until(lambda: engine.state.task == "Load model")
        world.process.reloader.ask(Suspect("a", RED))
        await asyncio.sleep(20)
        assert not reloads_of(world.backends["a"])
        engine.release("load")
        await foreign
        await until(lambda: lines_of(world, "checkpoint_reloaded"))
        assert not engine.is_damaged


@pytest.mark.parametrize("models", [(RED, BLUE), (RED,)], ids=["two checkpoints", "one"])
async def test_a_server_that_stays_empty_after_a_reload_is_set_aside_until_it_is_started_anew(models):
    async with running({"a": sdnext(*models), "b": sdnext(GREEN)}) as world:
        await asyncio.sleep(10)
        server = world.backends["a"]
        server.engine.is_damaged, server.engine.shelf.loaded = True, None
        with pytest.raises(GenerationFailed):
            await world.ask()
        await until(lambda: world.store.states["a"] == "set_aside")
        reason = EMPTY.format(BLUE) if len(models) > 1 else ONLY_ONE.format(RED)
        assert (world.store.conditions["a"].reason, world.store.conditions["a"].needs_restart) == (reason, True)
        await until(lambda: lines_of(world, "backend_set_aside"))
        assert lines_of(world, "backend_set_aside") == [{"backend": "a", "reason": reason}]
        asked = len(server.received("txt2img"))
        await asyncio.sleep(3 * SET_ASIDE_S)
        assert (world.store.states["a"], len(server.received("txt2img"))) == ("set_aside", asked)
        server.start_anew()
        await until(lambda: world.store.states["a"] == "up", within_s=5)
        assert world.store.conditions == {}
        assert (await world.ask()).job_id
        assert await world.settle() == NOTHING_HELD


async def test_one_that_was_away_for_a_moment_and_is_the_same_process_stays_set_aside():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        await asyncio.sleep(10)
        server = world.backends["a"]
        server.engine.is_damaged, server.engine.shelf.loaded = True, None
        world.process.reloader.ask(Suspect("a", RED))
        await until(lambda: world.store.states["a"] == "set_aside")
        await asyncio.sleep(3)
        server.is_refusing = True
        await until(lambda: world.store.states["a"] == "down")
        server.is_refusing = False
        await until(lambda: world.store.states["a"] != "down")
        assert (world.store.states["a"], world.store.conditions["a"].reason) == ("set_aside", NEEDS_RESTART)


async def test_a_new_leader_keeps_a_broken_server_set_aside_and_knows_its_restart():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        await asyncio.sleep(10)
        server = world.backends["a"]
        server.engine.is_damaged, server.engine.shelf.loaded = True, None
        world.process.reloader.ask(Suspect("a", RED))
        await until(lambda: world.store.conditions.get("a") and world.store.conditions["a"].began_at)
        second = world.add_process("two")
        await world.kill(world.process)
        await until(lambda: second.dispatcher.is_leading)
        await asyncio.sleep(2 * SET_ASIDE_S)
        assert world.store.states == {"a": "set_aside", "b": "up"}
        server.start_anew()
        await until(lambda: world.store.states["a"] == "up", within_s=5)


async def test_a_checkpoint_whose_file_is_broken_condemns_no_server():
    async with running({"a": sdnext(RED, BLUE)}) as world:
        world.backends["a"].engine.shelf.break_file(BLUE)
        with pytest.raises(GenerationFailed):
            await world.ask(sd_model_checkpoint="blue")
        await until(lambda: lines_of(world, "checkpoint_reloaded"))
        await asyncio.sleep(3)
        assert world.store.states == {"a": "up"}
        assert world.store.loaded == {"a": "red"}
        assert (await world.ask()).job_id


async def test_a_broken_file_that_is_named_again_and_again_costs_a_server_one_reload_a_minute():
    async with running({"a": sdnext(RED, BLUE)}) as world:
        world.backends["a"].engine.shelf.break_file(BLUE)
        for _ in range(20):  # the first finds out, the others are refused for as long as it is known to be broken
            with pytest.raises((GenerationFailed, NoCapacity)):
                await world.ask(sd_model_checkpoint="blue")
        await asyncio.sleep(30)
        assert len(reloads_of(world.backends["a"])) <= 2 * (1 + now() // 60)


async def test_a_job_that_was_given_up_while_it_loads_keeps_others_away_until_that_has_ended():
    async with running({"a": sdnext(swap_seconds=150.0, fragile_loads=True)}) as world:
        call = world.asking(sd_model_checkpoint="blue", steps=1)
        await until(lambda: world.backends["a"].engine.state.task == "Load model")
        job_id = world.store.slots["a"].job_id
        began = now()
        await world.process.jobs.leave(Leaving("lost", job_id, Outcome.FAILED, is_abandoned=True))
        await until(lambda: not world.store.slots, within_s=400)
        assert now() - began > 140
        await asyncio.gather(call, return_exceptions=True)


async def test_a_load_that_never_ends_has_its_server_set_aside():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        engine = world.backends["a"].engine
        engine.hold("load")
        loading = asyncio.get_running_loop().create_task(engine.load(engine.checkpoint(BLUE)))
        await world.process.jobs.hold("hold", "ghost", "a")
        await world.process.jobs.leave(Leaving("lost", "ghost", Outcome.FAILED, is_abandoned=True))
        await until(lambda: not world.store.slots, within_s=LONGEST_LOAD_S + 60)
        assert (world.store.states["a"], world.store.conditions["a"].reason) == ("set_aside", HANGING_LOAD)
        engine.release("load")
        await loading


@pytest.mark.parametrize("asked", [("nowhere", RED), ("a", "")])
async def test_a_backend_that_is_gone_and_a_checkpoint_that_is_gone_are_let_be(asked):
    async with running() as world:
        world.process.reloader.ask(Suspect(*asked))
        await asyncio.sleep(3)
        assert not reloads_of(world.backends["a"])


async def test_a_server_that_vanishes_under_a_reload_ends_no_loop():
    async with running({"a": sdnext(RED, swap_seconds=50.0), "b": sdnext(RED)}) as world:
        world.process.reloader.ask(Suspect("a", RED))
        await until(lambda: reloads_of(world.backends["a"]))
        world.backends["a"].end()
        await until(lambda: lines_of(world, "checkpoint_reload_failed"))
        await until(lambda: world.store.states["a"] == "down")
        world.backends["a"].start_anew()
        await until(lambda: world.store.states["a"] == "up")
        assert world.process.failures == []
        assert await world.settle() == NOTHING_HELD
