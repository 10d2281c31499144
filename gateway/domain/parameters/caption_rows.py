"""The policy table of `caption`: what words a picture is described with (SD.Next's schemas of both its backends)."""

from __future__ import annotations

from gateway.domain.parameters.table import Does, Table, choice, drops, flags, floats, ints, raws, table_of, text

OPENCLIP, TAGGER = "openclip", "tagger"

CAPTION: Table = table_of(
    raws("image"),
    choice("backend", OPENCLIP, TAGGER),
    text("model", most=200, does=Does.RESOLVE),
    choice("mode", "best", "fast", "classic", "caption", "negative"),
    floats(0, 1, "threshold", "character_threshold"),
    ints(1, 512, "max_tags"),
    ints(1, 512, "max_length"),
    flags("include_rating", "sort_alpha", "use_spaces", "escape_brackets", "show_scores"),
    text("exclude_tags", most=2_000),
    text("force_task_id", most=200, does=Does.RESOLVE),
    drops("clip_model", "blip_model", "question", "prompt", "system", "prefill"),
    drops("url", "auth"),
)
"""Field -> policy. Which `model` may be named is the operator's choice: a server fetches what it does not have."""
