import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.scheduling.waiting import Lane, WaitingRoom
from tests.domain.scheduling.builders import a_job


def a_lane(*jobs: tuple[float, float]) -> Lane:
    """(cost_s, arrived_at) of each job, named by its place."""
    lane = Lane("t", 900.0)
    for number, (cost_s, arrived_at) in enumerate(jobs):
        lane.add(a_job(str(number), arrived_at=arrived_at), cost_s)
    return lane


def test_of_equally_old_jobs_the_shortest_is_first():
    assert a_lane((9.0, 0.0), (3.0, 0.0), (5.0, 0.0)).first(10.0, 300.0)[1] == "1"


def test_a_long_job_goes_before_a_shorter_one_when_it_is_much_older():
    assert a_lane((4.0, 990.0), (6.0, 0.0)).first(1000.0, 300.0)[1] == "1"


@given(st.lists(st.tuples(st.floats(0.1, 200.0), st.floats(0.0, 1000.0)), min_size=1, max_size=40))
def test_the_early_stop_finds_the_same_rank_as_looking_at_every_job(jobs):
    rank, _ = a_lane(*jobs).first(1000.0, 300.0)
    assert rank == pytest.approx(min(cost_s / (300.0 + 1000.0 - arrived_at) for cost_s, arrived_at in jobs))


def test_of_a_thousand_equal_jobs_the_oldest_is_found_without_looking_at_all():
    """Seen failing with `>` in place of `>=`."""
    looked_at = []

    class Watched(list):
        def __iter__(self):
            for job in super().__iter__():
                looked_at.append(job)
                yield job

    lane = a_lane(*((5.0, float(number)) for number in range(1000)))
    lane.by_size = Watched(lane.by_size)
    assert lane.first(2000.0, 300.0)[1] == "0"
    assert len(looked_at) <= 2


@given(st.lists(st.tuples(st.floats(0.1, 200.0), st.floats(0.0, 1000.0)), min_size=1, max_size=20), st.data())
def test_the_sums_of_a_lane_are_those_of_the_jobs_in_it(jobs, data):
    lane = a_lane(*jobs)
    gone = data.draw(st.sets(st.sampled_from(range(len(jobs))), max_size=len(jobs) - 1))
    for number in gone:
        lane.remove(a_job(str(number), arrived_at=jobs[number][1]), jobs[number][0])
    left = [job for number, job in enumerate(jobs) if number not in gone]
    assert lane.cost_s == pytest.approx(sum(cost_s for cost_s, _ in left), abs=1e-6)
    assert lane.age_s(1000.0, 5.0) == pytest.approx(sum(1005.0 - arrived_at for _, arrived_at in left), abs=1e-6)
    assert lane.due_at == min(arrived_at for _, arrived_at in left) + 900.0


def test_costing_a_checkpoint_anew_changes_every_sum_and_no_order_and_touches_no_other_checkpoint():
    room = WaitingRoom()
    for number, (checkpoint, tenant, cost_s) in enumerate(
        [("A", "t", 4.0), ("A", "t", 2.0), ("A", "u", 6.0), ("B", "t", 5.0)]
    ):
        room.add(a_job(str(number), checkpoint, tenant), cost_s)
    room.cost_anew("A", 1.5)
    room.add(a_job("later", "A", "t"), 3.0)
    lanes = [lane for group in room.groups_for("A") for lane in group.lanes.values()]
    assert [room.cost_s(job) for job in ("0", "1", "2", "3", "later")] == [6.0, 3.0, 9.0, 5.0, 3.0]
    assert {lane.tenant: (lane.cost_s, lane.shortest_s) for lane in lanes} == {"t": (12.0, 3.0), "u": (9.0, 9.0)}
    assert {tenant: demand.cost_s for tenant, demand in room.tenants.items()} == {"t": 17.0, "u": 9.0}
    for job in ("0", "1", "2", "later"):
        room.pop(job)
    assert room.tenants["t"].cost_s == pytest.approx(5.0)
    room.add(a_job("anew", "A"), 7.0)
    assert room.cost_s("anew") == 7.0


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("tu"), st.floats(0.1, 99.0)), max_size=30), st.data())
def test_a_copy_of_the_room_is_equal_and_changes_on_its_own(jobs, data):
    room = WaitingRoom()
    for number, (checkpoint, tenant, cost_s) in enumerate(jobs):
        room.add(a_job(str(number), checkpoint, tenant), cost_s)
    room.cost_anew("A", 1.3)
    before, copy = contents(room), room.copy()
    assert contents(copy) == before
    for number in data.draw(st.sets(st.sampled_from(range(len(jobs))))) if jobs else ():
        copy.pop(str(number))
    copy.add(a_job("new", "B", "v"), 1.0)
    copy.cost_anew("A", 2.0)
    assert contents(room) == before


def contents(room):
    lanes = [
        (group.checkpoint, lane.tenant, list(lane.by_size), list(lane.by_age), lane.cost_s)
        for group in room.groups()
        for lane in group.lanes.values()
    ]
    demands = {tenant: (demand.jobs, demand.cost_s) for tenant, demand in room.tenants.items()}
    return lanes, demands, [t.job_id for t in room], room.mean_cost_s


def test_jobs_with_the_same_needs_share_a_group_and_others_do_not():
    room = WaitingRoom()
    room.add(a_job("1", "A"), 5.0)
    room.add(a_job("2", "A", tenant="u"), 5.0)
    room.add(a_job("3", "A", on="b2"), 5.0)
    room.add(a_job("4", "A", is_batch=True), 5.0)
    room.add(a_job("5", "B"), 5.0)
    assert [len(group.lanes) for group in room.groups()] == [2, 1, 1, 1]
    assert len(room.groups_for("A")) == 3
    assert {checkpoint for checkpoint, _ in room.checkpoints()} == {"A", "B"}


def test_when_the_last_job_is_gone_nothing_of_it_is_kept():
    room = WaitingRoom()
    room.add(a_job("1", "A"), 5.0)
    assert room.pop("1") == a_job("1", "A")
    assert (len(room), list(room.groups()), room.groups_for("A"), room.tenants) == (0, [], [], {})


def test_a_job_that_does_not_wait_cannot_be_let_go():
    assert WaitingRoom().pop("1") is None


def test_what_a_tenant_has_waiting_counts_no_batch_jobs():
    room = WaitingRoom()
    room.add(a_job("1", tenant_cap=3, tenant_weight=2.0), 5.0)
    room.add(a_job("2", is_batch=True), 7.0)
    demand = room.tenants["t"]
    assert (demand.jobs, demand.cost_s, demand.cap, demand.weight) == (1, 5.0, 3, 2.0)


def test_a_copy_of_the_room_changes_on_its_own():
    room = WaitingRoom()
    room.add(a_job("1"), 5.0)
    copy = room.copy()
    copy.pop("1")
    assert ("1" in room, "1" in copy, room.cost_s("1"), copy.mean_cost_s) == (True, False, 5.0, 5.0)
