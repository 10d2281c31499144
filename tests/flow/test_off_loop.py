import threading

import pytest

from gateway.flow.off_loop import LARGE_BYTES, off_loop


@pytest.mark.parametrize(("size", "is_beside"), [(0, False), (LARGE_BYTES, False), (LARGE_BYTES + 1, True)])
async def test_a_large_body_is_read_beside_the_loop_and_a_small_one_in_it(size, is_beside):
    here = threading.get_ident()
    assert (await off_loop(bytes(size), threading.get_ident) != here) is is_beside


async def test_what_reading_raises_reaches_the_call():
    def refuse():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await off_loop(bytes(LARGE_BYTES + 1), refuse)
