from __future__ import annotations

from gateway.simulator.sdnext.facts import OptionFact, load_facts


def test_the_facts_have_the_observed_counts() -> None:
    facts = load_facts()

    assert {kind: len(fields) for kind, fields in facts.fields.items()} == {"txt2img": 238, "img2img": 239}
    assert (len(facts.samplers), len(facts.upscalers), len(facts.schedulers)) == (114, 51, 140 - 3)
    assert (len(facts.options), len(facts.config)) == (635, 34)


def test_an_option_has_its_default_type_and_section() -> None:
    assert load_facts().options["server_rate_limit"] == OptionFact(300, "number", "server", hidden=False)


def test_every_simulated_server_has_facts_of_its_own() -> None:
    load_facts().config["offline_mode"] = "spoiled"

    assert load_facts().config["offline_mode"] is True
