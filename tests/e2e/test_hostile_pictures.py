"""Whatever file is sent, a backend decodes no other size than the one that was priced: Pillow is what SD.Next decodes
with.
"""

from __future__ import annotations

import base64
import binascii
import io
import random
import warnings

import msgspec
import pytest
from PIL import Image, ImageFile

from gateway.domain.errors import CallerError
from gateway.domain.images import checked_image
from tests.support.mutated_pictures import as_text, mutated, whole_pictures

CAP = 4_200_000


@pytest.fixture(scope="module")
def wholes():
    return whole_pictures()


@pytest.fixture(params=[False, True], ids=["strict", "lenient"])
def leniency(request):
    """Pillow also in the way in which it accepts what is damaged."""
    ImageFile.LOAD_TRUNCATED_IMAGES = request.param
    yield
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def priced(text):
    """The size that is priced and the text that is sent, None for what is refused."""
    try:
        sent, header = checked_image(msgspec.Raw(msgspec.json.encode(text)), "image", CAP)
    except CallerError:
        return None
    return (header.width, header.height), msgspec.json.decode(sent)


def decoded_size(text):
    """What SD.Next makes of it: data URLs are cut, what is no base64 is skipped, any format is taken. None: nothing."""
    data = text.split(";", 1)[1].split(",", 1)[1] if text.startswith("data:image/") else text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(base64.b64decode(data)))
            image.load()
        except (binascii.Error, Image.DecompressionBombError, OSError, SyntaxError, ValueError, TypeError):
            return None
        except (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError):
            return None
    return image.size


def test_every_whole_picture_is_taken_for_the_size_that_it_has(wholes):
    for data in wholes:
        text = base64.b64encode(data).decode()
        size, sent = priced(text)
        assert size == decoded_size(text) == decoded_size(sent)


def test_whatever_size_is_decoded_was_priced(wholes, leniency, request):
    count = request.config.getoption("--pictures")
    dice = random.Random(request.config.getoption("--bodies-seed"))  # noqa: S311 - repeatable, not secret
    taken = worked = 0
    for number in range(count):
        text = as_text(dice, mutated(dice, wholes))
        if (found := priced(text)) is None:
            continue
        taken += 1
        size, sent = found
        seen = decoded_size(sent)
        worked += seen is not None
        assert seen in (None, size), (number, text)
    assert taken > count // 20, "what is always refused shows nothing"
    assert worked > count // 40
