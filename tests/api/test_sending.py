"""Answers in pieces: as fast as their caller takes them, and counted until then."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.responses import Response

from gateway.api.sending import PIECE_BYTES, Holding, PartsResponse
from gateway.domain.replies import AnswerBody, json_list
from gateway.flow.byte_budget import ByteBudget

LARGE = b'"' + b"A" * (3 * PIECE_BYTES) + b'"'


class Caller:
    """Takes one piece of an answer for each `take`."""

    def __init__(self) -> None:
        self.taken = asyncio.Semaphore(0)
        self.messages: list[dict] = []

    async def send(self, message):
        self.messages.append(message)
        await self.taken.acquire()

    @property
    def body(self):
        return b"".join(bytes(message.get("body", b"")) for message in self.messages)


async def answered(response, budget, caller):
    """The response sent to that caller, by a task."""
    app = Starlette()
    app.state.byte_budget = budget

    async def answer(scope, receive, send):
        await response(scope, receive, send)

    scope = {"type": "http", "app": app, "state": {}, "method": "POST"}
    return asyncio.ensure_future(Holding(answer)(scope, None, caller.send))


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_answer_is_counted_until_its_last_piece_is_taken_whatever_made_it():
    for response in (Response(LARGE), PartsResponse(AnswerBody((("image", (LARGE,)),)), {})):
        budget, caller = ByteBudget(), Caller()
        sending = await answered(response, budget, caller)
        for _ in range(3):
            caller.taken.release()
            await turns()
        assert budget.used >= len(LARGE)
        assert max(len(message.get("body", b"")) for message in caller.messages) <= PIECE_BYTES
        for _ in range(9):
            caller.taken.release()
        await sending
        assert budget.used == 0
        assert LARGE in caller.body
        assert [message.get("more_body", False) for message in caller.messages[1:]][-1] is False


async def test_a_caller_who_leaves_in_the_middle_of_an_answer_holds_nothing():
    budget, caller = ByteBudget(), Caller()
    sending = await answered(Response(LARGE), budget, caller)
    caller.taken.release()
    await turns()
    sending.cancel()
    await asyncio.wait([sending])
    assert budget.used == 0


async def test_a_small_answer_of_many_parts_is_one_piece_with_its_length():
    budget, caller = ByteBudget(), Caller()
    body = AnswerBody((("images", json_list((b'"AAAA"', b'"BBBB"'))), ("info", (b'"{}"',))))
    sending = await answered(PartsResponse(body, {"X-Job-Id": "j"}), budget, caller)
    for _ in range(9):
        caller.taken.release()
    await sending
    head = dict(caller.messages[0]["headers"])
    assert (head[b"content-length"], head[b"x-job-id"], len(caller.messages)) == (str(body.size).encode(), b"j", 2)
    assert caller.body == b'{"images":["AAAA","BBBB"],"info":"{}"}'
