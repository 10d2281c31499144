from gateway.domain.parameters.table import Does
from gateway.domain.parameters.upscale_rows import UPSCALE
from tests.domain.parameters.test_generation_rows import FIELDS, SAME_KIND

SDNEXT = {name: kind for operations, name, kind in FIELDS if "u" in operations}


def test_every_field_of_sdnext_has_its_row_and_its_type():
    assert len(SDNEXT) == 11
    passing = {
        name: SAME_KIND[kind] for name, kind in SDNEXT.items() if UPSCALE[name].does not in (Does.DROP, Does.IMAGE)
    }
    assert {name: UPSCALE[name].kind for name in passing} == passing


def test_scripts_and_faces_are_not_for_upscales():
    for name in ("script_args", "gfpgan_visibility", "codeformer_visibility", "codeformer_weight", "upscale_first"):
        assert UPSCALE[name].does is Does.DROP
