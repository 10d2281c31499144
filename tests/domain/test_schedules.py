"""The list of schedules."""

from __future__ import annotations

from gateway.domain.catalogue import merge
from gateway.domain.schedules import schedules_listed
from gateway.flow.snapshot import PublishedInventory


def listed(*options):
    samplers = [{"name": f"S{number}", "options": {option: True}} for number, option in enumerate(options)]
    return schedules_listed(merge([PublishedInventory({"samplers": samplers}).inventory("a")]))


def test_only_schedules_that_some_sampler_can_do_are_listed_in_a1111s_form():
    assert [entry["name"] for entry in listed()] == ["automatic", "uniform", "simple"]
    more = listed("use_karras_sigmas", "use_beta_sigmas")
    assert [entry["label"] for entry in more] == ["Automatic", "Uniform", "Simple", "Karras", "Beta"]
    assert more[3] == {
        "name": "karras", "label": "Karras", "aliases": [], "default_rho": 7.0, "need_inner_model": False,
    }  # fmt: skip
