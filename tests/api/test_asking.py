import json

import pytest

from gateway.api.asking import Asking, as_json
from gateway.domain.errors import NoCapacity
from tests.api.support import request_with
from tests.flow.world import KEY, running

pytestmark = pytest.mark.virtual_time


async def test_who_asks_before_any_backend_was_seen_is_told_to_come_back():
    async with running(ready=False) as world:
        asking = Asking(world.process.gateway)
        request = request_with(authorization=f"Bearer {KEY}")
        assert (await asking.caller(request)).key_prefix == "sk-aaaaa"
        with pytest.raises(NoCapacity) as refused:
            await asking.caller_and_catalogue(request)
        assert refused.value.retry_after_s == 2.0


def test_an_answer_is_json():
    assert json.loads(as_json({"a": 1}).body) == {"a": 1}
