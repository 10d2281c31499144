"""The outbox: records survive whoever reads them, and keep their order."""

from __future__ import annotations

import msgspec
import pytest

from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox, record_of
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.usage import Record
from gateway.ports import Unreadable
from tests.contracts.job_worlds import entry, leaving, queued


async def test_records_come_in_the_order_of_their_closing_and_stay_until_dropped(connection):
    jobs, outbox = RedisJobs(connection, "p"), RedisOutbox(connection)
    epoch = await jobs.epoch()
    asked = [entry(epoch) for _ in range(3)]
    for one in asked:
        await queued(jobs, one)
    order = [asked[2].job_id, asked[0].job_id, asked[1].job_id]
    for job_id in order:
        await jobs.leave(leaving(job_id))
    first_two = await outbox.read(2)
    assert [record.job_id for _, record in first_two] == order[:2]
    assert await RedisOutbox(connection).read(2) == first_two
    await outbox.drop([token for token, _ in first_two])
    await outbox.drop([token for token, _ in first_two])
    await outbox.drop([])
    assert [record.job_id for _, record in await outbox.read(10)] == order[2:]


def test_a_record_is_put_together_of_the_scripts_stamps_and_both_parts_of_the_process():
    static = {"tenant_id": "t", "key_id": "k", "operation": "extra-single-image", "images": 0, "why": "first"}
    fields = {
        b"job": b"j",
        b"outcome": b"finished",
        b"entered": b"1800000000000001",
        b"started": b"0",
        b"ended": b"1800000001500000",
        b"backend": "größer".encode(),
        b"static": msgspec.json.encode(static),
        b"final": b'{"images":2,"gpu_seconds":0.5}',
    }
    assert record_of(fields) == Record(
        job_id="j",
        tenant_id="t",
        key_id="k",
        operation=Operation.UPSCALE,
        outcome=Outcome.FINISHED,
        backend="größer",
        entered_at=1800000000.000001,
        ended_at=1800000001.5,
        images=2,
        gpu_seconds=0.5,
        why="first",
    )


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_survives_the_way_through_the_store(connection, outcome):
    jobs, outbox = RedisJobs(connection, "p"), RedisOutbox(connection)
    asked = entry(await jobs.epoch())
    await queued(jobs, asked)
    await jobs.leave(leaving(asked.job_id, outcome=outcome))
    assert [record.outcome for _, record in await outbox.read(10)] == [outcome]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"static", b"{"),
        (b"static", b"[]"),
        (b"static", b"{}"),
        (b"final", b'{"images": 1.5}'),
        (b"final", b'{"images": "two"}'),
        (b"final", b'{"gpu_seconds": null}'),
        (b"outcome", b"vanished"),
        (b"entered", b"yesterday"),
        (b"entered", b"1" + b"0" * 5000),
        (b"backend", b"\xff"),
        (b"job", b"\xff"),
        (b"job", None),
    ],
)
async def test_an_entry_that_cannot_be_understood_holds_up_no_other_and_comes_back_as_it_was(connection, name, value):
    good = {
        b"job": b"j",
        b"outcome": b"finished",
        b"entered": b"1",
        b"started": b"0",
        b"ended": b"2",
        b"backend": b"",
        b"static": b'{"tenant_id": "t", "key_id": "k", "operation": "txt2img", "of_a_newer_gateway": 1}',
        b"final": b'{"images": 1, "gpu_seconds": 2}',
    }
    bad = {key: kept for key, kept in (good | {name: value}).items() if kept is not None}
    for fields in (bad, good):
        await connection.command(
            "XADD", connection.key("outbox"), "*", *(word for pair in fields.items() for word in pair)
        )
    outbox = RedisOutbox(connection)
    (token, unreadable), (_, record) = await outbox.read(10)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.why
    assert (record.job_id, record.images) == ("j", 1)
    await outbox.set_aside(token, unreadable.why)
    assert [kept for _, kept in await outbox.read(10)] == [record]
    await outbox.ask_again([token])
    assert [kept for _, kept in await outbox.read(10)] == [record, unreadable]
