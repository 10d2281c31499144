import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.keys import Grants, Names
from gateway.domain.tags import resolve_tags, respelled
from tests.domain.pool import CONTEXT

POOL = CONTEXT.catalogue


def resolved(text, grants=None):
    told = []
    clean, loras = resolve_tags(text, "prompt", POOL, grants or Grants(), told.append)
    return clean, [lora.name for lora in loras], told


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<lora:inky:0.5>", "<lora:inky:0.5>"),
        ("<LORA:INKY:0.5>", "<lora:inky:0.5>"),
        ("<lora:Ink Wash>", "<lora:inky>"),
        ("<lora:inky_v2:0.5:0.7:lbw=1>", "<lora:inky:0.5:0.7:lbw=1>"),
        ("<lora:styles\\GOLD:1>", "<lora:styles/gold:1>"),
        ("<lyco: gold :1>", "<lora:styles/gold:1>"),
    ],
)
def test_a_lora_is_found_by_name_file_name_and_alias_and_keeps_its_arguments(text, clean):
    assert resolved(f"a {text} b")[0] == f"a {clean} b"


def test_other_tags_are_removed_and_told():
    assert resolved("a<hypernet:x:1>b <word:y>") == ("ab ", [], ["<hypernet:...>", "<word:...>"])


@pytest.mark.parametrize("text", ["a < b > c", "<3 you", "<lora>", "x <- y", "< lora:x>", "<lora:", "<:x>", "<<>>"])
def test_an_angle_bracket_without_a_word_and_a_colon_is_text(text):
    assert resolved(text) == (text, [], [])


def test_a_tag_that_appears_when_another_is_removed_is_seen():
    assert resolved("<lo<a:b>ra:inky:1>") == ("<lora:inky:1>", ["inky"], ["<a:...>"])
    with pytest.raises(NotGranted):
        resolved("<lo<a:b>ra:inky:1>", Grants(loras=Names(())))


def test_tags_within_tags_without_end_are_refused():
    text = "x:y"
    for _ in range(20):
        text = f"<a{text}>"
        text = f"<lo{text}ra:b"
    with pytest.raises(InvalidRequest):
        resolved(f"{text}{'>' * 20}")


def test_an_unknown_lora_is_refused_with_the_nearest_name_the_key_may_use():
    with pytest.raises(InvalidRequest, match=r'prompt: there is no LoRA "inkyy"\. Did you mean "inky"'):
        resolved("<lora:inkyy:1>")


def test_a_lora_of_somebody_else_is_refused():
    with pytest.raises(NotGranted, match='may not use the LoRA "inky"'):
        resolved("<lora:inky:1>", Grants(loras=Names(("gold",))))


def test_each_lora_is_needed_once():
    assert resolved("<lora:inky:1> <lora:Ink Wash:2> <lora:gold:1>")[1] == ["inky", "styles/gold"]


def test_a_backends_own_spelling_is_put_into_the_tags_and_nowhere_else():
    assert respelled("inky <lora:inky:0.5> <lora:gold>", {"inky": "x/inky"}) == "inky <lora:x/inky:0.5> <lora:gold>"


def test_a_prompt_of_thousands_of_tags_is_refused_before_it_holds_up_others():
    with pytest.raises(InvalidRequest, match='more than 500 of "<"'):
        resolved("<a:b>" * 501)
    assert resolved("<a:b>" * 500)[0] == ""


@pytest.mark.parametrize(
    "text",
    [
        "<lo{ra|ra}:gold:1>",
        "<{lora|lora}:gold:1>",
        "{<|<}lora:gold:1>",
        "<{x|lora:gold:1>}",
        "a {< |< }lora:gold:1>",
    ],
)
def test_braces_put_no_tag_together_that_was_not_granted(text):
    assert "<" not in resolved(text, Grants(loras=Names(("inky",))))[0]


@pytest.mark.parametrize("text", ["{<lora:inky:1|<}lora:gold:1>", "<lora:inky:1{<|>}lora:gold:1>", "<lora:inky:1{|>"])
def test_a_tag_that_braces_could_take_apart_is_refused(text):
    with pytest.raises(InvalidRequest, match="where the text has braces"):
        resolved(text)


def test_a_choice_of_words_or_of_whole_tags_stays_as_it_is():
    text = "a {red|{dark|light} blue} dress, {<lora:inky:1>|<lora:styles/gold:0.5>}, a > b"
    assert resolved(text) == (text, ["inky", "styles/gold"], [])
    assert resolved("{a|b} <3") == ("{a|b} 3", [], ["< beside {}"])


@given(st.text(alphabet="<>:ab lorinky0.5{|}", max_size=40))
def test_resolving_twice_is_resolving_once(text):
    try:
        clean, loras, _ = resolved(text)
    except (InvalidRequest, NotGranted):
        return
    assert resolved(clean) == (clean, loras, [])
