from __future__ import annotations


def test_a_tenant_is_created_listed_and_shown(gateway):
    created = gateway.json("tenant", "create", "acme", "--model", "sdxl*", "--model", "!*private*")

    assert created == {
        "id": created["id"],
        "name": "acme",
        "plan": "standard",
        "grants": {
            "models": {"allow": ["sdxl*"], "deny": ["*private*"]},
            "upscalers": {"allow": ["*"], "deny": []},
            "loras": {"allow": ["*"], "deny": []},
        },
        "created_at": 1_800_000_000.0,
        "version": 1,
    }
    assert gateway.json("tenant", "list") == [created]
    assert gateway.json("tenant", "show", "acme") == gateway.json("tenant", "show", created["id"]) == created


def test_setting_one_thing_leaves_the_others(gateway):
    created = gateway.json("tenant", "create", "acme", "--model", "sdxl*", "--lora", "none")

    changed = gateway.json("tenant", "set", "acme", "--name", "acme corp", "--model", "!flux*")

    grants = created["grants"] | {"models": {"allow": ["*"], "deny": ["flux*"]}}
    assert changed == created | {"name": "acme corp", "grants": grants, "version": 2}


def test_an_unknown_tenant_is_answered_with_the_nearest_names(gateway):
    gateway("tenant", "create", "acme")

    told = gateway("tenant", "show", "amce", status=1)

    assert told == 'gateway: There is no tenant "amce". Did you mean acme?\n'


def test_a_plan_that_does_not_exist_is_told_and_nothing_is_kept(gateway):
    told = gateway("tenant", "create", "acme", "--plan", "standart", status=1)

    assert told == 'gateway: There is no plan "standart". Did you mean standard?\n'
    assert gateway.json("tenant", "list") == []


def test_a_name_in_use_is_told(gateway):
    gateway("tenant", "create", "acme")

    assert "already" in gateway("tenant", "create", "acme", status=1)


def test_a_name_that_cannot_be_one_is_a_misuse(gateway):
    assert '"a/b" cannot be a name' in gateway("tenant", "create", "a/b", status=2)


def test_a_list_for_people_has_aligned_columns(gateway):
    gateway("tenant", "create", "acme")
    gateway("tenant", "create", "a much longer name")

    head, *lines = gateway("tenant", "list").splitlines()

    assert head.split() == ["name", "plan", "id", "created_at"]
    assert {line.index("standard") for line in lines} == {head.index("plan")}
    assert all(line.endswith("2027-01-15 08:00:00") for line in lines)
