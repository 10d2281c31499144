from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext.faults import WORK_PATHS, Fault, FaultTable, fault_from_json, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang", Fault("hang")),
        ("500=0.1", Fault("500", p=0.1)),
        ("slow=1,seconds=5,path=*", Fault("slow", seconds=5, path="*")),
        ("hang,start=60,end=90", Fault("hang", start=60, end=90)),
        ("reset,after=3,times=2,every=4", Fault("reset", after=3, times=2, every=4)),
    ],
)
def test_a_fault_can_be_written_on_a_command_line(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["meteor", "500=2", "500=x", "hang,when=now", "hang,seconds", "reset,every=0"])
def test_a_fault_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_fault(text)


def test_a_fault_in_json_has_the_same_keys() -> None:
    assert fault_from_json({"name": "html", "status": 502}) == Fault("html", status=502)
    with pytest.raises(ValueError, match="a fault has the keys"):
        fault_from_json({"name": "html", "when": 1})


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3))
def test_a_schedule_hits_exactly_the_requests_it_names(after: int, times: int, every: int) -> None:
    table = FaultTable((Fault("500", after=after, times=times, every=every),), 0)
    hit = [n for n in range(40) if table.draw(WORK_PATHS[0], 0)]

    assert hit == [after + i * every for i in range(times)]


def test_a_fault_can_last_for_some_time_only() -> None:
    table = FaultTable((Fault("500", start=10, end=20),), 0)
    hit = [now for now in range(100, 130) if table.draw(WORK_PATHS[0], now)]

    assert hit == list(range(110, 120))


def test_the_same_seed_hits_the_same_requests_and_about_the_share_asked_for() -> None:
    def run(seed: int) -> list[bool]:
        table = FaultTable((Fault("500", p=0.25),), seed)
        return [table.draw(WORK_PATHS[0], 0) is not None for _ in range(1000)]

    assert run(1) == run(1) != run(2)
    assert 200 < sum(run(1)) < 300


def test_requests_to_other_paths_are_not_counted() -> None:
    table = FaultTable((Fault("500", after=1),), 0)
    drawn = [table.draw(path, 0) for path in ("/sdapi/v1/status", WORK_PATHS[0], WORK_PATHS[0])]

    assert [fault is not None for fault in drawn] == [False, False, True]


def test_faults_that_were_cleared_do_nothing() -> None:
    table = FaultTable((Fault("500"),), 0)
    table.clear()

    assert (table.draw(WORK_PATHS[0], 0), table.listing()) == (None, [])
