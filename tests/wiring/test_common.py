"""What serving and commands share."""

from __future__ import annotations

from gateway.domain.backends import Backend
from gateway.wiring.common import backends_of, wall_clock
from tests.api.whole import settings_for


def test_backends_are_those_of_the_configuration_by_name(tmp_path):
    declared = [
        {"name": "one", "url": "http://127.0.0.1:1", "username": "u", "password": "p", "manage": False},
        {"name": "two", "url": "http://127.0.0.1:2"},
    ]
    assert backends_of(settings_for(tmp_path, "", declared)) == {
        "one": Backend("one", "http://127.0.0.1:1", "u", "p", is_managed=False),
        "two": Backend("two", "http://127.0.0.1:2"),
    }


def test_the_wall_clock_is_in_seconds_since_the_epoch():
    assert 1.7e9 < wall_clock() < 1e10
