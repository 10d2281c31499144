import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest, NoCapacity
from gateway.domain.faults import (
    FIRST_EJECTION_S,
    FIRST_REFUSAL_S,
    LONGEST_EJECTION_S,
    LOOK_INTO_EVERY_S,
    NEVER_AGAIN_S,
    POISONED_S,
    REFUSED_ALIKE_S,
    Attempted,
    FaultBook,
    Reload,
    fingerprint_of,
)
from gateway.domain.jobs import Operation
from gateway.domain.replies import Flaw
from tests.domain.pool import PICTURE, b64, png_head, shaped

POOL = ("g1", "g2", "g3", "g4", "g5", "g6")
TXT, UP = Operation.TXT2IMG, Operation.UPSCALE


def attempt(backend="g1", job="j1", tenant="t1", checkpoint="foo", operation=TXT, fingerprint=None):
    return Attempted(job, fingerprint or f"of {job}", tenant, backend, checkpoint, operation)


def usable(book, checkpoint="foo", operation=TXT, now=0.0, pool=POOL):
    return sorted(book.usable(pool, checkpoint, operation, now))


def convicted(book, times, backend="g1", now=0.0, checkpoint="foo"):
    """So many jobs failed on the backend and then succeeded on another one."""
    for number in range(times):
        job = f"{backend} {checkpoint} {number}"
        book.failed(attempt(backend, job, checkpoint=checkpoint), Flaw.ERROR_STATUS, "500", now)
        book.succeeded(attempt("g6", job, checkpoint=checkpoint), now)


def test_one_failure_alone_condemns_nobody():
    book = FaultBook()
    book.failed(attempt(), Flaw.ERROR_STATUS, "500", 0.0)
    assert usable(book) == list(POOL)


def test_a_job_that_then_succeeds_elsewhere_convicts_and_the_second_time_the_backend_is_out():
    book = FaultBook()
    convicted(book, 1)
    assert usable(book) == list(POOL)
    convicted(book, 2)
    assert usable(book, now=1.0) == ["g2", "g3", "g4", "g5", "g6"]


def test_only_that_checkpoint_is_out_and_the_backend_serves_others():
    book = FaultBook()
    convicted(book, 2)
    assert usable(book, checkpoint="bar") == list(POOL)


def test_two_bad_checkpoints_put_the_whole_backend_out():
    book = FaultBook()
    convicted(book, 2, checkpoint="foo")
    convicted(book, 2, checkpoint="bar")
    assert "g1" not in usable(book, checkpoint="baz", now=1.0)


def test_two_tenants_who_fail_at_the_same_place_convict_it():
    book = FaultBook()
    for number, tenant in enumerate(("t1", "t2", "t1", "t2")):
        book.failed(attempt(job=f"j{number}", tenant=tenant), Flaw.ERROR_STATUS, "500", 0.0)
    assert "g1" not in usable(book, now=1.0)


def test_one_tenant_alone_convicts_nobody_however_often_it_fails():
    book = FaultBook()
    for number in range(50):
        book.failed(attempt(job=f"j{number}"), Flaw.ERROR_STATUS, "500", 0.0)
    assert usable(book) == list(POOL)


def test_a_failed_probe_convicts_at_once():
    book = FaultBook()
    book.probe_failed(attempt(), 0.0)
    book.probe_failed(attempt(), 0.0)
    assert "g1" not in usable(book, now=1.0)


def test_an_ejection_ends_and_the_next_one_is_twice_as_long():
    book = FaultBook()
    convicted(book, 2)
    assert "g1" in usable(book, now=FIRST_EJECTION_S)
    book.probe_failed(attempt(), FIRST_EJECTION_S)
    assert "g1" not in usable(book, now=2.9 * FIRST_EJECTION_S)
    assert "g1" in usable(book, now=3 * FIRST_EJECTION_S)


def test_no_ejection_is_longer_than_ten_minutes():
    book = FaultBook()
    for _ in range(100):
        book.probe_failed(attempt(), 0.0)
    assert "g1" in usable(book, now=LONGEST_EJECTION_S)


def test_a_success_forgives_what_was_held_against_a_place():
    book = FaultBook()
    convicted(book, 2)
    book.succeeded(attempt("g1", "later"), 1.0)
    assert usable(book, now=1.0) == list(POOL)


@pytest.mark.parametrize(("size", "most"), [(1, 0), (2, 0), (3, 1), (6, 2)])
def test_at_most_a_third_of_the_backends_are_out(size, most):
    book, pool = FaultBook(), POOL[:size]
    for backend in pool:
        for _ in range(2):
            book.probe_failed(attempt(backend), 0.0)
    assert len(usable(book, now=1.0, pool=pool)) == size - most


def test_a_job_that_fails_alike_on_two_backends_is_at_fault_and_both_are_acquitted():
    book = FaultBook()
    book.failed(attempt("g1"), Flaw.EMPTY, "empty", 0.0)
    assert "g1" not in usable(book)
    book.failed(attempt("g2"), Flaw.EMPTY, "empty", 1.0)
    assert usable(book, now=1.0) == list(POOL)
    assert isinstance(book.refusal(lambda: "of j1", "foo", TXT, 1.0), InvalidRequest)
    assert book.refusal(lambda: "of j1", "foo", TXT, 1.0 + REFUSED_ALIKE_S) is None
    assert book.refusal(lambda: "of j2", "foo", TXT, 1.0) is None


def test_a_job_that_fails_differently_on_two_backends_acquits_nobody():
    book = FaultBook()
    book.failed(attempt("g1"), Flaw.ERROR_STATUS, "500 a", 0.0)
    book.failed(attempt("g2"), Flaw.ERROR_STATUS, "500 b", 0.0)
    assert book.refusal(lambda: "of j1", "foo", TXT, 0.0) is None


def test_a_request_under_which_two_backends_died_is_never_sent_again():
    book = FaultBook()
    book.died(attempt("g1", "j1", fingerprint="bomb"), 0.0)
    assert book.refusal(lambda: "bomb", "foo", TXT, 0.0) is None
    book.died(attempt("g2", "j2", tenant="t2", fingerprint="bomb"), 50.0)
    assert isinstance(book.refusal(lambda: "bomb", "bar", UP, REFUSED_ALIKE_S + 100.0), InvalidRequest)
    assert isinstance(book.refusal(lambda: "bomb", "foo", TXT, NEVER_AGAIN_S - 1.0), InvalidRequest)


def test_an_empty_answer_asks_once_for_the_checkpoint_to_be_loaded_anew():
    book = FaultBook()
    assert book.failed(attempt(job="j1"), Flaw.EMPTY, "empty", 0.0) == Reload("g1", "foo")
    assert book.failed(attempt(job="j2"), Flaw.EMPTY, "empty", 1.0) is None
    assert "g1" not in usable(book, now=1.0)
    assert "g1" in usable(book, checkpoint="bar", now=1.0)


def test_a_poisoned_checkpoint_is_back_after_a_success_or_after_its_time():
    book = FaultBook()
    book.failed(attempt(job="j1"), Flaw.EMPTY, "empty", 0.0)
    assert "g1" in usable(book, now=POISONED_S)
    book.succeeded(attempt(job="j2"), 1.0)
    assert "g1" in usable(book, now=1.0)


def test_a_checkpoint_that_was_poisoned_before_can_be_loaded_anew_again_later():
    book = FaultBook()
    book.failed(attempt(job="j1"), Flaw.EMPTY, "empty", 0.0)
    later = POISONED_S + 1.0
    assert book.failed(attempt(job="j2"), Flaw.EMPTY, "empty", later) == Reload("g1", "foo")


def test_a_checkpoint_that_does_not_load_is_tried_on_one_other_backend_and_then_refused():
    book = FaultBook()
    book.load_failed("g1", "foo", 0.0)
    assert usable(book, now=1.0) == ["g2", "g3", "g4", "g5", "g6"]
    assert book.refusal(lambda: "x", "foo", TXT, 1.0) is None
    book.load_failed("g2", "foo", 1.0)
    refusal = book.refusal(lambda: "x", "foo", TXT, 2.0)
    assert isinstance(refusal, NoCapacity)
    assert refusal.retry_after_s == pytest.approx(FIRST_REFUSAL_S - 1.0)
    assert book.refusal(lambda: "x", "bar", TXT, 2.0) is None


def test_a_checkpoint_that_does_not_load_is_looked_into_once_a_minute_on_each_backend():
    book = FaultBook()
    asked = [book.load_failed(*what) for what in (("g1", "foo", 0.0), ("g1", "bar", 1.0), ("g2", "foo", 2.0))]
    assert asked == [Reload("g1", "foo"), None, Reload("g2", "foo")]
    assert book.load_failed("g1", "bar", LOOK_INTO_EVERY_S + 0.1) == Reload("g1", "bar")


def test_the_refusal_of_a_checkpoint_doubles_until_it_loads():
    book = FaultBook()
    for backend, now in (("g1", 0.0), ("g2", 0.0), ("g3", 100.0)):
        book.load_failed(backend, "foo", now)
    assert book.refusal(lambda: "x", "foo", TXT, 100.0).retry_after_s == pytest.approx(2 * FIRST_REFUSAL_S)
    book.succeeded(attempt("g4"), 200.0)
    assert book.refusal(lambda: "x", "foo", TXT, 200.0) is None


def test_a_known_defect_makes_the_operation_unsupported_there_and_generation_goes_on():
    book = FaultBook()
    book.failed(attempt("g1", checkpoint="", operation=UP), Flaw.DEFECT, "500 html_info", 0.0)
    assert usable(book, "", UP) == ["g2", "g3", "g4", "g5", "g6"]
    assert usable(book) == list(POOL)
    assert book.unsupported(POOL, UP, 0.0) is None
    assert "No backend can upscale" in str(book.unsupported(("g1",), UP, 0.0))


def test_the_same_failure_for_two_tenants_where_it_never_worked_makes_an_operation_unsupported():
    book = FaultBook()
    for tenant in ("t1", "t2"):
        for backend in ("g1", "g2"):
            book.failed(attempt(backend, f"j {tenant}", tenant, "", UP), Flaw.ERROR_STATUS, "500", 0.0)
    assert usable(book, "", UP) == ["g3", "g4", "g5", "g6"]


def test_an_operation_that_ever_worked_is_not_unsupported_because_of_two_bad_requests():
    book = FaultBook()
    for backend in ("g1", "g2"):
        book.succeeded(attempt(backend, "before", "t0", "", UP), 0.0)
    for tenant in ("t1", "t2"):
        for backend in ("g1", "g2"):
            book.failed(attempt(backend, f"j {tenant}", tenant, "", UP), Flaw.ERROR_STATUS, "500", 0.0)
    assert usable(book, "", UP) == list(POOL)


def test_a_backend_set_aside_gets_nothing_until_it_came_back():
    book = FaultBook()
    book.set_aside("g1", "it asks for credentials")
    assert "g1" not in usable(book)
    assert book.reasons == {"g1": "it asks for credentials"}
    book.came_back("g1")
    assert (usable(book), book.reasons) == (list(POOL), {})


def test_a_restart_wipes_what_was_held_against_a_backend():
    book = FaultBook()
    convicted(book, 4)
    book.failed(attempt("g1", "x", checkpoint="bar"), Flaw.EMPTY, "empty", 0.0)
    book.came_back("g1")
    assert usable(book, now=1.0) == usable(book, "bar", now=1.0) == list(POOL)


def test_equal_requests_have_one_fingerprint_and_another_picture_another():
    def of(picture, **fields):
        return fingerprint_of(shaped({"init_images": [picture], **fields}, operation=Operation.IMG2IMG))

    assert of(PICTURE) == of(PICTURE, save_images=True)
    assert of(PICTURE) != of(b64(png_head(512, 512) + b"x"))
    assert of(PICTURE) != of(PICTURE, steps=3)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "died", "succeeded", "probe_failed", "load_failed"]),
        st.sampled_from(POOL),
        st.sampled_from(["j1", "j2", "j3"]),
        st.sampled_from(["t1", "t2"]),
        st.sampled_from(["foo", "bar"]),
        st.sampled_from(["a", "b"]),
        st.floats(0, 100),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happens_strikes_alone_never_take_more_than_a_third_and_time_heals_everything(events):
    book, now = FaultBook(), 0.0
    for kind, backend, job, tenant, checkpoint, signature, later in events:
        now += later
        one = attempt(backend, job, tenant, checkpoint)
        if kind == "failed":
            book.failed(one, Flaw.ERROR_STATUS, signature, now)
        elif kind == "load_failed":
            continue  # loads exclude by themselves; they are tested above
        else:
            getattr(book, kind)(one, now)
        hard = {b for b in POOL if not book._is_able(b, "foo", TXT, now)}
        assert len(usable(book, now=now)) >= len(POOL) - len(hard) - len(POOL) // 3
    assert usable(book, now=now + 10_000) == list(POOL)


def test_the_book_forgets_what_is_old_and_stays_small():
    book = FaultBook()
    for number in range(12_000):
        book.died(attempt(job=f"j{number}"), float(number))
    assert len(book._suspicions) <= 10_001
    assert len(book._deaths) <= 10_001
