"""Raw HTTP in every form that readers have disagreed about, directly and behind real proxies: whatever is sent, only
what was sent as a call of its own is run, and every answer reaches who asked.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.pools import shared_pool
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.proxies import WAYS, every_way, port_of
from tests.support.raw_http import CALLER, Wire, invalid_forms, slow_forms, unfinished_forms, valid_forms

VICTIM = "sk-victim-0123456789abcdefghij"
UNLIMITED = {"requests_per_minute": 100_000_000, "burst": 100_000_000}
FEW = 25  # forms each way, where not all are asked for


@pytest.fixture(scope="module")
def served(tmp_path_factory, valkey_process):
    with shared_pool(tmp_path_factory.mktemp("framing"), valkey_process) as pool:
        pool.add_sim("one", "red", time_scale="0")
        unlimited = dict.fromkeys(("key_calls_per_minute", "address_calls_per_minute"), "1000000000")
        pool.start(metrics_port=str(free_port()), **unlimited)
        pool.add_key(VICTIM, "victim", UNLIMITED)
        pool.add_key(CALLER, "caller", UNLIMITED)
        yield pool


@pytest.fixture(scope="module")
def ports(served, tmp_path_factory):
    with every_way(tmp_path_factory.mktemp("ways"), served.gateway.port) as ports:
        yield ports


class Trial:
    """Sends forms one way, each followed by a call of another tenant, and counts what the gateway ran and read."""

    def __init__(self, pool, port, victim, *, is_proxied):
        self._pool, self._port, self._is_proxied = pool, port, is_proxied
        self._victim, self._turn = victim, itertools.count()
        calls, self._body_bytes = pool.counted()
        self._least = self._most = calls

    def send(self, form):
        with Wire(self._port) as wire:
            wire.send(*form.pieces)
            if not form.breaks_off:
                self._read(form, wire)
        self._ask_as_victim()
        exactly = len(form.ids) if form.is_valid else form.starts
        may_differ = self._is_proxied and not form.is_valid
        self._least += 1 + (0 if may_differ else exactly)
        self._most += 1 + (2 if may_differ else exactly)
        calls, body_bytes = wait_until(self._counted, f"{form.name}: its calls are counted")
        assert calls <= self._most, f"{form.name}: run though it was not sent as a call"
        if form.is_valid:
            assert body_bytes - self._body_bytes == form.body_bytes, f"{form.name}: the bodies were not read"
        self._body_bytes = body_bytes

    def _counted(self):
        calls, body_bytes = self._pool.counted()
        return (calls, body_bytes) if calls >= self._least else None

    def _read(self, form, wire):
        for one in form.ids if form.is_valid else ():
            answer = wire.answer()
            assert answer is not None, form.name
            assert answer.headers.get("x-request-id") == one, (form.name, answer)
            assert answer.status in {200, 422}, (form.name, answer)
        if form.closes:
            assert wire.answer() is None, form.name
            return
        if form.is_valid:
            # Nothing is left over on either side: the next request is the next.
            wire.send(b"GET /livez HTTP/1.1\r\nHost: h\r\nX-Request-Id: next\r\n\r\n")
            assert wire.answer().headers["x-request-id"] == "next", form.name
            return
        answers = list(iter(wire.answer, None))
        if self._is_proxied:
            return
        (answer,) = answers
        told = json.loads(answer.body)
        assert (answer.status, told["code"], told["error"]) == (400, 400, "NotHttp"), form.name
        assert answer.headers["connection"] == "close", form.name

    def _ask_as_victim(self):
        """On a connection of its own, which a proxy passes on over whichever it last used."""
        one = f"victim-{next(self._turn)}"
        asked = f"GET /v1/account HTTP/1.1\r\nHost: h\r\nX-Request-Id: {one}\r\nAuthorization: Bearer {VICTIM}\r\n\r\n"
        self._victim.send(asked.encode())
        answer = self._victim.answer()
        assert (answer.status, answer.headers["x-request-id"]) == (200, one)
        assert json.loads(answer.body)["tenant"] == "victim"


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_run_but_what_was_sent_as_a_call_and_no_answer_reaches_another(way, served, ports, request):
    port, is_proxied = port_of(way, ports), way != "directly"
    forms = [*valid_forms(), *invalid_forms(), *unfinished_forms()]
    forms = [form for form in forms if not (is_proxied and form.only_directly)]
    assert len({form.pieces for form in forms}) > 300
    if not request.config.getoption("--all-framings"):
        dice = random.Random(f"{request.config.getoption('--bodies-seed')} {way}")  # noqa: S311 - repeatable, not secret
        forms = sorted(dice.sample(forms, FEW), key=forms.index)  # valid ones first: their count is exact
    before = len(served.gateway.output)
    with Wire(port) as victim:
        trial = Trial(served, port, victim, is_proxied=is_proxied)
        for form in forms:
            trial.send(form)
    written = served.gateway.output[before:]
    assert re.findall(r'"request_id":"hidden[^"]*"|Traceback.*', written) == []


def answered_slowly(port, form):
    """What comes back in the end."""
    with Wire(port) as wire:
        wire.send(form.at_once)
        while not wire.has_more(within_s=0.5):
            wire.send(form.drop)
        return wire.answer()


def test_no_caller_holds_a_connection_by_sending_slowly(served, request):
    if not request.config.getoption("--all-framings"):
        pytest.skip("takes half a minute of real time, in which it waits: make test-hostile; else tests/launcher")
    forms = list(slow_forms())
    with ThreadPoolExecutor(len(forms)) as pool:
        answers = list(pool.map(lambda form: answered_slowly(served.gateway.port, form), forms))
    told = {form.name: answer.status if answer else 0 for form, answer in zip(forms, answers, strict=True)}
    assert told == {form.name: form.status for form in forms}
