"""The embedded Valkey is a real process; so are all of these tests."""

from __future__ import annotations

import redis

from gateway.launcher.embedded import EmbeddedValkey


def test_what_it_holds_survives_a_restart_when_it_persists(tmp_path):
    with EmbeddedValkey(tmp_path, persist=True) as first, redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    with EmbeddedValkey(tmp_path, persist=True) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"
