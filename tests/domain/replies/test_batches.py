import json

from gateway.domain.errors import GenerationFailed, InvalidRequest
from gateway.domain.replies.answer import AnswerBody
from gateway.domain.replies.batches import batch_answer


def single(image, html=""):
    members = {"image": image, "html_info": html, "info": "{}"}
    return AnswerBody(tuple((name, (json.dumps(value).encode(),)) for name, value in members.items()))


def test_the_pictures_stand_together_in_order():
    body, told = batch_answer([single("a"), single("b", "Size: 8x8")], {})
    assert (json.loads(bytes(body)), told) == ({"html_info": "Size: 8x8", "images": ["a", "b"]}, ())


def test_those_that_failed_are_named_and_the_good_ones_are_not_lost():
    failed = {1: InvalidRequest("image could not be decoded", "image"), 3: GenerationFailed("no, not now")}
    body, told = batch_answer([single("a", "Size: 8x8"), single("c")], failed)
    assert json.loads(bytes(body)) == {
        "html_info": "Size: 8x8\nimageList[1] failed: image could not be decoded\nimageList[3] failed: no, not now",
        "images": ["a", "c"],
        "failed": [
            {"loc": ["body", "imageList[1]"], "msg": "image could not be decoded"},
            {"loc": ["body", "imageList[3]"], "msg": "no, not now"},
        ],
    }
    assert told == (
        "imageList[1] (failed: image could not be decoded)",
        "imageList[3] (failed: no; not now)",
    )
