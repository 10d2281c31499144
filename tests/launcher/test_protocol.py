"""What a connection bears: headers and bodies that are too large, too slow, or never read. In virtual time."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.api.cors import Cors
from gateway.launcher.protocol import Limits, protocol_for
from gateway.settings import Settings
from tests.launcher.wire import GET, LIMITS, body_of, connected, headers_of, post, settled, status_of

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    "chunks",
    [
        [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1_000],
        [b"GET / HTTP/1.1\r\n", *[b"x-%d: 12345678\r\n" % number for number in range(100)]],
        [b"GET / HTTP/1.1\r\nx: ", *[b"y" * 100] * 11],
        [b"GET / HTTP/1.1\r\nx: " + b"y" * 2_000],
        [GET, b"GET / HTTP/1.1\r\nx: " + b"y" * 2_000],
        [b"GET /" + b"a" * 2_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nx: " + b"y" * 2_000 + b"\r\n\r\n"],
    ],
)
async def test_headers_above_the_limit_are_told_so_in_our_words_and_the_connection_ends(chunks):
    protocol, wire = connected()
    for chunk in chunks:
        protocol.data_received(chunk)
        await settled()
    wire.written = wire.written[wire.written.index(b"HTTP/1.1 431") :]
    told = json.loads(body_of(wire))
    assert (status_of(wire), told["error"], told["code"]) == (431, "HeadersTooLarge", 431)
    assert told["detail"] == told["message"] == told["errors"]
    headers = headers_of(wire)
    assert (headers["connection"], headers["content-type"]) == ("close", "application/json")
    assert (len(headers["x-request-id"]), headers["access-control-allow-origin"]) == (16, "*")
    assert wire.has_eof
    await asyncio.sleep(LIMITS.linger_s)
    assert wire.is_closed


async def test_an_error_of_the_connection_bears_the_callers_id_and_lets_a_named_page_read_it():
    protocol, wire = connected()
    protocol.cors = Cors(("https://app.example",))
    protocol.data_received(GET[:-2] + b"Origin: https://app.example\r\nX-Request-Id: mine\r\nx: " + b"y" * 2_000)
    await settled()
    protocol.data_received(b"y")
    headers = headers_of(wire)
    assert (status_of(wire), headers["x-request-id"]) == (431, "mine")
    assert headers["access-control-allow-origin"] == "https://app.example"


async def test_an_error_of_the_connection_never_bears_the_id_of_the_request_before():
    protocol, wire = connected()
    protocol.data_received(GET[:-2] + b"X-Request-Id: before\r\n\r\n")
    await settled()
    answered = wire.written
    protocol.data_received(b"nonsense")
    assert b"400 Bad Request" in wire.written
    assert b"x-request-id" in wire.written.removeprefix(answered)
    assert b"before" not in wire.written.removeprefix(answered)


async def test_headers_up_to_the_limit_are_served_again_and_again_on_one_connection():
    protocol, wire = connected()
    almost = b"GET /quick HTTP/1.1\r\nHost: h\r\nx: " + b"y" * 900 + b"\r\n\r\n"
    for _ in range(5):
        for cut in range(0, len(almost), 300):
            protocol.data_received(almost[cut : cut + 300])
        await settled()
    assert (wire.written.count(b"200 OK"), wire.is_closed, wire.has_eof) == (5, False, False)


async def test_a_long_body_is_not_taken_for_a_long_head():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"x" * 500, 50_000))
    for _ in range(99):
        protocol.data_received(b"x" * 500)
    await settled()
    assert (status_of(wire), body_of(wire)) == (200, b"50000")


async def test_headers_that_do_not_end_in_time_are_a_408():
    protocol, wire = connected()
    for byte in GET[:19]:  # a byte now and then does not help
        protocol.data_received(bytes([byte]))
        await asyncio.sleep(0.5)
    assert wire.written == b""
    await asyncio.sleep(0.6)
    assert (status_of(wire), json.loads(body_of(wire))["error"]) == (408, "CallTooSlow")
    assert wire.has_eof


async def test_a_connection_over_which_nothing_comes_is_closed_without_words():
    _, wire = connected()
    await asyncio.sleep(9.9)
    assert not wire.is_closed
    await asyncio.sleep(0.2)
    assert (wire.is_closed, wire.written) == (True, b"")


async def test_the_time_for_the_next_head_begins_with_its_first_byte():
    protocol, wire = connected()
    protocol.data_received(GET)
    await asyncio.sleep(60)
    protocol.data_received(GET[:10])
    await asyncio.sleep(9.9)
    assert not wire.has_eof
    await asyncio.sleep(0.2)
    assert (wire.written.count(b"200 OK"), wire.written.count(b"408 Request Timeout")) == (1, 1)


async def test_empty_lines_do_not_keep_a_connection():
    protocol, wire = connected()
    protocol.data_received(GET)
    for _ in range(12):
        await asyncio.sleep(1)
        protocol.data_received(b"\r\n")
    assert (wire.written.count(b"HTTP/1.1"), wire.is_closed) == (1, True)


async def test_a_body_that_stalls_is_a_408_and_the_connection_ends():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"x" * 10, 1_000))
    await asyncio.sleep(19.9)
    assert wire.written == b""
    await asyncio.sleep(0.3)
    assert (status_of(wire), json.loads(body_of(wire))["error"]) == (408, "CallTooSlow")
    assert (headers_of(wire)["connection"], wire.has_eof) == ("close", True)


async def test_a_body_that_is_always_too_slow_is_a_408_after_the_patience():
    protocol, wire = connected()
    began = asyncio.get_running_loop().time()
    protocol.data_received(post(b"/read", b"", 1_000_000))
    while not wire.written:
        protocol.data_received(b"x" * 500)  # half of what is asked for
        await asyncio.sleep(1)
    assert status_of(wire) == 408
    assert 39 <= asyncio.get_running_loop().time() - began <= 42


async def test_a_fast_beginning_does_not_buy_a_longer_stall():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"x" * 60_000, 1_000_000))
    await asyncio.sleep(20.1)
    assert status_of(wire) == 408


async def test_a_body_at_the_least_rate_may_take_as_long_as_it_takes():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"", 300_000))
    for _ in range(300):
        await asyncio.sleep(1)
        protocol.data_received(b"x" * 1_000)
    await settled()
    assert (status_of(wire), body_of(wire)) == (200, b"300000")


async def test_time_in_which_nobody_asked_for_the_body_is_not_the_callers():
    protocol, wire = connected()
    protocol.data_received(post(b"/busy", b"", 10))
    await asyncio.sleep(310)
    protocol.data_received(b"x" * 10)
    await settled()
    assert (status_of(wire), body_of(wire)) == (200, b"10")


async def test_a_caller_who_sent_everything_may_wait_for_the_answer_as_long_as_it_takes():
    protocol, wire = connected()
    protocol.data_received(post(b"/watch", b"body"))
    await asyncio.sleep(301)
    assert (status_of(wire), body_of(wire)) == (200, b"watched")


async def test_a_head_that_we_do_not_read_is_not_late():
    protocol, wire = connected()
    protocol.data_received(post(b"/busy") + GET + GET[:10])
    assert wire.is_paused
    await asyncio.sleep(299)
    assert not wire.is_closed
    await asyncio.sleep(2)
    protocol.data_received(GET[10:])
    await settled()
    assert wire.written.count(b"200 OK") == 3


async def test_what_is_thrown_away_is_read_on_also_when_there_was_too_much_of_it():
    protocol, wire = connected()
    protocol.data_received(post(b"/refuse", b"x" * 100_000, 200_000))
    assert wire.is_paused
    await settled()
    assert (status_of(wire), wire.is_paused, wire.is_closed) == (401, False, False)


async def test_no_continue_is_sent_before_a_refusal_and_the_connection_ends():
    protocol, wire = connected()
    protocol.data_received(post(b"/refuse", b"", 1_000_000, b"Expect: 100-continue"))
    await settled()
    assert (status_of(wire), headers_of(wire)["connection"]) == (401, "close")
    assert b"100 Continue" not in wire.written
    assert wire.has_eof


async def test_a_continue_is_sent_when_the_body_is_asked_for():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"", 4, b"Expect: 100-continue"))
    await settled()
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    protocol.data_received(b"body")
    await settled()
    assert wire.written.endswith(b"\r\n\r\n4")
    assert not wire.has_eof


async def test_after_an_early_answer_the_rest_of_the_body_is_thrown_away_and_nothing_more_is_answered():
    protocol, wire = connected()
    protocol.data_received(post(b"/refuse", b"x" * 100, 100_000))
    await settled()
    answered = wire.written
    for _ in range(4):
        protocol.data_received(b"x" * 30_000 + GET)
        await asyncio.sleep(1)
    assert (wire.written, wire.is_closed, wire.is_paused) == (answered, False, False)
    await asyncio.sleep(1)
    assert wire.is_closed


async def test_a_body_that_came_whole_and_was_not_read_keeps_the_connection():
    protocol, wire = connected()
    for _ in range(3):
        protocol.data_received(post(b"/refuse", b"x" * 100))
        await settled()
    assert (wire.written.count(b"401 Unauthorized"), wire.has_eof, wire.is_closed) == (3, False, False)


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n"]
)
async def test_what_is_no_http_is_a_400_in_our_words_and_is_not_logged(nonsense, caplog):
    protocol, wire = connected()
    protocol.data_received(nonsense)
    await settled()
    assert (status_of(wire), json.loads(body_of(wire))["error"]) == (400, "NotHttp")
    assert caplog.records == []


async def test_an_answer_of_which_nothing_is_taken_for_a_minute_is_given_up():
    protocol, wire = connected()
    wire.waiting_bytes = 2_000_000
    protocol.pause_writing()
    await asyncio.sleep(59.9)
    assert not wire.is_aborted
    await asyncio.sleep(0.2)
    assert wire.is_aborted


async def test_an_answer_that_is_taken_slowly_is_not_given_up():
    protocol, wire = connected()
    protocol.data_received(GET)
    wire.waiting_bytes = 2_000_000
    protocol.pause_writing()
    for _ in range(20):
        await asyncio.sleep(50)
        wire.waiting_bytes -= 1_000
    protocol.resume_writing()
    await asyncio.sleep(200)
    assert not wire.is_aborted


async def test_a_connection_that_is_lost_leaves_no_timer_behind():
    protocol, wire = connected()
    protocol.data_received(b"GET / HT")
    protocol.connection_lost(None)
    await asyncio.sleep(20)
    assert wire.written == b""


def test_the_settings_say_which_pages_may_read_an_error_of_the_connection():
    made = protocol_for(Settings(cors_origins=("https://app.example",)))
    assert (made.cors.origins, made.limits) == (("https://app.example",), Limits())
