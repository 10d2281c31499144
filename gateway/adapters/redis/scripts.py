"""The Lua scripts, read from `lua/` with the prelude before each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

NAMES = (
    "enter",
    "leave",
    "requeue",
    "heartbeat",
    "poll",
    "grant",
    "hold",
    "publish",
    "resign",
    "restore",
    "tally",
    "options",
    "look",
    "show",
    "queue",
    "foretell",
    "expect",
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text as the server gets it, and the SHA-1 under which the server keeps it."""

    name: str
    text: str
    sha: str


@cache
def load_script(name: str) -> Script:
    """The script of that name; each of `NAMES` exists."""
    folder = resources.files("gateway.adapters.redis") / "lua"
    text = (folder / "prelude.lua").read_text() + (folder / f"{name}.lua").read_text()
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
