from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext.checkpoints import Shelf, make_checkpoint

NAMES = st.text("abc/-", min_size=1, max_size=12)


def test_a_title_with_ten_hex_digits_is_of_the_cache_layout() -> None:
    checkpoint = make_checkpoint("Diffusers/acme/tiny-c [0123456789]")

    assert (checkpoint.name, checkpoint.hash, checkpoint.basename) == ("Diffusers/acme/tiny-c", "0123456789", "tiny-c")
    assert checkpoint.filename.endswith("models--acme--tiny-c/snapshots/0123456789abcdef0123456789abcdef01234567")


def test_a_plain_title_has_no_hash() -> None:
    listed = make_checkpoint("Diffusers/tiny-a").listing()

    assert listed == {
        "title": "Diffusers/tiny-a",
        "model_name": "Diffusers/tiny-a",
        "filename": "/sdnext/data/models/Diffusers/tiny-a",
        "type": "diffusers",
        "sha256": None,
        "hash": None,
        "config": None,
    }


@given(st.lists(NAMES, unique=True, max_size=5), NAMES)
def test_an_alias_is_always_also_found_by_the_wider_search(titles: list[str], wanted: str) -> None:
    shelf = Shelf()
    for title in titles:
        shelf.add_file(make_checkpoint(title))
    shelf.relist()
    alias = shelf.find_alias(wanted)

    assert alias is None or shelf.find(wanted) == alias


@given(st.lists(NAMES, unique=True, max_size=5))
def test_a_rescan_lists_exactly_what_is_on_disk(titles: list[str]) -> None:
    shelf = Shelf()
    for title in titles:
        shelf.add_file(make_checkpoint(title))
    before = list(shelf.listed)
    shelf.relist()

    assert before == []
    assert sorted(checkpoint.title for checkpoint in shelf.listed) == sorted(titles)


def test_a_file_that_is_put_back_is_readable_again() -> None:
    shelf, checkpoint = Shelf(), make_checkpoint("a")
    shelf.add_file(checkpoint)
    broken = shelf.break_file("a"), shelf.is_readable(checkpoint)
    shelf.add_file(checkpoint)

    assert broken == (True, False)
    assert shelf.is_readable(checkpoint)
    assert shelf.delete_file("b") is False
