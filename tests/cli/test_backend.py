from __future__ import annotations

import pytest


def test_a_backend_is_added_changed_and_removed_and_its_password_never_told(gateway, tmp_path):
    (tmp_path / "password").write_text("hidden\n")
    words = ("--username", "u", "--password-file", f"{tmp_path}/password")
    added = gateway.json("backend", "add", "gpu-1", "http://gpu-1:7860/", *words)

    assert added == {
        "name": "gpu-1",
        "url": "http://gpu-1:7860",
        "username": "u",
        "is_managed": True,
        "old_options": {},
        "created_at": gateway.now,
        "version": 1,
    }
    changed = added | {"url": "https://gpu-1.example:8443/sd", "is_managed": False, "version": 2}
    assert gateway.json("backend", "set", "gpu-1", "--url", changed["url"], "--no-manage") == changed
    assert gateway.json("backend", "list") == [gateway.json("backend", "show", "gpu-1")] == [changed]
    assert "hidden" not in gateway("backend", "show", "gpu-1")
    assert gateway.json("backend", "remove", "gpu-1") == changed
    assert gateway.json("backend", "list") == []


@pytest.mark.parametrize(
    "url",
    ["gpu-1:7860", "ftp://gpu-1", "http://", "http://h:x", "http://h:0", "http://u:p@h", "http://h/?a=b", "http://[1"],
)
def test_what_is_no_address_of_a_server_is_refused(gateway, url):
    gateway("backend", "add", "gpu-1", url, status=2)


def test_one_server_cannot_be_added_twice_under_two_names(gateway):
    gateway("backend", "add", "gpu-1", "http://h:7860")

    gateway("backend", "add", "gpu-2", "http://h:7860", status=1)


def test_an_unknown_backend_is_answered_with_the_nearest_name(gateway):
    gateway("backend", "add", "gpu-1", "http://h:7860")

    assert "Did you mean gpu-1?" in gateway("backend", "remove", "gpu1", status=1)
