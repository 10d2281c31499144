"""Who calls, and what they may use.

A key's secret is shown once and never stored: only its SHA-256 and a visible prefix are. Grants are globs over names,
and a deny wins over every allow.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gateway.domain.overrides import Overrides
from gateway.domain.plans import Plan

KEY_FORM = re.compile(r"sk-[A-Za-z0-9_-]{17,}")  # at least 20 characters in all
_PREFIX_CHARACTERS = 8


def has_key_form(text: str) -> bool:
    """Whether `text` could be a key: `sk-` and letters, digits, `_`, `-`, at least 20 characters in all."""
    return KEY_FORM.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """The SHA-256 of a key, in hex: what is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def prefix_of(secret: str) -> str:
    """The part of a key that may be shown in lists and logs."""
    return secret[:_PREFIX_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Names:
    """A set of names written as globs, compared without case; `deny` wins."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        low = str(name).lower()
        return not _matches(low, self.deny) and _matches(low, self.allow)


def _matches(low: str, globs: tuple[str, ...]) -> bool:
    # A name is also itself: in `name [hash]` a glob would read the brackets as a set of characters.
    return any(low == glob.lower() or fnmatchcase(low, glob.lower()) for glob in globs)


@dataclass(frozen=True, slots=True)
class Grants:
    """What a key may use, by name in the catalogue (`name`, or `name [hash]` where two share a name)."""

    models: Names = Names()
    upscalers: Names = Names()
    loras: Names = Names()


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid key with all that follows from it. `expires_at` in seconds since the epoch, None for never."""

    key_id: str
    key_prefix: str
    tenant_id: str
    tenant_name: str
    plan: Plan
    grants: Grants = Grants()
    overrides: Overrides = field(default_factory=Overrides)
    default_model: str = ""
    expires_at: float | None = None
