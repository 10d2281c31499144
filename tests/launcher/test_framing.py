"""Where one request ends and the next begins: upgrades, lengths, chunks, pipelining, targets and Host. In virtual time.

Whatever is sent, only what was sent as a request of its own is run; everything else gets our error body and a close.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.launcher.wire import GET, answers_of, connected, headers_of, post, settled

pytestmark = pytest.mark.virtual_time

WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
OFFERS = [
    WEBSOCKET,
    H2C,
    b"connection: keep-alive, UPGRADE\r\nUPGRADE: TLS/1.0, HTTP/2.0\r\n",
    b"Connection: upgrade\r\nUpgrade: \r\n",
    b"Upgrade: x\r\nConnection: x\r\nConnection: upgrade\r\nUpgrade: y\r\n",
]
HIDDEN = b"POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"  # a body that looks like a request
FRAMED = {
    "Content-Length": b"Content-Length: %d\r\n\r\n%s" % (len(HIDDEN), HIDDEN),
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    "chunked with a trailer": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nUpgrade: x\r\n\r\n"
    % (len(HIDDEN), HIDDEN),
}
BEHIND = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"


def echoed(offer, framing):
    return b"POST /echo HTTP/1.1\r\nHost: h\r\n" + offer + FRAMED[framing]


def error_of(answer):
    status, body = answer
    told = json.loads(body)
    assert told["detail"] == told["message"] == told["errors"]
    return status, told["error"]


# --- upgrades that are not taken ------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("offer", OFFERS)
async def test_the_body_of_a_call_that_offers_an_upgrade_is_read_and_never_run_as_a_request(offer, framing):
    sent = echoed(offer, framing) + BEHIND
    head_bytes = sent.index(b"\r\n\r\n") + 4
    for cuts in ([], [head_bytes], [head_bytes - 2], [head_bytes + 10], list(range(1, len(sent)))):
        protocol, wire = connected()
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            protocol.data_received(sent[start:end])
            if len(cuts) < 3:
                await settled()
        await settled()
        assert answers_of(wire) == [(200, b"POST " + HIDDEN), (200, b"quick")]
        assert wire.calls == ["POST /echo", "GET /quick"]
        assert not wire.is_closed


async def test_a_call_that_offers_an_upgrade_is_served_wherever_its_bytes_are_split():
    sent = echoed(H2C, "chunked") + BEHIND
    for cut in range(1, len(sent)):
        protocol, wire = connected()
        protocol.data_received(sent[:cut])
        protocol.data_received(sent[cut:])
        await settled()
        assert answers_of(wire) == [(200, b"POST " + HIDDEN), (200, b"quick")], cut


async def test_pipelined_offers_of_an_upgrade_are_calls_one_after_the_other(caplog):
    protocol, wire = connected()
    protocol.data_received(echoed(H2C, "Content-Length") * 2 + GET[:-2] + WEBSOCKET + b"\r\n" + BEHIND)
    for _ in range(4):
        await settled()
    assert answers_of(wire) == [(200, b"POST " + HIDDEN)] * 2 + [(200, b"quick")] * 2
    assert caplog.records == []


async def test_an_offer_of_an_upgrade_that_also_closes_is_answered_and_closed():
    protocol, wire = connected()
    protocol.data_received(post(b"/echo", b"body", 4, b"Connection: close, upgrade", b"Upgrade: h2c") + BEHIND)
    await settled()
    assert (answers_of(wire), wire.is_closed, wire.calls) == ([(200, b"POST body")], True, ["POST /echo"])


async def test_an_offer_of_an_upgrade_may_expect_a_continue():
    protocol, wire = connected()
    protocol.data_received(post(b"/echo", b"", 4, b"Expect: 100-continue", b"Connection: upgrade", b"Upgrade: h2c"))
    await settled()
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    protocol.data_received(b"body")
    await settled()
    assert answers_of(wire) == [(100, b""), (200, b"POST body")]


async def test_a_body_behind_an_offer_of_an_upgrade_has_the_same_limits():
    protocol, wire = connected()
    protocol.data_received(post(b"/read", b"x", 1_000, b"Connection: upgrade", b"Upgrade: h2c"))
    await asyncio.sleep(20.1)
    assert (error_of(answers_of(wire)[0]), wire.has_eof) == ((408, "CallTooSlow"), True)
    protocol, wire = connected()
    protocol.data_received(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\nx: " + b"y" * 2_000 + b"\r\n\r\n")
    await settled()
    assert error_of(answers_of(wire)[0]) == (431, "HeadersTooLarge")


# --- what is no request ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00",
        b"PRI * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n" + GET,
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + GET,
        b"GET /quick HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET /quick HTTP/1.2\r\nHost: h\r\n\r\n",
        b"GET /quick\r\n\r\n",
        b"GET /quick HTTP/1.1\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET /quick HTTP/1.0\r\nHost: h\r\nhost: g\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h g\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: u@h\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h/quick\r\n\r\n",
        b"GET quick HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /quick#x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http:///quick HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://u:p@h/quick HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET ftp://h/quick HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /quick\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /quick\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /quick HTTP/1.1\nHost: h\n\n",
        b"GET /quick HTTP/1.1\r\nHost: h\r\n x: folded\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h\r\nx : y\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h\r\nx: a\rb\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: h\r\nx: a\x00b\r\n\r\n",
    ],
)
async def test_what_is_no_request_of_this_server_is_a_400_and_nothing_is_run(sent, caplog):
    protocol, wire = connected()
    protocol.data_received(sent)
    await settled()
    protocol.data_received(BEHIND)
    await settled()
    assert ([error_of(one) for one in answers_of(wire)], wire.calls) == ([(400, "NotHttp")], [])
    assert (headers_of(wire)["connection"], wire.has_eof) == ("close", True)
    assert caplog.records == []


@pytest.mark.parametrize("line", [b"", b"Host: h\r\nHost: h\r\n", b"Host: h\r\nx: " + b"y" * 2_000 + b"\r\n"])
async def test_a_refused_head_request_is_answered_without_a_body(line):
    protocol, wire = connected()
    protocol.data_received(b"HEAD /quick HTTP/1.1\r\n" + line + b"\r\n")
    await settled()
    head, end, body = wire.written.partition(b"\r\n\r\n")
    assert (head[:10], int(headers_of(wire)["content-length"]) > 0, end, body) == (
        b"HTTP/1.1 4",
        True,
        b"\r\n\r\n",
        b"",
    )


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: +4",
        b"Content-Length: -4",
        b"Content-Length: 4,4",
        b"Content-Length: 0x4",
        b"Content-Length: 4_0",
        b"Content-Length: ",
        b"Content-Length : 4",
        b"Content-Length:\r\n 4",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked;q=1",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"x: y\r\n\tTransfer-Encoding: chunked",
    ],
)
@pytest.mark.parametrize("offer", [b"", H2C])
async def test_a_body_whose_end_can_be_read_in_two_ways_is_a_400_and_nothing_is_run(framing, offer):
    protocol, wire = connected()
    protocol.data_received(
        b"POST /echo HTTP/1.1\r\nHost: h\r\n" + offer + framing + b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n" + GET
    )
    await settled()
    assert ([error_of(one) for one in answers_of(wire)], wire.calls) == ([(400, "NotHttp")], [])
    assert wire.has_eof


async def test_chunked_is_unknown_to_http_1_0():
    protocol, wire = connected()
    protocol.data_received(b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    await settled()
    assert ([error_of(one) for one in answers_of(wire)], wire.calls) == ([(400, "NotHttp")], [])


async def test_an_http_1_0_check_without_host_is_served_and_never_told_to_continue():
    protocol, wire = connected()
    protocol.data_received(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbo")
    await settled()
    assert wire.written == b""
    protocol.data_received(b"dy")
    await settled()
    assert (answers_of(wire), wire.is_closed) == ([(200, b"POST body")], True)


@pytest.mark.parametrize(
    "target",
    [b"http://h/quick", b"HTTP://h:80/quick?x=http://u@h", b"https://h_1.example/quick", b"http://[::1]:80/quick"],
)
async def test_the_address_of_a_proxys_request_is_its_path(target):
    protocol, wire = connected()
    protocol.data_received(b"GET %s HTTP/1.1\r\nHost: elsewhere\r\n\r\n" % target)
    await settled()
    assert (answers_of(wire), wire.calls) == ([(200, b"quick")], ["GET /quick"])


@pytest.mark.parametrize("target", [b"http://h", b"http://h?x=/quick"])
async def test_an_address_without_a_path_is_the_front_page(target):
    protocol, wire = connected()
    protocol.data_received(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target)
    await settled()
    assert wire.calls == ["GET /"]


# --- bodies that break off ------------------------------------------------------------------------


BROKEN_CHUNKS = [
    b"g\r\nbody",
    b"-4\r\nbody",
    b"0x4\r\nbody",
    b" 4\r\nbody",
    b"4 \r\nbody",
    b"4\nbody\n0\n\n",
    b"4\rbody",
    b"4\r\nbodyX",
    b"4\r\nbody0\r\n\r\n",
    b"4;\r\nbody",
    b'4;a="\r\n"\r\nbody',
    b"FFFFFFFFFFFFFFFFF\r\nbody",
    b"4\r\nbody\r\n0\r\n bad\r\n\r\n",
    b"4\r\nbody\r\n0\r\nContent-Length: 4\r\n\r\n",
    b"4\r\nbody\r\n0\r\nx: " + b"y" * 100 + b"\x00\r\n\r\n",
    b"4\r\nbody\r\n0\r\n\rX",
]


@pytest.mark.parametrize("offer", [b"", H2C])
@pytest.mark.parametrize("chunks", BROKEN_CHUNKS)
async def test_a_body_with_broken_chunks_gets_our_error_and_a_close(chunks, offer, caplog):
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\n" + offer + b"Transfer-Encoding: chunked\r\n\r\n"
    for cuts in ([], [len(head)], [len(head), len(head) + 2], [len(head) + len(chunks) - 1]):
        protocol, wire = connected()
        sent = head + chunks + GET
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            protocol.data_received(sent[start:end])
            await settled()
        assert ([error_of(one) for one in answers_of(wire)], wire.calls) == ([(400, "NotHttp")], ["POST /echo"])
        assert (headers_of(wire)["connection"], wire.has_eof) == ("close", True)
    assert caplog.records == []


async def test_a_call_that_is_refused_before_its_broken_body_keeps_its_own_answer():
    protocol, wire = connected()
    protocol.data_received(b"POST /refuse HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n" + GET)
    await settled()
    assert [error_of(one) for one in answers_of(wire)] == [(401, "Unauthenticated")]
    assert (wire.has_eof, wire.calls) == (True, ["POST /refuse"])


async def test_fields_behind_a_body_are_not_taken_for_headers_of_the_call():
    protocol, wire = connected()
    protocol.data_received(b"POST /seen HTTP/1.1\r\nHost: h\r\nx-1: y\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n")
    await settled()
    protocol.data_received(b"body\r\n0\r\nx-2: y\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n" + BEHIND)
    await settled()
    assert answers_of(wire) == [(200, b"x-1"), (200, b"quick")]


async def test_more_fields_behind_a_body_than_headers_may_be_are_a_431():
    protocol, wire = connected()
    fields = b"x: 12345678\r\n" * 200
    protocol.data_received(
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + fields + b"\r\n" + GET
    )
    await settled()
    assert ([error_of(one) for one in answers_of(wire)], wire.calls) == ([(431, "HeadersTooLarge")], ["POST /echo"])


# --- pipelining -----------------------------------------------------------------------------------


async def test_nonsense_behind_calls_is_told_after_they_were_answered():
    protocol, wire = connected()
    protocol.data_received(post(b"/busy") + GET + b"\x00\x00\x00\r\n\r\n" + GET)
    await settled()
    assert (wire.written, wire.is_closed, wire.is_paused) == (b"", False, False)
    protocol.data_received(GET)
    await asyncio.sleep(301)
    first, second, third = answers_of(wire)
    assert (first, second, error_of(third)) == ((200, b"0"), (200, b"quick"), (400, "NotHttp"))
    assert (wire.calls, wire.has_eof) == (["POST /busy", "GET /quick"], True)


async def test_a_broken_body_of_a_pipelined_call_is_told_in_its_turn():
    protocol, wire = connected()
    protocol.data_received(GET + b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n")
    await settled()
    await settled()
    first, second = answers_of(wire)
    assert (first, error_of(second), wire.has_eof) == ((200, b"quick"), (400, "NotHttp"), True)


async def test_nothing_behind_a_request_that_closes_is_run():
    protocol, wire = connected()
    protocol.data_received(GET[:-2] + b"Connection: close\r\n\r\n" + GET)
    await settled()
    assert (answers_of(wire), wire.calls, wire.is_closed) == ([(200, b"quick")], ["GET /quick"], True)


async def test_only_so_many_requests_are_read_ahead_of_their_answers():
    protocol, wire = connected()
    protocol.data_received(post(b"/watch", b"body") + GET * 5_000)
    assert len(protocol.pipeline) < 20
    protocol.data_received(GET)
    await asyncio.sleep(301)
    *served, refused = answers_of(wire)
    assert (served[0], set(served[1:]), len(served)) == ((200, b"watched"), {(200, b"quick")}, len(wire.calls))
    assert (error_of(refused), len(wire.calls) < 20, wire.has_eof) == ((400, "NotHttp"), True, True)


async def test_a_caller_who_leaves_ends_the_call_that_runs_also_with_others_behind_it():
    protocol, wire = connected()
    protocol.data_received(post(b"/watch", b"body") + GET)
    await settled()
    wire.is_closed = True
    protocol.connection_lost(None)
    await settled()
    assert (protocol.tasks, wire.written, wire.calls) == (set(), b"", ["POST /watch"])


async def test_an_answer_to_a_caller_who_is_about_to_be_gone_is_dropped_without_a_word(caplog):
    protocol, wire = connected()
    protocol.data_received(post(b"/busy"))
    await settled()
    wire.is_closed = True  # as uvloop has it between the end of a connection and `connection_lost`
    await asyncio.sleep(301)
    assert (wire.written, protocol.tasks, caplog.records) == (b"", set(), [])
