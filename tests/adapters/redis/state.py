"""The store's whole state in one comparable form, read from Redis and from the oracle."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import redis

from tests.support.memory_store import UPKEEP, MemoryStore

_STATES = {"w": "waiting", "r": "running", "c": "closed"}

State = dict[str, Any]


def state_of_redis(client: redis.Redis, namespace: str, now_us: int) -> State:
    """Everything that matters under this namespace; rates only while they still limit."""
    prefix = f"{{{namespace}}}:"
    raw = {key.removeprefix(prefix): value for key, value in _dump(client, prefix).items()}
    state: State = {name: raw.get(key, {}) for name, key in (("loaded", "loaded"), ("states", "bstate"))}
    state["slots"], state["catalogue"] = raw.get("slot", {}), raw.get("catalogue", {})
    state["version"] = raw.get("catalogue_version", "")
    state["tickets"] = [(job, int(entered)) for job, entered in raw.get("tickets", [])]
    state["admitted"] = int(raw.get("admitted", {}).get("count", "0"))
    state["grace"] = int(raw.get("grace", "0"))
    state["heartbeats"] = {process: int(at) for process, at in raw.get("procs", [])}
    state["lease"] = raw.get("lease", "")
    state["events"] = [tuple(*fields.items()) for _, fields in raw.get("events", [])]
    state["jobs"] = {key[4:]: _job(value) for key, value in raw.items() if key.startswith("job:")}
    for name, start in (("outstanding", "out:"), ("running", "run:"), ("held", "held:")):
        state[name] = {key[len(start) :]: value for key, value in raw.items() if key.startswith(start)}
    state["rates"] = {key[5:]: int(us) for key, us in raw.items() if key.startswith("rate:") and int(us) > now_us}
    quotas = {key[6:]: value for key, value in raw.items() if key.startswith("quota:")}
    state["quotas"] = {key: int(used) for key, used in quotas.items() if re.search(r":\d+$", key)}
    state["asked"] = {key for key in quotas if not re.search(r":\d+$", key)}
    state["work"] = {key[5:-2] for key in raw if key.startswith("wake:") and key.endswith(":d")}
    wakes = {key[5:]: value for key, value in raw.items() if key.startswith("wake:") and not key.endswith(":d")}
    state["woken"] = {process: len(messages) for process, messages in wakes.items()}
    names = ("job", "outcome", "entered", "started", "ended", "backend")
    state["outbox"] = [tuple(fields[name] for name in names) for _, fields in raw.get("outbox", [])]
    return state


def _dump(client: redis.Redis, prefix: str) -> dict[str, Any]:
    keys = sorted(client.scan_iter(match=prefix + "*", count=1000))
    asked = client.pipeline(transaction=False)
    for key in keys:
        asked.type(key)
    readers = {
        "string": lambda pipe, key: pipe.get(key),
        "hash": lambda pipe, key: pipe.hgetall(key),
        "set": lambda pipe, key: pipe.smembers(key),
        "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
        "list": lambda pipe, key: pipe.lrange(key, 0, -1),
        "stream": lambda pipe, key: pipe.xrange(key),
    }
    reads = client.pipeline(transaction=False)
    for key, kind in zip(keys, asked.execute(), strict=True):
        readers[kind](reads, key)
    return dict(zip(keys, reads.execute(), strict=True))


def _job(fields: dict[str, str]) -> tuple[Any, ...]:
    return (
        *(fields.get(name, "") for name in ("tenant", "proc", "backend", "before", "closed", "ticket")),
        _STATES[fields["state"]],
        int(fields.get("started", "0")),
        "corrected" in fields,
        fields.get("why", ""),
    )


def state_of_memory(store: MemoryStore) -> State:
    """The same of the oracle."""
    tenants = {job.tenant for job in store.jobs.values()}
    processes = {job.process for job in store.jobs.values()}
    sets = {
        "outstanding": {tenant: set(store.of(tenant=tenant)) for tenant in tenants - {UPKEEP}},
        "running": {tenant: set(store.of(tenant=tenant, states=("running",))) for tenant in tenants},
        "held": {process: set(store.of(process=process)) for process in processes},
    }
    return {
        "loaded": store.loaded,
        "states": store.states,
        "slots": {backend: slot.mark for backend, slot in store.slots.items()},
        "catalogue": {backend: inventory.decode() for backend, inventory in store.catalogue.items()},
        "version": str(store.catalogue_version or ""),
        "tickets": [(job_id, store.jobs[job_id].entered_us) for job_id in store.waiting],
        "admitted": store.admitted,
        "grace": store.grace_us,
        "heartbeats": store.heartbeats,
        "lease": "" if store.lease is None else f"{store.lease[0]} {store.lease[1]}",
        "events": [(kind, job_id) for _, kind, job_id in store.events],
        "jobs": {job_id: _memory_job(job) for job_id, job in store.jobs.items()},
        **{name: {key: members for key, members in found.items() if members} for name, found in sets.items()},
        "rates": {subject: us for subject, us in store.arrivals.items() if us > store.now_us},
        "quotas": {":".join(map(str, key)): used for key, used in store.used.items()},
        "asked": {":".join(map(str, (*key, job_id))) for key, job_id in store.asked},
        "work": {process for process, mailbox in store.mailboxes.items() if mailbox.has_work},
        "woken": {process: len(mailbox.woken) for process, mailbox in store.mailboxes.items() if mailbox.woken},
        "outbox": [
            (
                job_id,
                record.outcome,
                *(_us(at) for at in (record.entered_at, record.started_at, record.ended_at)),
                record.backend,
            )
            for job_id, record in store.outbox.values()
        ],
    }


def _memory_job(job: Any) -> tuple[Any, ...]:
    ticket = "" if job.tenant == UPKEEP else job.ticket.decode()
    return (
        *(job.tenant, job.process, job.backend, job.before, job.outcome or "", ticket),
        *(job.state, job.started_us, job.is_corrected, job.why),
    )


def _us(seconds: float) -> str:
    return str(round(seconds * 1_000_000))


def check_invariants(state: State, caps: dict[str, int], dropped: Counter[str]) -> None:
    """What must hold after every step, whatever happened; `dropped` counts the records that left the outbox."""
    jobs = {job_id: (values[0], values[6], values[2], values[4], values[8]) for job_id, values in state["jobs"].items()}
    for name, states in (("outstanding", ("waiting", "running")), ("running", ("running",))):
        for tenant in {values[0] for values in jobs.values()} - {UPKEEP}:
            expected = {job_id for job_id, values in jobs.items() if values[0] == tenant and values[1] in states}
            assert state[name].get(tenant, set()) == expected, (name, tenant)
    for tenant, cap in caps.items():
        assert len(state["running"].get(tenant, ())) <= cap, f"{tenant} runs more than {cap}"
    holders = {mark.split(" ")[0]: backend for backend, mark in state["slots"].items() if not mark.startswith("! ")}
    assert holders == {job_id: values[2] for job_id, values in jobs.items() if values[1] == "running"}
    assert {job_id for job_id, _ in state["tickets"]} == {job_id for job_id, v in jobs.items() if v[1] == "waiting"}
    records = Counter(record[0] for record in state["outbox"]) + dropped
    assert records == Counter(
        {job_id: 1 + values[4] for job_id, values in jobs.items() if values[3] and values[0] != UPKEEP}
    )
