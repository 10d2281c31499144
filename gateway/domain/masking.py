"""Text of backends and of errors, as callers and logs may see it: without secrets, paths, addresses and URLs.

Every pattern here takes linear time, and only the beginning of a text is looked at. Rather too much is hidden than too
little: a sentence without one of its words can still be understood.
"""

from __future__ import annotations

import re

SAID_CHARACTERS = 300
_READ_CHARACTERS = 2_000
_SECRET = "[secret]"  # noqa: S105 - what stands in its place
_SECRET_WORDS = ("key", "keys", "token", "tokens", "secret", "password", "passwd", "passphrase", "pwd", "signature")
_SECRET_NAMES = frozenset({"auth", "pass", "credential", "credentials", "session", "sessionid", "sig"})
_WHOLE_LINES = ("authorization", "cookie")

_URL = re.compile(r"(?<![\w+.-])[\w+.-]++://\S*+")
_NAME = re.compile(r"""(?<![\w-])([\w-]++)["'\\]*+\s*+[:=]+\s*+""")
_VALUE = re.compile(r"""\\*+"[^"]*+"?|\\*+'[^']*+'?|(?:(?i:bearer|basic|digest|token)\s++)?[^\s"']++""")
_LINE = re.compile(r"""\\*+"[^"]*+"?|\\*+'[^']*+'?|[^\n]++""")
_SCHEME = re.compile(r"""(?<![\w-])(?:(?i:bearer)|(?i:basic)(?=\s++[a-z]*+[A-Z0-9+/=]))\s++[^\s'",]{4,}+""")
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_|sk[-_]|[pr]k_|gh[opsu]_|github_pat_|glpat-|xox[abprs]-|A[KS]IA|AIza|ya29\.|eyJ|ga-)"
    r"[A-Za-z0-9_.+/=-]{6,}+"
)
_USER = re.compile(r"""(?<![^\s'",])[^\s'",:@/]++:[^\s'",@/]++@[^\s'",]++""")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|\[?(?:(?:[0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f:.]{0,40}|::[0-9A-Fa-f:.]{1,40}"
    r"|(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4})\]?)(?::\d{1,5})?(?!\w)"
)
_PATH = re.compile(
    r"""(?<=')(?:[a-zA-Z]:[\\/]|\\\\|~?/)[^'\n]++|(?<=")(?:[a-zA-Z]:[\\/]|\\\\|~?/)[^"\n]++"""
    r"""|(?<![^\s'"(=\[:])(?:[a-zA-Z]:[\\/]|\\\\|~?/)[^\s'",)\]]++"""
)


def masked(text: str, most: int = SAID_CHARACTERS) -> str:
    """The text on one line of at most `most` characters, with a word in brackets for each thing that is nobody's
    business.
    """
    text = _beginning(text, max(most, _READ_CHARACTERS))
    text = _without_named_secrets(_URL.sub("[url]", text))
    for pattern, word in ((_SCHEME, _SECRET), (_TOKEN, _SECRET), (_USER, _SECRET)):
        text = pattern.sub(word, text)
    text = _PATH.sub("[path]", _ADDRESS.sub("[address]", text))
    return " ".join(text.split())[:most]


def _beginning(text: str, most: int) -> str:
    """So much of it, without the piece of a word at the end: half a secret has not its form."""
    if len(text) <= most:
        return text
    head, blank, _ = text[:most].rpartition(" ")
    return head if blank else text[:most]


def _without_named_secrets(text: str) -> str:
    """`token=...`, `"api_key": "..."`, `Authorization: Bearer ...` without what stands behind the name."""
    parts, at = [], 0
    for name in _NAME.finditer(text):
        word = name[1].lower()
        if name.start() < at or not _is_of_a_secret(word):
            continue
        is_whole_line = word.endswith(_WHOLE_LINES)
        value = _LINE.match(text, name.end()) if is_whole_line else _VALUE.match(text, name.end())
        if value is not None:
            parts += [text[at : name.end()], _SECRET]
            at = value.end()
    return "".join((*parts, text[at:]))


def _is_of_a_secret(word: str) -> bool:
    last = word.replace("-", "_").rpartition("_")[2]
    return last in _SECRET_NAMES or word.endswith((*_SECRET_WORDS, *_WHOLE_LINES))
