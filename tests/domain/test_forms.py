from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.backends import Backend
from gateway.domain.errors import InvalidRequest
from gateway.domain.forms import (
    changed,
    check,
    check_name,
    described,
    grants_as_json,
    grants_of_json,
    overrides_as_json,
    overrides_of_json,
)
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import AdminToken, KeptBackend, KeptPlan, Key, Role, Tenant
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Caps, Plan

KEY = Key("k_1", "t_1", "laptop", "a-digest", "sk-abcde", old_digest="an-old-digest")
TENANT = Tenant("t_1", "acme")

globs = st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple)
names = st.builds(Names, globs, globs)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["models", "allow", "force", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["models", "loras", "allow", "deny", "force", "forbid", "minimum", "maximum", "steps"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.builds(Grants, names, names, names))
def test_grants_are_read_as_they_were_written(grants):
    assert grants_of_json(grants_as_json(grants)) == grants


@given(anything)
def test_any_json_is_read_or_refused_with_a_sentence(value):
    for read, write in ((grants_of_json, grants_as_json), (overrides_of_json, overrides_as_json)):
        try:
            found = read(value)
        except InvalidRequest as error:
            refusal = error
            found = None
        assert found is None or read(write(found)) == found
        assert found is not None or (str(refusal).endswith(".") and refusal.field)


def test_an_absent_kind_of_grant_is_everything_and_a_bare_list_is_what_is_allowed():
    assert grants_of_json({"models": ["sdxl*"], "loras": {"deny": ["x"]}}) == Grants(
        models=Names(("sdxl*",)), upscalers=Names(("*",)), loras=Names(("*",), ("x",))
    )


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "grants"),
        ({"model": ["*"]}, "model cannot stand here"),
        ({"models": "*"}, "grants.models"),
        ({"models": {"allowed": []}}, "allowed cannot stand here"),
        ({"models": {"allow": [""]}}, "grants.models.allow"),
        ({"models": {"deny": [1]}}, "grants.models.deny"),
    ],
)
def test_grants_that_cannot_be_read_say_where(value, where):
    with pytest.raises(InvalidRequest, match=where):
        grants_of_json(value)


def test_a_bare_object_of_overrides_is_forced():
    assert overrides_of_json({"steps": 20, "width": 512}) == Overrides(force={"steps": 20, "width": 512})
    assert overrides_of_json({}) == Overrides()


def test_overrides_are_read_with_all_their_parts():
    written = {
        "force": {"a": 1},
        "default": {"b": [2]},
        "forbid": ["c", "d"],
        "minimum": {"e": 1},
        "maximum": {"e": 2.5},
    }

    overrides = overrides_of_json(written)

    assert overrides == Overrides({"a": 1}, {"b": [2]}, frozenset({"c", "d"}), {"e": 1}, {"e": 2.5})
    assert overrides_as_json(overrides) == written


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "must be a JSON object"),
        ({"force": {}, "steps": 1}, "steps cannot stand here"),
        ({"force": []}, "overrides.force"),
        ({"forbid": "x"}, "overrides.forbid"),
        ({"maximum": {"steps": "20"}}, "overrides.maximum.steps must be a number"),
        ({"maximum": {"steps": True}}, "overrides.maximum.steps must be a number"),
        ({"minimum": {"steps": float("nan")}}, "without NaN or Infinity"),
        ({"force": {"extra": [float("inf")]}}, "without NaN or Infinity"),
        ({"steps": {1, 2}}, "plain JSON"),
        ({"minimum": {"steps": 3}, "maximum": {"steps": 2}}, "the minimum of steps is above its maximum"),
    ],
)
def test_overrides_that_cannot_be_used_say_why(value, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        overrides_of_json(value)


def test_a_description_holds_no_secret_and_no_digest():
    token = AdminToken("a_1", "ops", "a-digest", "ga-abcde", Role.ADMIN)
    backend = KeptBackend(Backend("gpu-1", "http://h:1", "u", "hidden"))

    told = str([described(thing) for thing in (KEY, token, backend)])

    assert not [secret for secret in ("a-digest", "an-old-digest", "hidden") if secret in told]


def test_a_plan_is_described_and_changed_by_the_names_of_its_limits_on_one_level():
    plan = KeptPlan(Plan(name="big"), created_at=5.0)

    after = changed(plan, {"burst": 7, "steps": 99})

    assert after == KeptPlan(Plan(name="big", burst=7, caps=Caps(steps=99)), created_at=5.0)
    told = described(after)
    assert (told["burst"], told["steps"], told["created_at"], "caps" in told) == (7, 99, 5.0, False)


@pytest.mark.parametrize(
    ("thing", "field"), [(TENANT, "id"), (TENANT, "version"), (KEY, "digest"), (KEY, "revoked_at"), (KEY, "tenant_id")]
)
def test_what_no_operator_may_set_is_refused(thing, field):
    with pytest.raises(InvalidRequest, match=f"{field} cannot be set"):
        changed(thing, {field: 1})


@pytest.mark.parametrize("text", ["a\0", "a\nb", "\ud800"])
def test_a_text_that_a_database_could_not_keep_is_refused_by_its_field(text):
    backend = KeptBackend(Backend("gpu-1", "http://h:1", password=text))

    for thing, field in ((replace(KEY, default_model=text), "default_model"), (backend, "password")):
        with pytest.raises(InvalidRequest, match="control characters") as caught:
            check(thing)
        assert caught.value.field == field


@pytest.mark.parametrize("name", ["a", "acme", "Ünïcode 2", "a.b_c@d+e-f", "9" * 64])
def test_a_name_that_can_be_typed_is_kept(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", " a", "-a", ".a", "a/b", "a\nb", "a\n", "9" * 65, "a\0"])
def test_a_name_that_would_be_mistaken_is_refused(name):
    with pytest.raises(InvalidRequest, match="cannot be a name"):
        check_name(name)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_queued": 0, "max_wait_s": 0},
        {"images_per_day": 0, "gpu_seconds_per_day": 0.5},
        {"images_per_month": None},
        {"requests_per_minute": 10**9},
    ],
)
def test_a_plan_with_limits_that_make_sense_is_kept(limits):
    check(changed(KeptPlan(Plan()), limits))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("burst", 0),
        ("burst", 1.5),
        ("burst", None),
        ("burst", True),
        ("burst", "5"),
        ("steps", -1),
        ("weight", 0.0),
        ("weight", float("nan")),
        ("weight", float("inf")),
        ("max_wait_s", -0.1),
        ("images_per_day", -1),
        ("images_per_day", 2.5),
        ("body_bytes", 10**9 + 1),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_its_name(field, value):
    with pytest.raises(InvalidRequest, match=field) as caught:
        check(changed(KeptPlan(Plan()), {field: value}))

    assert caught.value.field == field


@pytest.mark.parametrize("address", ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1"])
def test_an_address_or_network_may_stand_in_a_keys_list(address):
    check(replace(KEY, addresses=(address,)))


@pytest.mark.parametrize("address", ["", "localhost", "192.0.2.0/8", "300.1.1.1", "192.0.2.1:80"])
def test_what_is_no_network_is_refused_in_a_keys_list(address):
    with pytest.raises(InvalidRequest, match="no address or network"):
        check(replace(KEY, addresses=(address,)))
