from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import Grants, Names
from gateway.domain.managed import BoundCaller, EditConflict, Key, Narrowed, UnknownName, narrowed
from gateway.domain.plans import Plan

globs = st.lists(st.sampled_from(["*", "a*", "*b", "ab", "c"]), max_size=3).map(tuple)
names = st.builds(Names, globs, globs)
words = st.sampled_from(["", "a", "ab", "AB", "b", "c", "cb"])


@given(words, names, names)
def test_a_name_is_granted_if_key_and_tenant_both_grant_it(word, own, within):
    together = narrowed(Grants(own, own, own), Grants(within, within, within))

    both = word in own and word in within
    assert [word in part for part in (together.models, together.upscalers, together.loras)] == [both] * 3


def test_a_tenant_without_bounds_leaves_the_keys_grants_as_they_are():
    own = Grants(models=Names(("sdxl*",)))

    assert narrowed(own, Grants()) == own
    assert not isinstance(narrowed(own, Grants()).models, Narrowed)


CALLER = BoundCaller("k", "sk-", "t", "acme", Plan(), addresses=("192.0.2.0/24", "198.51.100.7", "2001:db8::/32"))


@pytest.mark.parametrize("address", ["192.0.2.255", "198.51.100.7", "2001:db8::9", "::ffff:192.0.2.1"])
def test_a_key_may_be_used_from_the_addresses_of_its_list(address):
    assert CALLER.may_call_from(address)


@pytest.mark.parametrize("address", ["192.0.3.0", "198.51.100.8", "2001:db9::", "::ffff:192.0.3.1", "", "localhost"])
def test_a_key_may_not_be_used_from_elsewhere(address):
    assert not CALLER.may_call_from(address)
    assert replace(CALLER, addresses=()).may_call_from(address)


def test_a_key_is_never_printed_with_its_digest():
    assert "a-digest" not in repr(Key("k", "t", "n", "a-digest", "sk-", old_digest="a-digest"))


def test_facts_name_the_cause_and_the_way_out():
    assert str(EditConflict("tenant", "acme", 3)) == (
        'The tenant "acme" is no longer at version 3. Read it again and repeat the change.'
    )
    assert str(UnknownName("plan", "bg", ["big", "bug"])) == 'There is no plan "bg". Did you mean big or bug?'
    assert str(UnknownName("plan", "x")) == 'There is no plan "x". The list of plans shows what there is.'
