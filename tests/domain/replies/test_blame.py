import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import BodyTooLarge, InvalidRequest, SamplerNotFound
from gateway.domain.jobs import Operation
from gateway.domain.replies.blame import judge_error, read_error
from gateway.domain.replies.verdicts import AttemptFailed, CallersFault, Flaw, SetAside


def judged(status, body, operation=Operation.TXT2IMG):
    return judge_error(operation, status, body if isinstance(body, bytes) else json.dumps(body).encode())


def five(kind, status, errors, detail=""):
    return {"error": kind, "code": status, "detail": detail, "body": "", "errors": errors}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, five("HTTPException", 404, "404: Sampler not found", "Sampler not found"), SamplerNotFound),
        (500, five("HTTPException", 500, "500: Invalid encoded image", "Invalid encoded image"), InvalidRequest),
        (400, {"error": "Init image is none"}, InvalidRequest),
        (500, five("OSError", 500, "image file is truncated (3 bytes not processed)"), InvalidRequest),
        (500, five("OSError", 500, "broken data stream when reading image file"), InvalidRequest),
        (500, five("UnidentifiedImageError", 500, "cannot identify image file <_io.BytesIO>"), InvalidRequest),
        (400, five("HTTPException", 400, "x", "Upload reference not found: upload:x"), InvalidRequest),
        (422, five("HTTPException", 422, "x", "Always on script not found: ADetailer"), InvalidRequest),
        (413, {"detail": "too big"}, BodyTooLarge),
        (422, b"", InvalidRequest),
    ],
)
def test_what_the_caller_did_wrong_is_told_in_our_own_errors(status, body, error):
    verdict = judged(status, body)
    assert isinstance(verdict, CallersFault)
    assert type(verdict.error) is error


def test_a_validation_list_names_the_field():
    body = {
        "detail": [
            {"type": "int_parsing", "loc": ["body", "steps"], "msg": "Input should be a valid integer", "input": "x"}
        ]
    }
    error = judged(422, body).error
    assert error.field == "steps"
    assert "steps: Input should be a valid integer" in str(error)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 418, 429])
def test_what_the_operator_has_to_look_at_sets_the_backend_aside(status):
    assert isinstance(judged(status, {"detail": "Not Found"}), SetAside)


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (five("IndexError", 500, "list index out of range"), Flaw.ERROR_STATUS),
        (five("OutOfMemoryError", 500, "CUDA out of memory. Tried to allocate 2 GiB"), Flaw.OUT_OF_MEMORY),
        (
            five("ValidationError", 500, "1 validation error for ResProcessImage\nhtml_info\n  Input should be"),
            Flaw.DEFECT,
        ),
        (b"Internal Server Error", Flaw.ERROR_STATUS),
        (b'"a bare string"', Flaw.ERROR_STATUS),
    ],
)
def test_everything_else_is_a_failed_attempt(body, flaw):
    verdict = judged(500, body)
    assert isinstance(verdict, AttemptFailed)
    assert verdict.flaw is flaw
    assert verdict.said


def test_failures_that_differ_only_in_numbers_are_alike():
    first = judged(500, five("MemoryError", 500, "Unable to allocate 7.28 TiB"))
    second = judged(500, five("MemoryError", 500, "Unable to allocate 3.10 TiB"))
    assert first.signature == second.signature != judged(500, five("IndexError", 500, "x")).signature


@pytest.mark.parametrize(
    "text",
    [
        "cannot open '/srv/models/secret.safetensors'",
        "cannot open /srv/x.ckpt: no such file",
        "C:\\Users\\me\\models\\a.ckpt missing",
        "Cannot reach https://huggingface.co/api/models?x=1: offline",
        "127.0.0.1:7860 refused",
        "~/models/x not found",
    ],
)
def test_what_a_backend_says_is_passed_on_without_paths_and_addresses(text):
    clean = judged(500, five("X", 500, text)).said
    for secret in ("/srv", "/root", "Users", "huggingface", "127.0.0.1", "~/models", "secret"):
        assert secret not in clean


@pytest.mark.parametrize("place", ["error", "errors", "detail", "msg", "loc"])
def test_a_secret_in_any_part_of_an_error_is_not_passed_on(place):
    said = "token=abcdefgh1234"
    body = {"error": "X", "errors": "y", place: said}
    if place in ("msg", "loc"):
        body = {"detail": [{"loc": ["body", said], "msg": said}]}
    for status in (422, 500):
        verdict = judged(status, body)
        assert "abcdefgh" not in str(getattr(verdict, "error", "")) + getattr(verdict, "said", "")
        assert "abcdefgh" not in getattr(getattr(verdict, "error", None), "field", "")


def test_an_error_of_very_many_values_is_not_read():
    body = b'{"error": "OutOfMemoryError", "errors": [' + b"1," * 200_001 + b"1]}"
    assert read_error(500, body).kind == ""


@given(
    st.integers(100, 599),
    st.binary(max_size=100)
    | st.recursive(st.none() | st.text(max_size=9), st.lists).map(lambda v: json.dumps(v).encode()),
)
def test_no_answer_whatever_breaks_the_table(status, body):
    assert read_error(status, body).status == status
    assert judge_error(Operation.UPSCALE, status, body) is not None
