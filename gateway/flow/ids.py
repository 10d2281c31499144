"""Fresh ids: of jobs, operations and processes. Random, so that no two processes ever mint the same."""

from __future__ import annotations

import secrets


def new_id() -> str:
    """96 random bits in hex."""
    return secrets.token_hex(12)
