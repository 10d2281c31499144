from gateway.domain.parameters.caption_rows import CAPTION
from gateway.domain.parameters.table import Does


def test_nothing_that_talks_to_a_language_model_or_names_a_model_unchecked_goes_on():
    for name in ("question", "prompt", "system", "prefill", "clip_model", "blip_model", "url", "auth"):
        assert CAPTION[name].does is Does.DROP
    assert CAPTION["model"].does is Does.RESOLVE
    assert CAPTION["image"].does is Does.IMAGE


def test_only_the_two_kinds_that_need_no_language_model_can_be_named():
    assert CAPTION["backend"].choices == ("openclip", "tagger")
