import json

import pytest

from gateway.domain.errors import Forbidden, InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.parameters.captioning import backend_of
from gateway.domain.rendering import render
from tests.domain.pool import GPU, b64, context, png_head, shaped

IMAGE = b64(png_head(1000, 500))
MODELS = OperatorPolicy(caption_models=("ViT-L-14/openai", "ViT-H-14/laion", "wd-tagger"))


def captioned(operator=MODELS, **fields):
    return shaped({"image": IMAGE} | fields, context(operator=operator), Operation.CAPTION)


@pytest.mark.parametrize(
    ("fields", "backend", "model"),
    [
        ({}, "openclip", "ViT-L-14/openai"),
        ({"backend": "Tagger"}, "tagger", "wd-tagger"),
        ({"model": "WD-TAGGER"}, "tagger", "wd-tagger"),
        ({"model": "vit-h-14/laion"}, "openclip", "ViT-H-14/laion"),
    ],
)
def test_the_model_is_one_that_the_operator_named_in_his_spelling(fields, backend, model):
    sent = json.loads(render(captioned(**fields), GPU))
    assert (sent["backend"], sent["model"]) == (backend, model)
    assert sent.keys() == {"backend", "model", "image"}


@pytest.mark.parametrize("fields", [{"model": "acme/other"}, {"model": "wd-tagger", "backend": "openclip"}])
def test_any_other_model_is_refused_with_those_that_can_be_named(fields):
    with pytest.raises(InvalidRequest, match="must be one of: ViT-L-14/openai, ViT-H-14/laion, wd-tagger") as caught:
        captioned(**fields)
    assert caught.value.field == "model"


def test_without_a_model_named_by_the_operator_nothing_is_described():
    with pytest.raises(InvalidRequest, match="operator has named no model"):
        captioned(OperatorPolicy())


def test_a_picture_is_needed_and_a_key_with_an_image_model():
    with pytest.raises(InvalidRequest, match="image is missing"):
        captioned(image=None)
    nobody = context(operator=MODELS, grants=Grants(models=Names(())))
    with pytest.raises(Forbidden):
        shaped({"image": IMAGE}, nobody, Operation.CAPTION)


def test_what_the_other_kind_alone_knows_is_dropped_and_told():
    request = captioned(model="wd-tagger", mode="fast", threshold=0.4)
    assert (request.fields["threshold"], "mode" in request.fields) == (0.4, False)
    assert request.adjustments == ("mode (dropped)",)
    assert captioned(mode="fast", max_tags=3).fields.keys() == {"image", "backend", "model", "mode"}


def test_the_price_is_the_picture_that_is_read_and_no_picture_comes_back():
    price = captioned().price
    assert (price.images, price.megapixel_steps, price.output_megapixels) == (0, 0.0, 0.5)
    assert captioned().model is None


def test_a_model_with_its_weights_behind_a_slash_is_openclips():
    assert (backend_of("ViT-L-14/openai"), backend_of("wd-eva02-large-tagger-v3")) == ("openclip", "tagger")
