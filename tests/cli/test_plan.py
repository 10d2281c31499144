from __future__ import annotations


def test_a_new_database_has_the_standard_plan_with_its_defaults(gateway):
    [standard] = gateway.json("plan", "list")

    wanted = {
        "name": "standard",
        "requests_per_minute": 60.0,
        "burst": 20,
        "max_concurrency": 2,
        "max_queued": 16,
        "max_wait_s": 90.0,
        "images_per_day": None,
        "gpu_seconds_per_month": None,
        "body_bytes": 32_000_000,
        "generated_pixels": 4_200_000,
        "upscaled_pixels": 34_000_000,
        "steps": 150,
        "images_per_call": 8,
    }
    assert standard.items() >= wanted.items()


def test_a_plan_has_the_limits_given_and_the_standard_ones_for_the_rest(gateway):
    gateway("plan", "create", "big", "requests_per_minute=120", "images_per_day=5_000", "steps=200")

    big, standard = gateway.json("plan", "list")

    changed = {"name": "big", "requests_per_minute": 120, "images_per_day": 5000, "steps": 200}
    assert big == standard | changed | {"created_at": 1_800_000_000.0}


def test_a_quota_is_ended_with_none(gateway):
    gateway("plan", "set", "standard", "images_per_day=10", "max_queued=0")
    gateway("plan", "set", "standard", "images_per_day=none")

    standard = gateway.json("plan", "show", "standard")

    assert (standard["images_per_day"], standard["max_queued"], standard["version"]) == (None, 0, 3)


def test_what_is_no_limit_is_told_with_the_nearest(gateway):
    assert "did you mean images_per_day?" in gateway("plan", "set", "standard", "image_per_day=3", status=2)
    assert "write it as name=value" in gateway("plan", "set", "standard", "steps", status=2)
    assert "steps must be a whole number" in gateway("plan", "set", "standard", "steps=1.5", status=2)
    assert "burst must be above 0" in gateway("plan", "create", "x", "burst=0", status=2)
    assert "requests_per_minute must be a number" in gateway("plan", "create", "x", "requests_per_minute=nan", status=2)
    assert gateway.json("plan", "show", "standard")["version"] == 1
