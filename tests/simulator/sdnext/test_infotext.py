from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext.facts import load_facts
from gateway.simulator.sdnext.infotext import JobFacts, info_json, infotext
from gateway.simulator.sdnext.parameters import Sampling

DEFAULTS = {name: default for name, (_, default) in load_facts().fields["txt2img"].items()}


def job(model: str = "tiny-a", **fields: object) -> JobFacts:
    sampling = Sampling("Default", "EulerDiscreteScheduler", "")
    return JobFacts(DEFAULTS | fields, sampling, model, (64, 64), 42, 7, "txt2img", False, "", "20261122101840")


def test_an_infotext_is_word_for_word_as_recorded() -> None:
    prompts = "a cat\nNegative prompt: \nTemplate: a cat\n"
    asked = "Steps: 4, Size: 64x64, Scheduler: EulerDiscreteScheduler, Seed: 42, CFG scale: 6.0, CFG rescale: 0.0, "
    made = "App: SD.Next, Version: unknown, Pipeline: StableDiffusionPipeline, Operations: txt2img, Model: tiny-a"

    assert infotext(job(prompt="a cat", steps=4), 0) == prompts + asked + made


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_the_prompt_the_last_line_tells_the_true_model(prompt: str) -> None:
    assert infotext(job(prompt=prompt), 0).rsplit("\n", 1)[-1].endswith("Model: tiny-a")


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_asked_image_has_its_seed_whatever_was_made(batch: int, iterations: int) -> None:
    told = json.loads(info_json(job(batch_size=batch, n_iter=iterations), []))

    assert told["all_seeds"] == list(range(42, 42 + batch * iterations))
    assert told["infotexts"] == []
