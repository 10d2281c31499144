import json

import pytest

from gateway.domain.catalogue import Sampler
from gateway.domain.samplers import Choice, can_do, resolve_sampler, resolve_schedule, working_names
from tests.domain.pool import CONTEXT, backend, context

POOL = CONTEXT.catalogue


@pytest.mark.parametrize(
    ("name", "sampler", "word"),
    [
        ("Euler", "Euler", ""),
        ("EULER A", "Euler a", ""),
        ("default", "Default", ""),
        ("DPM++ 2M Karras", "DPM++ 2M", "karras"),
        ("DPM++ 2M Exponential", "DPM++ 2M", "exponential"),
        ("DPM++ 2M SGM Uniform", "DPM++ 2M", "sgm uniform"),
        ("DPM++ 2M Simple", "DPM++ 2M", "simple"),
        ("DPM2", "KDPM2", ""),
        ("DPM2 a Karras", "KDPM2 a", "karras"),
        ("DPM++ 2S a", "DPM++ 1S", ""),
        ("DPM++ 2S a Karras", "DPM++ 1S", "karras"),
        ("LMS", "LMSD", ""),
        ("LMS Karras", "LMSD", "karras"),
        ("PLMS", "PNDM", ""),
        ("DPM fast", "DPM++ 2M", ""),
        ("DPM adaptive", "DPM++ 2M", ""),
        ("k_euler_a", "Euler a", ""),
        ("k_lms", "LMSD", ""),
        ("k_dpmpp_2m", "DPM++ 2M", ""),
        ("k_dpmpp_2m_ka", "DPM++ 2M", "ka"),
        ("unipc", "UniPC", ""),
    ],
)
def test_a_samplers_name_in_any_servers_words_is_found(name, sampler, word):
    assert resolve_sampler(name, POOL) == Choice(sampler, word)


@pytest.mark.parametrize("name", ["nope", "Karras", " karras", "Euler nope", "None", "DPM++ 2MKarras"])
def test_an_unknown_name_is_no_sampler(name):
    assert resolve_sampler(name, POOL) is None


def test_a_name_that_a_backend_has_wins_over_its_meaning_elsewhere():
    pool = context(backend(samplers=(Sampler("DPM2"), Sampler("KDPM2"), Sampler("Euler Karras")))).catalogue
    assert resolve_sampler("DPM2", pool) == Choice("DPM2")
    assert resolve_sampler("euler karras", pool) == Choice("Euler Karras")


def test_an_alias_that_a_backend_lists_is_found():
    assert resolve_sampler(
        "K_FOO", context(backend(samplers=(Sampler("Foo", aliases=("k_foo",)),))).catalogue
    ) == Choice("Foo")


@pytest.mark.parametrize(
    ("word", "schedule"),
    [
        *(
            ("Karras", "karras"),
            ("karras", "karras"),
            ("Beta", "betas"),
            ("exponential", "exponential"),
            ("flowmatch", "flowmatch"),
        ),
        *(("automatic", ""), ("Normal", ""), ("Simple", ""), ("", ""), ("Use same scheduler", "")),
        *(("SGM Uniform", None), ("nonsense", None)),
    ],
)
def test_a_schedule_is_spelled_as_sdnext_takes_it(word, schedule):
    assert resolve_schedule(word) == schedule


def test_whether_a_sampler_can_do_a_schedule_is_read_from_its_options():
    assert can_do("dpm++ 2m", "karras", POOL)
    assert not can_do("Euler a", "karras", POOL)
    assert not can_do("Default", "karras", POOL)


def test_every_listed_name_that_works_does_work():
    names = working_names(POOL)
    assert {"DPM++ 2M Karras", "k_euler_a", "DPM++ 2S a Karras", "LMS"} <= names.keys()
    for name, sampler in names.items():
        assert resolve_sampler(name, POOL).name == sampler


def test_the_shown_schedules_are_lower_case_for_sdnext():
    assert json.dumps(resolve_schedule("KARRAS")) == '"karras"'
