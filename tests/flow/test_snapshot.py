"""What the pool has, as one process knows it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.catalogue import parse_upscalers
from gateway.flow.snapshot import LISTS, CurrentCatalogue, PublishedInventory, cut_down
from gateway.ports import PoolNews
from tests.flow.test_dispatch import stores
from tests.support.inline_executor import RememberingThreads
from tests.support.memory_jobs import MemoryJobs
from tests.support.memory_store import MemoryStore

RED = {"title": "red", "model_name": "red", "filename": "/m/red.safetensors", "sha256": None}
BLUE = {"title": "blue", "model_name": "blue"}


def inventory(*entries, at=0.0):
    return PublishedInventory({"sd-models": list(entries)}, lora_is_safe=True, read_at=at)


def test_an_inventory_survives_the_store_whole():
    original = replace(inventory(RED, at=5.0), departed=[(BLUE, 3.0)])
    read = PublishedInventory.from_bytes(original.to_bytes())
    assert (read.lists, read.read_at, read.lora_is_safe) == (original.lists, 5.0, True)
    assert [(entry, seen) for entry, seen in read.departed] == [(BLUE, 3.0)]


def test_what_is_gone_is_remembered_until_it_is_back():
    both, one = inventory(RED, BLUE, at=1.0), inventory(RED, at=2.0)
    after = one.after(both, "a")
    assert after.departed == [(BLUE, 2.0)]
    assert inventory(RED, at=3.0).after(after, "a").departed == [(BLUE, 2.0)]
    assert inventory(RED, BLUE, at=4.0).after(after, "a").departed == []
    assert one.after(None, "a") == one


@pytest.mark.parametrize("route", LISTS)
@pytest.mark.parametrize("answer", [None, "text", 7, {}, {"detail": "Not Found"}, [], [None, 3, "x"], [{}], [[]]])
def test_no_answer_of_a_backend_breaks_the_inventory(route, answer):
    kept = PublishedInventory({"sd-models": [RED], route: cut_down(route, answer)})
    PublishedInventory.from_bytes(kept.to_bytes()).inventory("a")


def test_only_the_fields_that_are_used_are_kept():
    assert cut_down("sd-models", [{**RED, "config": "x" * 1000}]) == [RED]
    assert cut_down("scripts", {"txt2img": ["a"]}) == {"txt2img": ["a"]}


@pytest.mark.virtual_time
async def test_the_catalogue_is_read_only_when_its_version_changed():
    store, (jobs,) = await stores("a")
    current = CurrentCatalogue()
    await current.refresh(jobs, "", 0.0)
    assert jobs.named("inventories") == []
    await jobs.publish("news", PoolNews(inventories={"a": inventory(RED).to_bytes()}))
    for _ in range(3):
        await current.refresh(jobs, str(store.catalogue_version), 0.0)
    assert len(jobs.named("inventories")) == 1
    assert (current.is_known.is_set(), [model.name for model in current.catalogue.models]) == (True, ["red"])
    assert (current.name_of("a", "red"), current.name_of("a", "green"), current.name_of("b", "red")) == ("red", "", "")


@pytest.mark.parametrize(("backends", "asked"), [(1, 0), (16, 1)])
async def test_the_lists_of_a_large_pool_are_read_beside_the_calls(backends, asked):
    store, threads = MemoryStore(), RememberingThreads(1)
    asyncio.get_running_loop().set_default_executor(threads)
    entries = [{**RED, "title": f"model-{number}", "model_name": f"model-{number}"} for number in range(1_000)]
    store.catalogue = {f"backend-{number}": inventory(*entries).to_bytes() for number in range(backends)}
    current = CurrentCatalogue()
    await current.refresh(MemoryJobs(store, "p"), "1", 0.0)
    assert (len(current.catalogue.models), len(current.inventories), threads.asked) == (1_000, backends, asked)


async def test_of_an_upscaler_is_kept_whether_its_weights_are_there_and_not_where():
    answer = [
        {"name": "ESRGAN 4x GAN", "scale": 4.0, "model_path": "https://models.example/4x.pth"},
        {"name": "ESRGAN 4x Box", "scale": 4.0, "model_path": "/srv/models/4x.pth"},
        {"name": "Resize Box", "scale": 4.0, "model_path": None},
    ]
    kept = cut_down("upscalers", answer)
    assert [entry["has_weights"] for entry in kept] == [False, True, None]
    assert "example" not in str(kept)
    assert "/srv" not in str(kept)
    assert [u.has_weights for u in parse_upscalers(kept)] == [False, True, None]
