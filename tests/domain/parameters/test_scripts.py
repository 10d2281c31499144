import json

import pytest

from gateway.domain.errors import BodyTooLarge, InvalidRequest, NeverRunnable
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.rendering import render
from tests.domain.pool import GPU, PICTURE, b64, context, png_head, shaped

CTX = context(operator=OperatorPolicy(scripts={"xyz grid": 9.0, "loopback": 1.0}, alwayson_scripts={"nudenet": 1.0}))


@pytest.mark.parametrize(
    "fields", [{"script_name": "", "script_args": [1]}, {"script_name": "None"}, {"script_args": ["/etc"]}]
)
def test_no_script_has_no_arguments(fields):
    assert shaped(fields).fields.keys().isdisjoint({"script_name", "script_args"})


def test_a_script_that_is_not_allowed_is_named():
    with pytest.raises(
        InvalidRequest, match=r'The script "prompts from file" is not allowed here\. Allowed: loopback, xyz grid'
    ):
        shaped({"script_name": "prompts from file"}, CTX)
    with pytest.raises(InvalidRequest, match="ADetailer"):
        shaped({"alwayson_scripts": {"ADetailer": {"args": [{}]}}}, CTX)


def test_empty_alwayson_scripts_are_dropped_whoever_allows_them():
    fields = {"alwayson_scripts": {"controlnet": {}, "adetailer": {"args": []}, "animatediff": None}}
    assert "alwayson_scripts" not in shaped(fields).fields


def test_an_allowed_script_that_no_backend_has_can_never_run():
    with pytest.raises(NeverRunnable, match='script "loopback"'):
        shaped({"script_name": "loopback"}, CTX)


@pytest.mark.parametrize("start", ["", "!", "\n ", "\u00e9" * 100])
def test_a_short_picture_is_one_too_also_with_what_a_lenient_reader_skips(start):
    bomb = start + b64(png_head(30_000, 30_000))
    with pytest.raises((InvalidRequest, BodyTooLarge)):
        shaped({"script_name": "xyz grid", "script_args": [bomb]}, CTX)


def test_arguments_are_searched_for_tags_and_pictures():
    args = ["<lora:Ink Wash:1>", ["plain", {"k": "data:image/png;base64," + PICTURE}], 1.5, True, None]
    request = shaped({"script_name": "XYZ Grid", "script_args": args}, CTX)
    sent = json.loads(render(request, GPU))
    assert sent["script_name"] == "xyz grid"
    assert sent["script_args"] == [
        "<lora:inky:1>",
        ["plain", {"k": "data:image/png;base64," + PICTURE}],
        1.5,
        True,
        None,
    ]
    assert request.uses_lora


@pytest.mark.parametrize(
    "value",
    [
        *(
            "/etc/passwd",
            "C:\\x",
            "\\\\host\\share",
            "~/x",
            "../x",
            "./x",
            "http://x/y",
            "file:///x",
            "upload:1",
            " /x",
            "s3://b/k",
        ),
        *(10**30, "x" * 5_000, "data:text/plain;base64,AAAA"),
    ],
)
def test_no_argument_points_at_anything_on_a_server(value):
    with pytest.raises(InvalidRequest):
        shaped({"script_name": "xyz grid", "script_args": [[{"a": value}]]}, CTX)


def test_too_many_arguments_are_refused():
    with pytest.raises(InvalidRequest, match="more than 2000"):
        shaped({"script_name": "xyz grid", "script_args": [0] * 3_000}, CTX)


def test_an_alwayson_script_keeps_only_its_arguments():
    request = shaped({"alwayson_scripts": {"NudeNet": {"args": [1], "enabled": True}}}, CTX)
    assert request.fields["alwayson_scripts"] == {"nudenet": {"args": [1]}}
    with pytest.raises(InvalidRequest, match="must be an object"):
        shaped({"alwayson_scripts": {"nudenet": [1]}}, CTX)


@pytest.mark.parametrize(
    ("args", "said"),
    [(["<a:b>" * 400] * 6, 'more than 2000 of "<"'), ([" " * 3_900] * 60, "more than 200000 characters")],
)
def test_arguments_together_hold_no_more_text_and_tags_than_are_read_at_once(args, said):
    with pytest.raises(InvalidRequest, match=said):
        shaped({"script_name": "xyz grid", "script_args": args}, CTX)


def test_a_wildcard_in_an_argument_reads_no_file_of_a_server():
    request = shaped({"script_name": "xyz grid", "script_args": ["__colours__"]}, CTX)
    assert request.fields["script_args"] == ["_colours_"]
