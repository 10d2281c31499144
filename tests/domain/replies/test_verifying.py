import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.catalogue import merge
from gateway.domain.jobs import Operation
from gateway.domain.parameters import OperatorPolicy, ShapingContext
from gateway.domain.replies import AttemptFailed, CallersFault, Delivered, Flaw, is_loaded, repair, verify
from tests.domain.pool import GPU, PICTURE, b64, backend, context, models, png, png_head, shaped
from tests.domain.replies.answers import answer, good, info, infotext, picture

ONE = shaped({"width": 64, "height": 64, "sampler_name": "DPM++ 2M"})
FOUR = shaped({"width": 64, "height": 64, "batch_size": 2, "n_iter": 2})
BLACK = b64(png(512, 512, 0))


def flaw_of(verdict):
    return verdict.flaw if isinstance(verdict, AttemptFailed) else None


def test_a_complete_answer_is_delivered_with_the_pictures_as_they_came():
    body = good(4, infotexts=[infotext()] * 4)
    verdict = verify(FOUR, GPU, 200, body)
    assert isinstance(verdict, Delivered)
    assert [json.loads(bytes(i)) for i in verdict.images] == json.loads(body)["images"]
    assert (verdict.size, verdict.interrupted, verdict.model_is_certain) == ((64, 64), False, True)


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (answer([], info()), Flaw.EMPTY),
        (b'{"images": [], "info": ""}', Flaw.EMPTY),
        (b'{"images": null, "info": null}', Flaw.EMPTY),
        (answer([picture()], info(2)), Flaw.INCOMPLETE),
        (answer([picture()], info(1, seeds=2)), Flaw.INCOMPLETE),
        (answer([picture()], info(infotexts=[infotext(model="tiny-b")])), Flaw.WRONG_MODEL),
        (answer([b64(b"GIF89a" + bytes(60))], info()), Flaw.UNREADABLE),
        (b"<html>", Flaw.UNREADABLE),
        (b'{"images": 3}', Flaw.UNREADABLE),
        (b'{"images": ["x"], "info": "[]"}', Flaw.UNREADABLE),
        (b'{"images": ["x"], "info": "{"}', Flaw.UNREADABLE),
    ],
)
def test_a_200_that_is_not_what_was_asked_is_a_failed_attempt(body, flaw):
    assert flaw_of(verify(ONE, GPU, 200, body)) is flaw


def test_more_pictures_than_seeds_are_fine_since_a_mask_comes_along():
    assert isinstance(verify(ONE, GPU, 200, answer([picture(), picture()], info(2, seeds=1))), Delivered)


def test_fewer_pictures_than_asked_are_not_complete_even_if_the_answer_agrees_with_itself():
    assert flaw_of(verify(FOUR, GPU, 200, good(1))) is Flaw.INCOMPLETE


def test_a_model_named_in_the_prompt_deceives_nobody():
    forged = infotext(model="tiny-b", prompt="x\nSteps: 1, Model: tiny-a")
    assert flaw_of(verify(ONE, GPU, 200, answer([picture()], info(infotexts=[forged])))) is Flaw.WRONG_MODEL


def test_an_infotext_without_a_model_leaves_it_uncertain():
    verdict = verify(ONE, GPU, 200, answer([picture()], info(infotexts=["a cat\nSteps: 4"])))
    assert (type(verdict), verdict.model_is_certain) == (Delivered, False)


def test_a_base_name_that_two_checkpoints_share_leaves_the_model_uncertain():
    twins = backend(models=models("a/foo", "b/foo"))
    request = shaped({"sd_model_checkpoint": "a/foo", "width": 64, "height": 64}, ShapingContext(merge([twins])))
    verdict = verify(request, twins, 200, answer([picture()], info(infotexts=[infotext(model="foo")])))
    assert verdict.model_is_certain is False


def test_a_silently_replaced_sampler_is_corrected_and_told():
    verdict = verify(ONE, GPU, 200, good(1))
    assert verdict.info["sampler_name"] == "Euler"
    assert verdict.adjustments == ("sampler_name=Euler (the model cannot use DPM++ 2M)",)


def test_hires_that_did_not_happen_is_a_failed_attempt():
    request = shaped({"width": 64, "height": 64, "enable_hr": True, "hr_scale": 2})
    assert flaw_of(verify(request, GPU, 200, good(1))) is Flaw.WRONG_SIZE
    assert isinstance(verify(request, GPU, 200, answer([picture(128, 128)], info())), Delivered)


def test_a_picture_of_a_size_that_nobody_asked_for_is_a_failed_attempt():
    for size in ((512, 512), (128, 64), (64, 32), (32, 64)):
        assert flaw_of(verify(ONE, GPU, 200, answer([picture(*size)], info()))) is Flaw.WRONG_SIZE
    assert flaw_of(verify(FOUR, GPU, 200, answer([picture()] * 3 + [picture(512, 512)], info(4)))) is Flaw.WRONG_SIZE


def test_a_size_on_the_coarser_grid_of_a_checkpoint_is_right():
    request = shaped({"width": 1000, "height": 1000})
    assert isinstance(verify(request, GPU, 200, answer([picture(992, 976)], info())), Delivered)


IMG2IMG = {"init_images": [b64(png_head(97, 131))], "width": 97, "height": 131}


@pytest.mark.parametrize(
    ("fields", "right", "wrong"),
    [
        ({}, (104, 136), (512, 512)),  # rounded up to 8 where nothing is resized
        ({"width": 256, "height": 192}, (256, 192), (97, 131)),
        ({"resize_mode": 2, "width": 256, "height": 192}, (256, 192), (104, 136)),
        ({"scale_by": 2, "selected_scale_tab": 1}, (192, 256), (104, 136)),
    ],
)
def test_img2img_comes_back_in_the_size_that_its_resize_mode_gives(fields, right, wrong):
    request = shaped(IMG2IMG | fields, operation=Operation.IMG2IMG)
    verdict = verify(request, GPU, 200, answer([picture(*right)], info()))
    assert verdict.size == right
    assert flaw_of(verify(request, GPU, 200, answer([picture(*wrong)], info()))) is Flaw.WRONG_SIZE


def test_the_mask_that_comes_along_may_have_any_size_and_any_place():
    fields = IMG2IMG | {"mask": b64(png_head(40, 40)), "include_mask": True}
    request = shaped(fields, operation=Operation.IMG2IMG)
    for pictures in ([(40, 40), (104, 136)], [(104, 136), (40, 40)]):
        body = answer([picture(*size) for size in pictures], info(2, seeds=1))
        assert verify(request, GPU, 200, body).size == (104, 136)
    assert flaw_of(verify(request, GPU, 200, answer([picture(40, 40)], info()))) is Flaw.WRONG_SIZE


def test_where_only_the_masked_part_is_painted_the_whole_picture_or_the_part_comes_back():
    fields = IMG2IMG | {"mask": b64(png_head(97, 131)), "inpaint_full_res": True, "width": 512, "height": 512}
    request = shaped(fields, operation=Operation.IMG2IMG)
    assert request.expected == (97, 131)
    for size in ((97, 131), (512, 512)):
        assert isinstance(verify(request, GPU, 200, answer([picture(*size)], info())), Delivered)
    assert flaw_of(verify(request, GPU, 200, answer([picture(256, 256)], info()))) is Flaw.WRONG_SIZE


def test_a_script_may_answer_with_a_grid():
    ctx = context(operator=OperatorPolicy(scripts={"xyz grid": 1.0}))
    request = shaped({"width": 64, "height": 64, "script_name": "xyz grid"}, ctx)
    assert isinstance(verify(request, GPU, 200, answer([picture(700, 300)], info())), Delivered)


@pytest.mark.parametrize("cut", [8, 40, -13])
def test_a_picture_that_breaks_off_is_a_failed_attempt(cut):
    whole = b64(png(64, 64, 200)[:cut])
    assert flaw_of(verify(ONE, GPU, 200, answer([whole], info()))) is Flaw.UNREADABLE


def test_the_field_of_a_picture_that_a_server_cannot_decode_is_named():
    said = b'{"error":"HTTPException","code":500,"detail":"Invalid encoded image"}'
    masked = shaped(IMG2IMG | {"mask": b64(png_head(97, 131))}, operation=Operation.IMG2IMG)
    for request, field in ((UPSCALE, "image"), (masked, "init_images or mask")):
        verdict = verify(request, GPU, 500, said)
        assert isinstance(verdict, CallersFault)
        assert str(verdict.error).startswith(f"{field} could not be decoded")
        assert verdict.error.field == field.partition(" ")[0]


def test_an_error_of_the_caller_stays_the_callers():
    assert isinstance(verify(ONE, GPU, 422, b'{"detail": []}'), CallersFault)


# --- what the caller interrupted -----------------------------------------------------------------


def test_a_single_interrupted_picture_is_no_picture():
    verdict = verify(ONE, GPU, 200, answer([BLACK], info(2, seeds=1)), interrupted_by_us=True)
    assert (verdict.images, verdict.interrupted) == ((), True)


def test_the_finished_pictures_of_an_interrupted_batch_are_delivered_without_the_black_one():
    body = answer([picture(value=9), picture(value=200), BLACK], info(3, seeds=4))
    verdict = verify(FOUR, GPU, 200, body, interrupted_by_us=True)
    assert len(verdict.images) == 2
    assert {len(verdict.info[k]) for k in ("infotexts", "all_seeds", "all_prompts", "all_subseeds")} == {2}


def test_a_black_grid_of_any_size_is_taken_away():
    verdict = verify(FOUR, GPU, 200, answer([b64(png(1024, 512, 0))], info(2, seeds=4)), interrupted_by_us=True)
    assert verdict.images == ()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_black_frame_is_known_in_colour_and_in_grey(mode):
    out = io.BytesIO()
    Image.new(mode, (512, 512)).save(out, "PNG")
    body = answer([b64(out.getvalue())], info(2, seeds=4))
    assert verify(FOUR, GPU, 200, body, interrupted_by_us=True).images == ()


def test_a_picture_of_noise_is_no_black_frame():
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(out, "PNG")
    body = answer([b64(out.getvalue())], info(1, seeds=4))
    assert len(verify(FOUR, GPU, 200, body, interrupted_by_us=True).images) == 1


def test_a_dark_but_finished_picture_is_kept():
    body = answer([b64(png(64, 64, 30))], info(1, seeds=4))
    assert len(verify(FOUR, GPU, 200, body, interrupted_by_us=True).images) == 1


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (200, b'{"images": [], "info": ""}'), (200, b"{}"), (200, b"<html>")]
)
def test_an_interrupted_job_is_never_a_failure(status, body):
    verdict = verify(ONE, GPU, status, body, interrupted_by_us=True)
    assert (verdict.images, verdict.interrupted) == ((), True)


def test_what_an_interrupt_left_in_another_size_is_no_picture():
    noise = io.BytesIO()
    Image.effect_noise((512, 512), 50).convert("RGB").save(noise, "PNG")  # too large to be looked into
    body = answer([picture(), b64(noise.getvalue())], info(2, seeds=4))
    assert len(verify(FOUR, GPU, 200, body, interrupted_by_us=True).images) == 1


def test_an_interrupt_that_came_too_late_changes_nothing():
    assert verify(ONE, GPU, 200, good(1), interrupted_by_us=True).interrupted is False


def test_a_black_picture_that_nobody_interrupted_is_incomplete():
    assert flaw_of(verify(ONE, GPU, 200, answer([BLACK], info(2, seeds=1)))) is Flaw.INCOMPLETE


# --- upscales --------------------------------------------------------------------------------------

CAPTION = shaped(
    {"image": b64(png_head(64, 64))},
    context(operator=OperatorPolicy(caption_models=("ViT-L-14/openai",))),
    Operation.CAPTION,
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"backend":"openclip","caption":"a cat","tags":null,"x":1}', {"caption": "a cat"}),
        (b'{"tags":"cat, sofa","scores":{"cat":0.9}}', {"tags": "cat, sofa", "scores": {"cat": 0.9}}),
    ],
)
def test_a_caption_is_the_words_that_came(body, words):
    verdict = verify(CAPTION, GPU, 200, body)
    assert isinstance(verdict, Delivered)
    assert verdict.info == words
    told = json.loads(bytes(repair(CAPTION, verdict)))
    assert told == {"backend": "openclip", "caption": words.get("caption", words.get("tags")), **words}


@pytest.mark.parametrize(
    ("status", "body", "flaw"),
    [
        (200, b'{"caption":""}', Flaw.EMPTY),
        (200, b"{}", Flaw.EMPTY),
        (200, b'{"caption":7}', Flaw.UNREADABLE),
        (404, b'{"detail":"Not Found"}', Flaw.ERROR_STATUS),  # no reason to set the server aside for all else
    ],
)
def test_no_words_are_a_failed_attempt_and_so_is_a_server_without_captions(status, body, flaw):
    assert flaw_of(verify(CAPTION, GPU, status, body)) is flaw


UPSCALE = shaped({"image": b64(png_head(64, 64)), "upscaler_1": "Resize Lanczos"}, operation=Operation.UPSCALE)


def upscaled(width, height):
    return json.dumps({"html_info": "Size: x", "image": picture(width, height)}).encode()


def test_an_upscale_of_the_right_size_is_delivered():
    verdict = verify(UPSCALE, GPU, 200, upscaled(128, 128))
    assert (verdict.size, verdict.html_info) == ((128, 128), "Size: x")


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (upscaled(64, 64), Flaw.WRONG_SIZE),
        (b"{}", Flaw.EMPTY),
        (b'{"image": "x"}', Flaw.EMPTY),
        (b"[", Flaw.UNREADABLE),
    ],
)
def test_an_upscale_that_did_not_happen_is_a_failed_attempt(body, flaw):
    assert flaw_of(verify(UPSCALE, GPU, 200, body)) is flaw


def test_no_upscaler_is_asked_for_and_so_the_original_size_is_right():
    request = shaped({"image": b64(png_head(64, 64)), "upscaler_1": "None"}, operation=Operation.UPSCALE)
    assert isinstance(verify(request, GPU, 200, upscaled(64, 64)), Delivered)


# --- the checkpoint itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ({"title": "Diffusers/tiny-a", "name": "Diffusers/tiny-a"}, True),
        ({"title": "Diffusers/tiny-a [0123456789]"}, True),
        ({"title": "Diffusers/tiny-b"}, False),
        ({"title": None, "type": None}, False),
        ([], False),
    ],
)
def test_the_loaded_checkpoint_is_compared_by_its_title(said, right):
    assert is_loaded(ONE, GPU, json.dumps(said).encode()) is right


@given(st.sampled_from([ONE, FOUR, UPSCALE, CAPTION]), st.binary(max_size=60), st.integers(100, 599), st.booleans())
def test_no_answer_whatever_raises(request, body, status, interrupted):
    assert verify(request, GPU, status, body, interrupted_by_us=interrupted) is not None
    wrapped = json.dumps(
        {"images": [PICTURE], "image": body.decode("latin-1"), "info": body.decode("latin-1")}
    ).encode()
    assert verify(request, GPU, 200, wrapped, interrupted_by_us=interrupted) is not None


# --- answers that would hold everybody up ----------------------------------------------------------


def test_an_answer_of_millions_of_values_is_not_read():
    info_of_numbers = json.dumps({"images": [picture()], "info": "[" + "1," * 4_000_001 + "1]"}).encode()
    assert flaw_of(verify(ONE, GPU, 200, info_of_numbers)) is Flaw.UNREADABLE


def test_hundreds_of_pictures_where_one_was_asked_for_are_not_looked_at():
    verdict = verify(ONE, GPU, 200, answer([picture()] * 300, info(300)))
    assert (verdict.flaw, verdict.said) == (Flaw.UNREADABLE, "300 images came back, 1 were asked for")


def test_the_words_of_an_upscale_hold_no_path_and_no_secret():
    body = json.loads(upscaled(128, 128)) | {"html_info": "<p>from /srv/models/x.pth, key=abcdefgh</p>"}
    assert verify(UPSCALE, GPU, 200, json.dumps(body).encode()).html_info == "<p>from [path], key=[secret]"


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_pictures_that_are_not_png_come_from_a_server_that_was_started_anew(kind):
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(made, kind)
    verdict = verify(ONE, GPU, 200, answer([b64(made.getvalue())], info()))
    assert (flaw_of(verdict), kind.upper() in verdict.said) == (Flaw.WRONG_FORMAT, True)
    mixed = verify(FOUR, GPU, 200, answer([picture()] * 3 + [b64(made.getvalue())], info(4)))
    assert flaw_of(mixed) is Flaw.WRONG_FORMAT
