from pathlib import Path

import pytest

from gateway.domain.parameters.generation_rows import GENERATION, ONLY_IMG2IMG, PROMPTS
from gateway.domain.parameters.table import Does, Kind

FIELDS = [
    line.split(" ")
    for line in (Path(__file__).parent / "sdnext_fields.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SDNEXT = {name: kind for operations, name, kind in FIELDS if set(operations) & set("ti")}
SAME_KIND = {
    "string": Kind.TEXT,
    "integer": Kind.INT,
    "number": Kind.FLOAT,
    "boolean": Kind.BOOL,
    "list": Kind.LIST,
    "object": Kind.OBJECT,
}
CERTAINLY_DROPPED = {
    *(
        "extra",
        "infotext",
        "url",
        "auth",
        "grading_lut_file",
        "latent_mask",
        "mask_for_overlay",
        "overlay_images",
        "paste_to",
    ),
    *("firstpass_image", "network_data", "init_control", "include_init_images", "enhance_prompt"),
    *(
        "te_complex_human_instruction",
        "skip_processing",
        "samples_format",
        "grid_format",
        "jpeg_quality",
        "image_metadata",
    ),
    *("diffusers_generator_device", "lora_fuse_native", "lora_fuse_diffusers", "lora_force_reload", "keep_incomplete"),
    *(
        "return_grid",
        "save_images",
        "samples_save",
        "grid_save",
        "do_not_save_samples",
        "do_not_save_grid",
        "send_images",
    ),
    *("save_images_before_highres_fix", "save_images_before_refiner", "save_images_before_detailer"),
    *(
        "save_images_before_color_correction",
        "override_settings_restore_afterwards",
        "hr_checkpoint_name",
        "refiner_checkpoint",
    ),
}


def test_every_field_of_sdnext_has_its_row():
    assert len(SDNEXT) == 240
    assert SDNEXT.keys() <= GENERATION.keys()


@pytest.mark.parametrize(
    "name", sorted(name for name in SDNEXT if GENERATION[name].does not in (Does.DROP, Does.IMAGE))
)
def test_a_field_that_passes_has_the_type_that_sdnext_takes(name):
    assert SAME_KIND.get(SDNEXT[name], Kind.ANY) is GENERATION[name].kind


@pytest.mark.parametrize("name", sorted(CERTAINLY_DROPPED))
def test_what_could_harm_another_tenant_is_dropped(name):
    assert GENERATION[name].does is Does.DROP


def test_every_number_that_passes_is_bounded_on_both_sides():
    numbers = [row for row in GENERATION.values() if row.kind in (Kind.INT, Kind.FLOAT)]
    assert [row.name for row in numbers if not row.low < row.high] == []
    assert max(row.high for row in numbers if row.does is Does.PASS) < 2**53  # what JSON carries whole


def test_every_text_that_passes_is_bounded():
    assert [row.name for row in GENERATION.values() if row.kind is Kind.TEXT and not 0 < row.high <= 100_000] == []


def test_every_field_with_prompt_text_is_searched_for_tags():
    assert {name for name in SDNEXT if "prompt" in name or "negative" in name} - set(PROMPTS) == {
        "prompt_attention",
        "prompt_mean_norm",
        "diffusers_zeros_prompt_pad",
        "enhance_prompt",
    }


def test_pictures_belong_to_img2img():
    assert {"init_images", "mask"} <= ONLY_IMG2IMG
