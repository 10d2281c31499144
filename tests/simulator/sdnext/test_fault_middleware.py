from __future__ import annotations

import pytest

from gateway.simulator.sdnext.faults import Fault
from tests.simulator.support import in_process, instant


@pytest.mark.parametrize("name", ["reset", "reset-mid", "truncated"])
async def test_without_a_socket_a_broken_connection_is_an_exception(name: str) -> None:
    async with in_process(instant(faults=(Fault(name),))) as backend:
        with pytest.raises(ConnectionResetError):
            await backend.txt2img()


async def test_a_proxys_page_can_have_any_status() -> None:
    async with in_process(instant(faults=(Fault("html", status=502),))) as backend:
        reply = await backend.txt2img()

        assert (reply.status_code, "Bad gateway" in reply.text) == (502, True)


async def test_a_fault_does_not_keep_the_next_request_from_working() -> None:
    async with in_process(instant(faults=(Fault("empty", times=1),))) as backend:
        counts = [len((await backend.txt2img()).json()["images"]) for _ in range(2)]

    assert counts == [0, 1]
