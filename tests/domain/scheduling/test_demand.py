import pytest

from gateway.domain.scheduling.demand import AskedFor


def test_a_steady_stream_is_seen_at_its_rate():
    asked = AskedFor(memory_s=100.0)
    for second in range(1000):
        asked.asked("A", float(second))
    assert asked.rate("A", 999.0) == pytest.approx(1.0, rel=0.02)


def test_what_nobody_asks_for_any_more_fades_and_what_nobody_ever_asked_for_is_zero():
    asked = AskedFor(memory_s=100.0)
    asked.asked("A", 0.0)
    assert asked.rate("A", 300.0) < asked.rate("A", 0.0) / 10
    assert asked.rate("B", 300.0) == 0.0


def test_a_dump_and_a_copy_say_the_same_and_change_on_their_own():
    asked = AskedFor(memory_s=100.0)
    asked.asked("A", 0.0)
    again, copy = AskedFor(100.0, asked.dump()), asked.copy()
    asked.asked("A", 1.0)
    assert again.rate("A", 1.0) == copy.rate("A", 1.0) < asked.rate("A", 1.0)
