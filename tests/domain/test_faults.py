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
    PROBE_EVERY_S,
    REFUSED_ALIKE_S,
    Attempted,
    FaultBook,
    Probe,
    Reload,
    fingerprint_of,
)
from gateway.domain.jobs import Operation
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.replies import Flaw
from tests.domain.pool import PICTURE, b64, context, png_head, shaped

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


def struck(book, times, backend="g1", now=0.0):
    """So many times two tenants failed at the place."""
    for number in range(times):
        for tenant in ("t1", "t2"):
            book.failed(attempt(backend, f"{backend} {tenant} {number}", tenant), Flaw.ERROR_STATUS, "500", now)


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


def test_an_ejection_ends_and_the_next_one_is_twice_as_long():
    book = FaultBook()
    convicted(book, 2)
    assert "g1" in usable(book, now=FIRST_EJECTION_S)
    struck(book, 1, now=FIRST_EJECTION_S)
    assert "g1" not in usable(book, now=2.9 * FIRST_EJECTION_S)
    assert "g1" in usable(book, now=3 * FIRST_EJECTION_S)


def test_no_ejection_is_longer_than_ten_minutes():
    book = FaultBook()
    struck(book, 100)
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
        struck(book, 2, backend)
    assert len(usable(book, now=1.0, pool=pool)) == size - most


def test_a_job_that_fails_alike_on_two_backends_is_at_fault_and_both_are_acquitted():
    book = FaultBook()
    book.failed(attempt("g1"), Flaw.EMPTY, "empty", 0.0)
    book.failed(attempt("g2"), Flaw.EMPTY, "empty", 1.0)
    assert usable(book, now=1.0) == list(POOL)
    assert isinstance(book.refusal(lambda: "of j1", "foo", POOL, 1.0), InvalidRequest)
    assert book.refusal(lambda: "of j1", "foo", POOL, 1.0 + REFUSED_ALIKE_S) is None
    assert book.refusal(lambda: "of j2", "foo", POOL, 1.0) is None


def test_a_job_that_fails_differently_on_two_backends_acquits_nobody():
    book = FaultBook()
    book.failed(attempt("g1"), Flaw.ERROR_STATUS, "500 a", 0.0)
    book.failed(attempt("g2"), Flaw.ERROR_STATUS, "500 b", 0.0)
    assert book.refusal(lambda: "of j1", "foo", POOL, 0.0) is None


def test_a_request_under_which_two_backends_died_is_never_sent_again():
    book = FaultBook()
    book.died(attempt("g1", "j1", fingerprint="bomb"), 0.0)
    assert book.refusal(lambda: "bomb", "foo", POOL, 0.0) is None
    book.died(attempt("g2", "j2", tenant="t2", fingerprint="bomb"), 50.0)
    assert isinstance(book.refusal(lambda: "bomb", "bar", POOL, REFUSED_ALIKE_S + 100.0), InvalidRequest)
    assert isinstance(book.refusal(lambda: "bomb", "foo", POOL, NEVER_AGAIN_S - 1.0), InvalidRequest)


def test_an_empty_answer_asks_for_one_probe_a_minute_and_is_held_against_nobody():
    book = FaultBook()
    assert book.failed(attempt(job="j1"), Flaw.EMPTY, "empty", 0.0) == Probe("g1", "foo")
    assert book.failed(attempt(job="j2", tenant="t2"), Flaw.EMPTY, "empty", 1.0) is None
    assert usable(book, now=1.0) == list(POOL)
    assert book.failed(attempt(job="j3"), Flaw.EMPTY, "empty", PROBE_EVERY_S) == Probe("g1", "foo")


def test_a_second_backend_that_fails_alike_is_probed_too_as_both_may_be_poisoned():
    book = FaultBook()
    book.failed(attempt("g1"), Flaw.EMPTY, "empty", 0.0)
    assert book.failed(attempt("g2"), Flaw.EMPTY, "empty", 1.0) == Probe("g2", "foo")


def test_a_checkpoint_whose_probe_came_back_empty_is_out_there_until_a_success_or_its_time():
    book = FaultBook()
    book.probe_failed(Probe("g1", "foo"), 0.0)
    assert usable(book, now=1.0) == ["g2", "g3", "g4", "g5", "g6"]
    assert usable(book, checkpoint="bar", now=1.0) == list(POOL)
    assert "g1" in usable(book, now=POISONED_S)
    book.succeeded(attempt(job="j2"), 1.0)
    assert "g1" in usable(book, now=1.0)


def probes(book, seconds, after_each=lambda _now: None):
    """How many of the probes that fail a place gets, when every second a job comes back empty there."""
    asked = 0
    for now in range(seconds):
        if book.failed(attempt(job=f"j{now}"), Flaw.EMPTY, "empty", float(now)) is not None:
            asked += 1
            book.probe_failed(Probe("g1", "foo"), float(now))
            after_each(float(now))
    return asked


def test_a_checkpoint_that_makes_no_picture_of_words_at_all_is_loaded_anew_ever_more_rarely():
    assert probes(FaultBook(), 3_000) == 6
    book = FaultBook()
    edited = attempt(job="edited", operation=Operation.IMG2IMG)
    assert probes(book, 3_000, lambda now: book.succeeded(edited, now)) == 6


def test_a_checkpoint_that_was_healed_and_made_a_picture_of_words_is_probed_as_soon_as_ever():
    book = FaultBook()
    made = attempt(job="made")
    assert probes(book, 3_000, lambda now: book.succeeded(made, now)) == 50


def test_two_tenants_whose_impossible_pictures_fail_alike_do_not_end_img2img_for_all():
    book = FaultBook()
    for tenant in ("t1", "t2"):
        for backend in ("g1", "g2"):
            one = attempt(backend, f"j {tenant}", tenant, operation=Operation.IMG2IMG)
            book.failed(one, Flaw.EMPTY, "empty", 0.0)
    assert usable(book, operation=Operation.IMG2IMG) == list(POOL)
    assert book.unsupported(("g1", "g2"), Operation.IMG2IMG, 0.0) is None


def test_a_checkpoint_that_does_not_load_is_tried_on_one_other_backend_and_then_refused():
    book = FaultBook()
    book.load_failed("g1", "foo", 0.0)
    assert usable(book, now=1.0) == ["g2", "g3", "g4", "g5", "g6"]
    assert book.refusal(lambda: "x", "foo", POOL, 1.0) is None
    book.load_failed("g2", "foo", 1.0)
    refusal = book.refusal(lambda: "x", "foo", POOL, 2.0)
    assert isinstance(refusal, NoCapacity)
    assert refusal.retry_after_s == pytest.approx(FIRST_REFUSAL_S - 1.0)
    assert book.refusal(lambda: "x", "bar", POOL, 2.0) is None


def test_a_checkpoint_that_the_only_backend_that_has_it_cannot_load_is_refused_and_unloads_nothing_again():
    book = FaultBook()
    book.load_failed("g1", "foo", 0.0)
    assert isinstance(book.refusal(lambda: "x", "foo", ("g1",), 1.0), NoCapacity)
    assert book.refusal(lambda: "x", "foo", ("g1",), FIRST_REFUSAL_S) is None
    for now in (100.0, 200.0):
        book.load_failed("g1", "foo", now)
    assert book.refusal(lambda: "x", "foo", ("g1",), 200.0).retry_after_s == pytest.approx(2 * FIRST_REFUSAL_S)


def test_a_checkpoint_that_does_not_load_is_looked_into_once_a_minute_on_each_backend():
    book = FaultBook()
    asked = [book.load_failed(*what) for what in (("g1", "foo", 0.0), ("g1", "bar", 1.0), ("g2", "foo", 2.0))]
    assert asked == [Reload("g1", "foo"), None, Reload("g2", "foo")]
    assert book.load_failed("g1", "bar", LOOK_INTO_EVERY_S + 0.1) == Reload("g1", "bar")


def test_the_refusal_of_a_checkpoint_doubles_until_it_loads():
    book = FaultBook()
    for backend, now in (("g1", 0.0), ("g2", 0.0), ("g3", 100.0)):
        book.load_failed(backend, "foo", now)
    assert book.refusal(lambda: "x", "foo", POOL, 100.0).retry_after_s == pytest.approx(2 * FIRST_REFUSAL_S)
    book.succeeded(attempt("g4"), 200.0)
    assert book.refusal(lambda: "x", "foo", POOL, 200.0) is None


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
    assert of(PICTURE) == of("\n".join((PICTURE[:76], PICTURE[76:]))), "another form of the same base64 is no way out"


def test_a_picture_in_a_nested_object_belongs_to_the_fingerprint_too():
    allowed = context(operator=OperatorPolicy(allow_control_units=True))

    def of(picture):
        return fingerprint_of(shaped({"control_units": [{"process": "Canny Edge", "image": picture}]}, allowed))

    assert of(PICTURE) == of(PICTURE) != of(b64(png_head(8, 8)))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "died", "succeeded", "load_failed"]),
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
