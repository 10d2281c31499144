"""`make frozen-store`: what callers see while the store is frozen, at five hundred calls a second.

One gateway process, its Valkey stopped by a signal as a hung machine would be. Calls are sent at their times, however
long others take (an open loop), on connections that stay open; the sender is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.servers import KEY, environment, fetch, free_ports, make_key, running, wait_until
from gateway.launcher.embedded import EmbeddedValkey
from gateway.settings import Settings
from gateway.wiring.desk import open_reconciler

RATE = 500
FROZEN_S = 6.0
FIRST_S = 1.0  # until then a call may still be waiting for the store
FIRST_MOST_S, LATER_MOST_S = 0.5, 0.1
BODY = json.dumps({"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "sd_model_checkpoint": "red"}).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: seconds after the first was due when this one was, seconds until its answer, and its status."""

    due_s: float
    took_s: float
    status: int


# --- the sender


class Sender:
    """Sends the same call at its times; a connection carries one call at once and is kept for the next."""

    def __init__(self, port: int) -> None:
        head = f"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n"
        self._request = f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[Answer] = []

    async def send(self, rate: float, seconds: float) -> None:
        """`rate` calls a second for so long; back when all are answered."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due_s = number / rate
                await asyncio.sleep(began + due_s - time.monotonic())
                group.create_task(self._call(began, due_s))

    async def _call(self, began: float, due_s: float) -> None:
        status = 0
        with suppress(OSError, asyncio.IncompleteReadError):
            status = await self._ask()
        self.answers.append(Answer(due_s, time.monotonic() - began - due_s, status))

    async def _ask(self) -> int:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append(connection)
        return int(head[9:12])


def send(port: int, rate: float, seconds: float) -> None:
    """As a process of its own: once it is told to by a line, begin; print what was seen as JSON."""
    sender = Sender(port)
    print("ready", flush=True)
    sys.stdin.readline()
    uvloop.run(sender.send(rate, seconds))
    print(json.dumps([[answer.due_s, answer.took_s, answer.status] for answer in sender.answers]))


# --- the servers


@contextmanager
def _gateway(home: Path) -> Iterator[tuple[int, EmbeddedValkey, Settings]]:
    """One process in front of one instant backend that was used once; its port, its store, its settings."""
    port, sim = free_ports(2)
    words = ["sim-backend", "--port", str(sim), "--models", "red", "--time-scale", "0"]
    program = [sys.executable, "-m", "gateway"]
    with running("sim", [*program, *words], home), EmbeddedValkey(home / "valkey", persist=True) as valkey:
        settings = Settings(data_dir=home, redis_url=valkey.url, alone=True)
        variables = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_DATA_DIR": str(home),
            "GATEWAY_REDIS_URL": valkey.url,
            "GATEWAY_ALONE": "true",
            "GATEWAY_BACKENDS": f"http://127.0.0.1:{sim}",
            "GATEWAY_FIRST_KEY": "sk-first-0123456789abcdefghij",
        }
        with running("gateway", [*program, "serve"], home, **variables):
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: fetch(f"{url}/readyz")[0] == 200, "the gateway is ready")
            asyncio.run(make_key(settings))
            wait_until(lambda: fetch(f"{url}/sdapi/v1/txt2img", KEY, BODY)[0] == 200, "the gateway generates")
            yield port, valkey, settings


def measure(home: Path, rate: float, frozen_s: float) -> tuple[list[Answer], int]:
    """The answers to calls sent while the store was frozen, and the ledger's difference once it was back."""
    with _gateway(home) as (port, valkey, settings):
        command = [sys.executable, "-m", "bench.frozen", "--send-to", str(port), "--rate", str(rate)]
        words, pipe = [*command, "--seconds", str(frozen_s)], subprocess.PIPE
        with subprocess.Popen(words, env=environment(), stdin=pipe, stdout=pipe, text=True) as sender:
            sender.stdout.readline()  # it is ready: its calls are to come as the store freezes, not a start later
            os.kill(valkey.process.pid, signal.SIGSTOP)
            try:
                told, _ = sender.communicate("go\n")
            finally:
                os.kill(valkey.process.pid, signal.SIGCONT)
        url = f"http://127.0.0.1:{port}/sdapi/v1/txt2img"
        wait_until(lambda: fetch(url, KEY, BODY)[0] == 200, "calls are served again")
        wait_until(lambda: asyncio.run(_difference(settings)) == 0, "the ledger adds up")
        return [Answer(*line) for line in json.loads(told)], asyncio.run(_difference(settings))


async def _difference(settings: Settings) -> int:
    async with open_reconciler(settings) as reconciler:
        found = await reconciler.reconcile()
        return abs(found.difference) + found.unaccounted + found.open + found.unwritten


# --- the table


def main() -> int:
    """Measure, print, and say by the status whether every answer came in time."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rate", type=float, default=RATE)
    asked.add_argument("--seconds", type=float, default=FROZEN_S)
    asked.add_argument("--send-to", type=int, help=argparse.SUPPRESS)
    flags = asked.parse_args()
    if flags.send_to:
        send(flags.send_to, flags.rate, flags.seconds)
        return 0
    with tempfile.TemporaryDirectory(prefix="frozen") as folder:
        answers, difference = measure(Path(folder), flags.rate, flags.seconds)
    print(
        f"{flags.rate:g} calls a second, store frozen for {flags.seconds:g} s; the ledger's difference after it: "
        f"{difference}"
    )
    print("\n| sent | calls | p50 ms | p99 ms | slowest ms | answers |\n|---|---|---|---|---|---|")
    first = [answer for answer in answers if answer.due_s < FIRST_S]
    later = [answer for answer in answers if answer.due_s >= FIRST_S]
    print(_row("in the first second", first))
    print(_row("after it", later))
    faults = [
        *(["an answer of the first second came late"] if _slowest(first) > FIRST_MOST_S else []),
        *(["an answer after the first second came late"] if _slowest(later) > LATER_MOST_S else []),
        *(["an answer is not 503"] if {answer.status for answer in answers} != {503} else []),
    ]
    print("\n" + ("\n".join(f"- MISSED: {fault}" for fault in faults) or "- holds: 500 ms, then 100 ms"))
    return 1 if faults else 0


def _slowest(answers: list[Answer]) -> float:
    return max(answer.took_s for answer in answers)


def _row(name: str, answers: list[Answer]) -> str:
    took = sorted(answer.took_s * 1000 for answer in answers)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    statuses = ", ".join(f"{count} of {status}" for status, count in Counter(a.status for a in answers).items())
    return f"| {name} | {len(took)} | {p50:.1f} | {p99:.1f} | {took[-1]:.1f} | {statuses} |"


if __name__ == "__main__":
    sys.exit(main())
