"""Wrong keys are limited by address, in bounded memory."""

from __future__ import annotations

import pytest

from gateway.domain.errors import RateLimited
from gateway.flow.failed_attempts import FailedAttempts


def fail(attempts, address, times, now_s=0.0):
    for _ in range(times):
        attempts.count(address, now_s)


def test_after_the_burst_one_waits_as_long_as_is_said_and_no_longer():
    attempts = FailedAttempts(per_minute=30, burst=3)
    fail(attempts, "192.0.2.1", 3)
    with pytest.raises(RateLimited) as caught:
        attempts.count("192.0.2.1", 0.5)
    assert caught.value.retry_after_s == 1.5
    with pytest.raises(RateLimited):
        attempts.count("192.0.2.1", 1.99)
    attempts.count("192.0.2.1", 2.0)


def test_another_address_has_failures_of_its_own():
    attempts = FailedAttempts(burst=1)
    fail(attempts, "192.0.2.1", 1)
    attempts.count("192.0.2.2", 0.0)
    assert len(attempts) == 2


def test_the_addresses_of_one_ipv6_network_count_as_one():
    attempts = FailedAttempts(burst=2)
    attempts.count("2001:db8::1", 0.0)
    attempts.count("2001:db8::ffff:2", 0.0)
    with pytest.raises(RateLimited):
        attempts.count("2001:db8::3", 0.0)
    attempts.count("2001:db8:0:1::3", 0.0)


def test_a_failure_that_was_none_is_taken_back():
    attempts = FailedAttempts(burst=1)
    for _ in range(10):
        attempts.count("192.0.2.1", 0.0)
        attempts.forgive("192.0.2.1")
    attempts.count("192.0.2.1", 0.0)
    with pytest.raises(RateLimited):
        attempts.count("192.0.2.1", 0.0)


def test_a_flood_of_addresses_takes_bounded_memory_and_the_oldest_is_forgotten():
    attempts = FailedAttempts(burst=1, most=3)
    for last in range(5):
        attempts.count(f"192.0.2.{last}", 0.0)
    assert len(attempts) == 3
    attempts.count("192.0.2.0", 0.0)
    with pytest.raises(RateLimited):
        attempts.count("192.0.2.4", 0.0)


def test_what_is_no_ip_address_is_limited_too():
    attempts = FailedAttempts(burst=1)
    attempts.count("", 0.0)
    with pytest.raises(RateLimited):
        attempts.count("", 0.0)
