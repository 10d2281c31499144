"""The policy table of extra-single-image (SD.Next's schema, and the A1111 fields SD.Next ignores)."""

from __future__ import annotations

from gateway.domain.parameters.table import Does, Table, drops, flags, floats, ints, raws, table_of, text

_BIG = 1_000_000_000
LARGEST_FACTOR = 8.0

UPSCALE: Table = table_of(
    raws("image"),
    text("upscaler_1", "upscaler_2", most=200, does=Does.RESOLVE),
    floats(0, 1, "resize_mode", does=Does.PRICE),
    floats(1, LARGEST_FACTOR, "upscaling_resize", does=Does.CAP),
    ints(1, _BIG, "upscaling_resize_w", "upscaling_resize_h", does=Does.CAP),
    flags("upscaling_crop"),
    floats(0, 1, "extras_upscaler_2_visibility"),
    text("force_task_id", most=200, does=Does.RESOLVE),
    drops("show_extras_results", quiet=(True, False)),
    drops("gfpgan_visibility", "codeformer_visibility", "codeformer_weight", quiet=(0,)),
    drops("upscale_first", quiet=(False,)),
    drops("script_args", quiet=({},)),
    drops("save_images", quiet=(False,)),
    drops("url", "auth"),
)
"""Field -> policy, for an upscale."""
