import pytest

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.parameters import OperatorPolicy
from tests.domain.pool import PICTURE, b64, context, png_head, shaped

CTX = context(operator=OperatorPolicy(allow_control_units=True, allow_ip_adapter=True, allow_face=True))
UNIT = {
    "process": "canny edge",
    "model": "CANNY",
    "strength": "0.5",
    "start": 0,
    "end": 1,
    "image": PICTURE,
    "override": None,
}


def test_a_control_unit_is_rebuilt_with_names_of_the_catalogue_and_checked_pictures():
    request = shaped({"control_units": [UNIT | {"process_params": {"x": "/etc"}}]}, CTX)
    unit = dict(request.fields["control_units"][0])
    assert bytes(unit.pop("image")).decode().strip('"') == PICTURE
    assert unit == {"process": "Canny Edge", "model": "Canny", "strength": 0.5, "start": 0, "end": 1}
    assert request.adjustments == ("control_units[0].process_params (dropped)",)
    assert ("control_models", "Canny") in request.requirements.things


@pytest.mark.parametrize("field", ["control_units", "ip_adapter", "face"])
def test_without_the_operators_leave_they_are_dropped_and_told(field):
    request = shaped({field: [{"image": "x"}]})
    assert field not in request.fields
    assert request.adjustments == (f"{field} (dropped)",)


@pytest.mark.parametrize("empty", [[], {}])
def test_empty_ones_are_nothing(empty):
    assert shaped({"control_units": empty, "ip_adapter": empty}).adjustments == ()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"control_units": [UNIT | {"model": "acme/unknown"}]}, r"control_units\[0\]\.model"),
        ({"control_units": [UNIT | {"image": "/etc/passwd"}]}, r"control_units\[0\]\.image"),
        ({"control_units": [UNIT | {"strength": "strong"}]}, "strength"),
        ({"control_units": [7]}, r"control_units\[0\]"),
        ({"control_units": {}, "ip_adapter": [{"images": [PICTURE, "http://x"]}]}, r"ip_adapter\[0\]\.images\[1\]"),
        ({"ip_adapter": [{"masks": "x"}]}, "masks"),
        ({"ip_adapter": [{}] * 9}, "at most 8"),
        ({"face": {"source_images": ["upload:1"]}}, r"face\.source_images\[0\]"),
    ],
)
def test_what_cannot_be_used_is_named(fields, where):
    with pytest.raises(InvalidRequest, match=where):
        shaped(fields, CTX)


def test_nested_pictures_are_capped_too():
    with pytest.raises(BodyTooLarge):
        shaped({"ip_adapter": [{"adapter": "base", "images": [b64(png_head(30_000, 30_000))]}]}, CTX)


def test_a_face_keeps_its_numbers_and_never_a_models_name():
    fields = {
        "init_images": [PICTURE],
        "face_id": {"mode": "FaceID", "ip_model": "acme/x", "ip_strength": 1, "source_images": []},
    }
    request = shaped(fields, CTX, Operation.IMG2IMG)
    assert request.fields["face_id"] == {"mode": "FaceID", "ip_strength": 1, "source_images": []}
    assert request.adjustments == ("face_id.ip_model (dropped)",)
