from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.sql.rows import form_of
from gateway.domain.backends import Backend
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import AdminToken, KeptBackend, KeptPlan, Key, Role, Tenant
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Caps, Plan

texts = st.text(max_size=20)
times = st.floats(0, 4e9)
maybe_times = st.none() | times
versions = st.integers(1, 10**6)
globs = st.lists(st.text(min_size=1, max_size=10), max_size=3).map(tuple)
names = st.builds(Names, globs, globs)
grants = st.builds(Grants, names, names, names)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
bounds = st.dictionaries(texts, st.floats(-1e6, 0), max_size=3)
upper_bounds = st.dictionaries(texts, st.floats(1, 1e6), max_size=3)
overrides = st.builds(Overrides, objects, objects, st.frozensets(texts, max_size=3), bounds, upper_bounds)
counts = st.integers(0, 10**9)
amounts = st.floats(0, 1e9)
caps = st.builds(Caps, counts, counts, counts, counts, counts, counts, amounts)
plans = st.builds(
    Plan,
    name=texts,
    requests_per_minute=amounts,
    burst=counts,
    max_concurrency=counts,
    max_queued=counts,
    max_wait_s=amounts,
    weight=amounts,
    images_per_day=st.none() | counts,
    images_per_month=st.none() | counts,
    gpu_seconds_per_day=st.none() | amounts,
    gpu_seconds_per_month=st.none() | amounts,
    caps=caps,
)
managed = st.one_of(
    st.builds(Tenant, texts, texts, texts, grants, times, versions),
    st.builds(KeptPlan, plans, times, versions),
    st.builds(
        Key,
        id=texts,
        tenant_id=texts,
        name=texts,
        digest=texts,
        prefix=texts,
        old_digest=st.none() | texts,
        old_prefix=texts,
        old_valid_until=maybe_times,
        created_at=times,
        expires_at=maybe_times,
        revoked_at=maybe_times,
        grants=grants,
        overrides=overrides,
        default_model=texts,
        addresses=globs,
        allows_path=st.booleans(),
        version=versions,
    ),
    st.builds(KeptBackend, st.builds(Backend, texts, texts, texts, texts, st.booleans()), objects, times, versions),
    st.builds(AdminToken, texts, texts, texts, texts, st.sampled_from(Role), times, maybe_times, versions),
)


def through_json_columns(table, row):
    """The row as the database answers it: what stands in JSON columns went through JSON."""
    return {
        name: json.loads(json.dumps(value)) if table.c[name].type.__class__.__name__ == "JSON" else value
        for name, value in row.items()
    }


@given(managed)
def test_what_is_written_into_a_row_is_read_back_the_same(thing):
    form = form_of(type(thing))

    row = form.write(thing)

    assert row.keys() == {column.name for column in form.table.c}
    assert form.read(through_json_columns(form.table, row)) == thing
