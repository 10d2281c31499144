"""`__name__` in a prompt: SD.Next puts a random line of one of its own text files there; here it stays a text.

Those files are the operator's, any tenant could read them line by line, and a line may hold a tag that nobody checked
(decision 0050). Servers that the gateway manages have the option switched off; this keeps the text from meaning
anything to the others as well.
"""

from __future__ import annotations

import re

from gateway.domain.tags import outside_tags

_MARK = "__"
_MARKS = re.compile(r"_{2,}+")
WILDCARD = "__...__"
"""How a wildcard is told in `X-Gateway-Adjusted`: its name is the caller's text."""


def without_wildcards(text: str) -> str:
    """The text with single underscores, where two pairs of them could stand for a file; tags stay as they are."""
    if text.count(_MARK) < 2:  # noqa: PLR2004 - one pair alone means nothing
        return text
    return outside_tags(text, lambda part: _MARKS.sub("_", part))
