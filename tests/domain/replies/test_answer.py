import json

import msgspec
import pytest

from gateway.domain.replies.answer import AnswerBody, json_list

PICTURES = msgspec.json.decode(b'["AAAA","BBBB"]', type=list[msgspec.Raw])


def test_the_parts_are_the_json_of_the_members_in_order_and_their_size_is_that_of_all():
    body = AnswerBody((("images", json_list(tuple(PICTURES))), ("info", (b'"{}"',))))
    assert json.loads(bytes(body)) == {"images": ["AAAA", "BBBB"], "info": "{}"}
    assert body.size == len(bytes(body))


def test_a_picture_is_given_on_from_where_it_lies():
    body = AnswerBody((("image", (PICTURES[0],)),))
    assert body.member("image")[0] is PICTURES[0]
    with pytest.raises(KeyError):
        body.member("images")


@pytest.mark.parametrize("body", [AnswerBody(()), AnswerBody((("images", json_list(())),))])
def test_nothing_is_json_too(body):
    assert json.loads(bytes(body)) in ({}, {"images": []})
