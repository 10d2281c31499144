"""The key-leak checker: what lies in Redis for ever must be meant to."""

from __future__ import annotations

import redis

# Never collected: equal only to themselves (generation, epoch, deployment), or not yet in the ledger (outbox, aside).
PERMANENT = ("generation", "epoch", "deployment", "outbox", "aside")


def keys_without_ttl(client: redis.Redis) -> list[str]:
    """Every key without a TTL that is not permanent by design, sorted. To be asked after a heartbeat."""
    keys = list(client.scan_iter(count=1000))
    lives = client.pipeline(transaction=False)
    for key in keys:
        lives.pttl(key)
    return sorted(
        key
        for key, ttl in zip(keys, lives.execute(), strict=True)
        if ttl == -1 and key.rpartition("}:")[2] not in PERMANENT
    )
