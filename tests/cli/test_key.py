from __future__ import annotations

import re
import sqlite3

import pytest

DAY = 86_400.0


@pytest.fixture
def acme(gateway):
    return gateway.json("tenant", "create", "acme")


def test_a_secret_is_written_once_and_kept_nowhere(gateway, acme):
    told = gateway("key", "create", "acme", "laptop")
    [secret] = re.findall(r"sk-[A-Za-z0-9_-]{32}", told)

    for words in (("key", "list"), ("key", "show", "acme/laptop"), ("key", "list", "--json")):
        assert secret not in gateway(*words)
    with sqlite3.connect(gateway.url.removeprefix("sqlite:///")) as database:
        assert secret not in "\n".join(database.iterdump())
    database.close()


def test_a_key_is_created_with_everything_a_key_can_have(gateway, acme):
    created = gateway.json(
        *("key", "create", "acme", "laptop", "--expires", "30d", "--overrides", '{"steps": 20}'),
        *("--model", "sdxl*", "--default-model", "sdxl-base", "--address", "192.0.2.0/24", "--address", "2001:db8::1"),
        "--allow-path",
    )

    assert created.pop("secret").startswith(created["prefix"])
    assert created == {
        "id": created["id"],
        "tenant_id": acme["id"],
        "name": "laptop",
        "prefix": created["prefix"],
        "old_prefix": "",
        "old_valid_until": None,
        "created_at": gateway.now,
        "expires_at": gateway.now + 30 * DAY,
        "revoked_at": None,
        "grants": acme["grants"] | {"models": {"allow": ["sdxl*"], "deny": []}},
        "overrides": {"force": {"steps": 20}},
        "default_model": "sdxl-base",
        "addresses": ["192.0.2.0/24", "2001:db8::1"],
        "allows_path": True,
        "version": 1,
    }


def test_setting_one_thing_of_a_key_leaves_the_others(gateway, acme):
    created = gateway.json("key", "create", "acme", "a", "--expires", "1d", "--address", "192.0.2.1", "--lora", "x*")
    del created["secret"]

    changed = gateway.json("key", "set", "acme/a", "--expires", "never", "--any-address", "--model", "flux*")

    grants = created["grants"] | {"models": {"allow": ["flux*"], "deny": []}}
    assert changed == created | {"expires_at": None, "addresses": [], "grants": grants, "version": 2}


def test_overrides_come_from_a_file_or_standard_input_too(gateway, acme, tmp_path):
    (tmp_path / "o.json").write_text('{"forbid": ["script_name"], "maximum": {"width": 1024}}')
    gateway("key", "create", "acme", "a", "--overrides", f"@{tmp_path}/o.json")

    assert gateway.json("key", "show", "acme/a")["overrides"] == {"forbid": ["script_name"], "maximum": {"width": 1024}}
    gateway("key", "set", "acme/a", "--overrides", "-", given="{}")
    assert gateway.json("key", "show", "acme/a")["overrides"] == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--overrides", "{steps: 20}"], "The overrides are no JSON"),
        (["--overrides", '{"force": {}, "steps": 20}'], "steps cannot stand here"),
        (["--overrides", "@/nowhere/o.json"], "cannot be read"),
        (["--expires", "soon"], '"soon" is no date'),
        (["--address", "192.0.2.0/8"], "is no address or network"),
        (["--secret-file", "/nowhere/secret"], "cannot be read"),
    ],
)
def test_an_option_that_cannot_be_read_is_told_and_no_key_is_made(gateway, acme, words, sentence):
    assert sentence in gateway("key", "create", "acme", "a", *words, status=2)
    assert gateway.json("key", "list") == []


def test_a_secret_of_ones_own_must_have_a_keys_form_and_be_nobodys(gateway, acme):
    own = "sk-my-own-secret-of-some-length"

    assert gateway.json("key", "create", "acme", "a", "--secret-file", "-", given=own)["secret"] == own
    assert "belongs to a key already" in gateway(
        "key", "create", "acme", "b", "--secret-file", "-", given=own, status=2
    )
    assert "must be sk-" in gateway("key", "create", "acme", "b", "--secret-file", "-", given="short", status=2)


def test_rotating_changes_the_secret_and_nothing_else(gateway, acme):
    created = gateway.json("key", "create", "acme", "a", "--default-model", "m")

    rotated = gateway.json("key", "rotate", "acme/a", "--overlap", "15m")

    assert rotated["secret"] != created["secret"]
    changed = {
        "secret": rotated["secret"],
        "prefix": rotated["secret"][:8],
        "old_prefix": created["prefix"],
        "old_valid_until": gateway.now + 900.0,
        "version": 2,
    }
    assert rotated == created | changed


def test_a_revoked_key_stays_revoked(gateway, acme):
    gateway("key", "create", "acme", "a")
    gateway("key", "revoke", "acme/a")
    gateway.now += 5.0

    assert gateway.json("key", "revoke", "acme/a")["revoked_at"] == gateway.now - 5.0
    assert "revoked for good" in gateway("key", "rotate", "acme/a", status=2)


def test_keys_are_listed_by_tenant(gateway, acme):
    gateway("tenant", "create", "other")
    gateway("key", "create", "acme", "a")
    gateway("key", "create", "other", "b")

    gateway("key", "create", "acme", "z")

    assert [key["name"] for key in gateway.json("key", "list", "other")] == ["b"]
    listed = [(key["tenant"], key["name"]) for key in gateway.json("key", "list")]
    assert listed == [("acme", "a"), ("acme", "z"), ("other", "b")]
    assert [line.split()[:2] for line in gateway("key", "list").splitlines()[1:]] == [list(pair) for pair in listed]
    assert gateway.json("key", "show", "acme/z")["tenant"] == "acme"
    assert "Did you mean acme?" in gateway("key", "list", "acmee", status=1)


def test_an_unknown_key_is_answered_with_the_nearest_of_any_tenant(gateway, acme):
    gateway("key", "create", "acme", "laptop")

    assert "Did you mean acme/laptop?" in gateway("key", "show", "acme/latop", status=1)
