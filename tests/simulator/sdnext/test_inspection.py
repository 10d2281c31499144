from __future__ import annotations

import hashlib

from gateway.simulator.sdnext.inspection import shortened
from tests.simulator.support import SMALL, in_process, instant


async def test_what_was_received_is_listed_with_its_body_and_status() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img()
        await backend.get("nope")
        listed = (await backend.http.get("/__sim/received")).json()

        assert [(each["method"], each["path"], each["status"]) for each in listed] == [
            ("POST", "/sdapi/v1/txt2img", 200),
            ("GET", "/sdapi/v1/nope", 404),
        ]
        assert listed[0]["body"] == SMALL
        assert listed[1]["body"] is None


async def test_control_calls_are_not_listed_and_the_list_can_be_cleared() -> None:
    async with in_process(instant()) as backend:
        await backend.get("status")
        await backend.http.get("/__sim/state")
        count = len((await backend.http.get("/__sim/received")).json())
        await backend.http.delete("/__sim/received")

        assert count == 1
        assert (await backend.http.get("/__sim/received")).json() == []


async def test_one_path_can_be_asked_for() -> None:
    async with in_process(instant()) as backend:
        await backend.get("status")
        await backend.get("progress")
        listed = (await backend.http.get("/__sim/received", params={"path": "/sdapi/v1/status"})).json()

        assert [each["number"] for each in listed] == [1]


async def test_a_body_that_is_no_json_is_kept_as_text() -> None:
    async with in_process(instant()) as backend:
        await backend.http.post("/sdapi/v1/txt2img", content=b"{", headers={"content-type": "application/json"})

        assert backend.simulation.received.listing()[0]["body"] == "{"


def test_long_strings_are_replaced_by_length_hash_and_head_at_any_depth() -> None:
    long = "ab" * 200
    expected = {"length": 400, "sha256": hashlib.sha256(long.encode()).hexdigest(), "head": long[:32]}

    assert shortened({"a": [long, "short"], "b": {"c": long}}) == {"a": [expected, "short"], "b": {"c": expected}}
