"""What a silent, slow, broken or refusing server does to the gateway, and what a cancelled call leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from gateway.adapters.redis.connection import BREAKER_S, MAX_CONNECTIONS, Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.own import RedisOwn
from gateway.adapters.redis.patience import MOST_A_TICK_COUNTS_S
from gateway.adapters.redis.pool import RedisPool
from gateway.domain.errors import StoreUnavailable
from gateway.ports import Admitted, RateState
from tests.contracts.job_worlds import entry, leaving, queued, rate
from tests.support.patience import PATIENCE_S
from tests.support.processes import wait_until_async

LIMITS = (rate(0.6, 5),)  # a token comes back after 100 s


@pytest.fixture
async def slow(proxy):
    """A process behind the proxy that gives up on an answer after 10 s, twice, and its connection."""
    connection = Connection(proxy.url, "test", timeout_s=20.0)
    yield connection
    await connection.close()


def admissions(valkey) -> tuple[int, int]:
    """How many jobs are outstanding, and how many tokens of the rate were taken."""
    taken = int(valkey.client.get("{test}:rate:t:t") or 0)
    whole, micro = valkey.client.time()
    return valkey.client.scard("{test}:out:t"), -(-(taken - whole * 1_000_000 - micro) // 100_000_000)


async def time_passes(until) -> None:
    """As much as it takes on a clock that is set by hand: whoever waits for an answer meanwhile gives up."""
    while not until():
        asyncio.get_running_loop().put_forward(MOST_A_TICK_COUNTS_S)
        await asyncio.sleep(0)


async def sent(proxy, requests: int) -> None:
    """Wait until the proxy has got so many. Time must not pass before: connecting anew takes what it takes."""
    await wait_until_async(lambda: asyncio.sleep(0, proxy.requests >= requests), f"{requests} scripts were sent")


async def gives_up(call, slow, proxy) -> None:
    """The call is sent twice, is answered neither time, and fails."""
    before, breaks, task = proxy.requests, slow.breaks, asyncio.ensure_future(call)
    await sent(proxy, before + 1)
    await time_passes(lambda: slow.breaks > breaks)
    await sent(proxy, before + 2)
    await time_passes(task.done)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await task
    assert proxy.requests == before + 2


@pytest.mark.hand_set_time
async def test_an_enter_whose_answer_came_too_late_is_sent_again_and_admits_once(valkey, proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    await queued(jobs, entry(epoch, tenant_id="u"))  # the server knows the script, so that the next answer is its own
    before = proxy.requests
    proxy.hold_next_answer = True
    entering = asyncio.ensure_future(jobs.enter(entry(epoch, rates=LIMITS)))
    await wait_until_async(lambda: asyncio.sleep(0, not proxy.hold_next_answer), "the answer is held back")
    await time_passes(lambda: slow.breaks)
    answer = await entering
    assert isinstance(answer, Admitted)
    assert answer.rate == RateState(4, 100.0)
    assert proxy.requests == before + 2
    assert admissions(valkey) == (1, 1)


async def test_an_enter_whose_connection_was_cut_after_the_script_ran_admits_once(valkey, proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    await queued(jobs, entry(epoch, tenant_id="u"))  # the server knows the script, so that the next answer is its own
    proxy.cut_next_answer = True
    answer = await jobs.enter(entry(epoch, rates=LIMITS))
    assert isinstance(answer, Admitted)
    assert not proxy.cut_next_answer
    assert admissions(valkey) == (1, 1)


async def test_a_poll_whose_answer_was_lost_loses_no_ticket(proxy, slow):
    jobs, pool = RedisJobs(slow, "p"), RedisPool(slow, "p")
    epoch = await jobs.epoch()
    await pool.poll(from_scratch=True)
    asked = entry(epoch)
    await queued(jobs, asked)
    proxy.cut_next_answer = True
    changes = await pool.poll(from_scratch=False)
    assert not proxy.cut_next_answer
    assert [job.job_id for job in changes.arrived] == [asked.job_id]


@pytest.mark.hand_set_time
async def test_a_silent_server_is_asked_twice_and_then_left_alone_but_for_one_probe(proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    await queued(jobs, entry(epoch))
    proxy.answers.clear()
    await gives_up(jobs.enter(entry(epoch)), slow, proxy)
    before, loop = proxy.requests, asyncio.get_running_loop()
    loop.stop_clock()
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await jobs.enter(entry(epoch))
        with pytest.raises(StoreUnavailable):
            await jobs.next_message(10)
    assert proxy.requests == before
    loop.put_forward(BREAKER_S)
    loop.let_run()
    calls = [*(jobs.enter(entry(epoch)) for _ in range(20)), *(jobs.beat(0) for _ in range(20))]
    answers = asyncio.gather(*calls, return_exceptions=True)
    await sent(proxy, before + 1)
    await time_passes(answers.done)
    assert {type(answer) for answer in await answers} == {StoreUnavailable}
    assert proxy.requests == before + 1


@pytest.mark.hand_set_time
async def test_no_call_of_a_client_is_ever_the_probe_that_waits(proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    proxy.answers.clear()
    await gives_up(jobs.beat(0), slow, proxy)
    before = proxy.requests
    asyncio.get_running_loop().put_forward(BREAKER_S)
    options = RedisOwn(slow, "p").options("k")  # a plain command, which this proxy would let pass
    for call in (options, jobs.enter(entry(epoch)), jobs.leave(leaving("j")), jobs.requeue("op", "j", (), b"{}", None)):
        with pytest.raises(StoreUnavailable):
            await call
    assert proxy.requests == before


@pytest.mark.hand_set_time
async def test_calls_that_wait_when_the_store_falls_silent_are_all_refused_together(proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    proxy.answers.clear()
    before = proxy.requests
    calls = (jobs.enter(entry(epoch, tenant_id=f"t{number}")) for number in range(500))
    answers = asyncio.gather(*calls, return_exceptions=True)
    await sent(proxy, before + MAX_CONNECTIONS)
    await time_passes(lambda: slow.breaks == MAX_CONNECTIONS)
    await sent(proxy, before + 2 * MAX_CONNECTIONS)
    await time_passes(answers.done)
    assert {type(answer) for answer in await answers} == {StoreUnavailable}
    # The others met the open breaker: one after the other they would have been sent, and would have waited, too.
    assert proxy.requests == before + 2 * MAX_CONNECTIONS


@pytest.mark.hand_set_time
async def test_a_loop_that_is_busy_for_longer_than_the_time_out_does_not_blame_the_store(valkey, connection):
    hasty = Connection(valkey.url, "test", timeout_s=20.0)
    jobs = RedisJobs(hasty, "p")
    epoch = await jobs.epoch()

    async def hog() -> None:
        for _ in range(4):
            asyncio.get_running_loop().put_forward(30)  # one call of something else took that long
            await asyncio.sleep(0)

    calls = (jobs.enter(entry(epoch, tenant_id=f"t{number}")) for number in range(100))
    answers = await asyncio.gather(*calls, hog())
    assert {type(answer) for answer in answers[:-1]} == {Admitted}
    assert hasty.breaks == 0
    await hasty.close()


@pytest.mark.hand_set_time
async def test_the_first_answer_ends_the_outage(proxy, slow):
    jobs = RedisJobs(slow, "p")
    epoch = await jobs.epoch()
    proxy.answers.clear()
    await gives_up(jobs.beat(0), slow, proxy)
    proxy.answers.set()
    asyncio.get_running_loop().put_forward(BREAKER_S)

    async def is_back() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return (await jobs.beat(0)).epoch == epoch
        return False

    await wait_until_async(is_back, "the store is used again")
    answers = await asyncio.gather(*(jobs.epoch() for _ in range(50)))
    assert set(answers) == {epoch}


async def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port):
    connection = Connection(f"redis://127.0.0.1:{unused_tcp_port}", "test")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await RedisJobs(connection, "p").beat(0)
    with pytest.raises(StoreUnavailable):
        await RedisJobs(connection, "p").next_message(0.01)
    await connection.close()


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (b"-LOADING Valkey is loading the dataset in memory\r\n", "still loads its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", "takes no writes"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "out of memory"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "does not answer"),
        (b"-NOPERM this user has no permissions\r\n", "refuses the gateway"),
        (b"-NOAUTH Authentication required.\r\n", "refuses the gateway"),
        (b"-ERR something else\r\n", "refused a command"),
        (b"-MOVED 1 127.0.0.1:1\r\n", "refused a command"),
        (b"-MISCONF Errors writing to the AOF file: No space left on device\r\n", "disk .* is full"),
        (b"-MISCONF Valkey is configured to save RDB snapshots, but cannot\r\n", "cannot write to its disk"),
    ],
)
async def test_a_server_that_cannot_work_is_unavailable_with_the_reason_and_no_address(proxy, slow, says, sentence):
    proxy.says = says
    before = proxy.requests
    with pytest.raises(StoreUnavailable, match=sentence) as caught:
        await RedisJobs(slow, "p").beat(0)
    assert "127.0.0.1" not in str(caught.value)
    assert proxy.requests == before + 1


async def test_a_real_server_out_of_memory_is_told_apart(valkey, connection):
    jobs = RedisJobs(connection, "p")
    epoch = await jobs.epoch()
    valkey.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await jobs.enter(entry(epoch))
    finally:
        valkey.client.config_set("maxmemory", 0)


async def test_a_real_server_that_became_a_replica_is_told_apart(valkey, connection, unused_tcp_port):
    jobs = RedisJobs(connection, "p")
    epoch = await jobs.epoch()
    valkey.client.replicaof("127.0.0.1", unused_tcp_port)
    try:
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            await jobs.enter(entry(epoch))
    finally:
        valkey.client.replicaof("NO", "ONE")


async def test_a_cancelled_call_leaves_no_connection_with_an_answer_that_belongs_to_nobody(connection):
    await connection.command("SET", "{test}:rate:canary", "0", "PX", 60000)

    async def echo(number: int) -> None:
        assert await connection.command("ECHO", number) == str(number).encode()

    for patience in range(40):
        tasks = [asyncio.ensure_future(echo(number)) for number in range(60)]
        for _ in range(patience):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        if patience % 2:  # some are cancelled again while they still clean up
            await asyncio.sleep(0)
            for task in tasks[::4]:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [one for one in outcomes if not (one is None or isinstance(one, asyncio.CancelledError))]
        assert wrong == []
    assert not connection._pool._in_use_connections
    assert not connection._free_connections.locked()


async def test_a_call_cancelled_while_its_connection_is_cut_ends_as_cancelled(valkey, connection):
    """Not as a failure of the store, nor as if it had not been: a caller that left would be served to its end."""
    jobs, dice, ended = RedisJobs(connection, "p"), random.Random(7), []  # noqa: S311 - moments, not secrets
    epoch = await jobs.epoch()

    async def cancelled(call: asyncio.Task, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        if call.cancel():
            ended.append(call)

    for _ in range(60):
        connection._breaker.succeeded()
        calls = [asyncio.ensure_future(jobs.enter(entry(epoch, tenant_id=f"t{n}"))) for n in range(20)]
        async with asyncio.TaskGroup() as group:
            for call in calls[::2]:
                group.create_task(cancelled(call, dice.randrange(60)))
            for _ in range(dice.randrange(1, 30)):
                await asyncio.sleep(0)
            valkey.client.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        await asyncio.gather(*calls, return_exceptions=True)
    assert min(connection.breaks, len(ended)) > 50
    assert [call for call in ended if not call.cancelled()] == []


async def test_two_thousand_calls_at_once_share_the_connections_and_all_are_answered(valkey, connection):
    jobs = RedisJobs(connection, "p")
    epoch = await jobs.epoch()
    before = valkey.client.info("clients")["connected_clients"]
    entries = [entry(epoch, tenant_id=f"t{number}") for number in range(2000)]
    answers = await asyncio.gather(*(jobs.enter(one) for one in entries))
    assert {type(answer) for answer in answers} == {Admitted}
    assert valkey.client.info("clients")["connected_clients"] <= before + MAX_CONNECTIONS


async def test_over_tcp_no_notification_may_stretch_time_outs_or_hide_an_unread_answer(valkey, proxy, slow):
    valkey.client.config_resetstat()
    await RedisJobs(slow, "p").beat(0)
    assert "cmdstat_client|maint_notifications" not in valkey.client.info("commandstats")
    assert not slow._pool.maint_notifications_enabled()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_answers_have_the_same_shape_in_both_versions_of_the_protocol(valkey, protocol):
    connection = Connection(f"{valkey.url}?protocol={protocol}", "test", timeout_s=PATIENCE_S)
    jobs, pool = RedisJobs(connection, "p"), RedisPool(connection, "p")
    asked = entry(await jobs.epoch())
    await queued(jobs, asked)
    assert [job.job_id for job in (await pool.poll(from_scratch=True)).arrived] == [asked.job_id]
    assert await pool.inventories() == {}
    assert await jobs.look([asked.job_id]) == {}
    assert await jobs.next_message(0.01) is None
    await connection.close()
