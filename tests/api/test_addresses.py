"""Which address a call comes from, and whom that is believed of."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.addresses import caller_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.9, 10.1.1.1"], "198.51.100.9"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["198.51.100.9:4711"], "198.51.100.9"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.9"], "198.51.100.9"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("", ["198.51.100.9"], ""),
    ],
)
def test_the_caller_is_the_last_address_that_somebody_trusted_wrote(peer, forwarded, expected):
    assert caller_address(peer, forwarded, PROXIES) == expected


@given(st.lists(st.one_of(st.ip_addresses().map(str), st.text(max_size=20))))
def test_whatever_a_stranger_writes_he_stays_who_he_is(forwarded):
    assert caller_address("192.0.2.1", forwarded, PROXIES) == "192.0.2.1"


@given(st.lists(st.text(max_size=20)), st.ip_addresses(v=4).filter(lambda found: found not in PROXIES[0]))
def test_what_stands_left_of_the_callers_entry_changes_nothing(made_up, caller):
    assert ip_address(caller_address("10.0.0.1", [*made_up, str(caller)], PROXIES)) == caller
