"""Which regular expressions can take more than linear time: found in their own automaton, without running them.

A backtracking matcher takes quadratic time or worse when two different loops of a pattern can read the same text one
after the other, and exponential time when one loop can read a text in two ways (Weideman et al., "Analyzing Matching
Time Behavior of Backtracking Regular Expression Matchers", 2016). A search that is not anchored has one loop more than
is written: it begins anew at every character. What cannot be followed by a failure takes linear time all the same.

Repeats of at most `_SHORT` times are no loops. Classes of characters are compared on a sample: every character that
stands in the pattern, its neighbours, and one of each kind. Backreferences cannot be judged and are reported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from re import _constants as op
from re import _parser as parser

_SHORT = 255
_MOST_COPIES = 3
_KINDS = "aZ_0-.:/\\ \t\n\r\x0b\xa0\xe9,;=<>{}[]()|\"'@#~+\x00"
_WIDE = "\u0663\u4e2d\u2028"
_SEARCHES = frozenset({"search", "sub", "subn", "split", "findall", "finditer"})
_METHODS = _SEARCHES | {"match", "fullmatch"}

Chars = frozenset[str]


@dataclass(frozen=True, slots=True)
class Use:
    """A pattern with the way it is used: `search` (also sub, split, ...), `match` or `fullmatch`."""

    pattern: str | bytes
    flags: int = 0
    method: str = "search"
    where: str = ""


class CannotBeJudged(Exception):
    """The pattern has a part that this check does not understand."""


@dataclass(slots=True)
class _Part:
    """A part of a pattern: the positions it may begin and end with, each with the characters that rule it out."""

    may_be_empty: bool = True
    first: list[tuple[int, Chars]] = field(default_factory=list)
    last: list[tuple[int, Chars]] = field(default_factory=list)
    not_when_skipped: Chars = frozenset()


class _Automaton:
    """Glushkov's automaton: one state for each character of the pattern. State 0 is the search for a beginning."""

    def __init__(self, use: Use) -> None:
        self._is_bytes = isinstance(use.pattern, bytes)
        tree = parser.parse(use.pattern, use.flags)
        self._flags = tree.state.flags
        sample = _KINDS + "".join(_characters_in(tree)) + ("" if self._is_bytes else _WIDE)
        self.sample: Chars = frozenset(c for c in sample if not self._is_bytes or ord(c) < 256)
        self.classes: list[Chars] = [self.sample]
        self.follow: list[dict[int, Chars]] = [{}]
        self.doubled: set[tuple[int, int]] = set()
        self.inner: list[Use] = []
        self.has_conditions = use.method == "fullmatch"
        self.is_anchored = use.method != "search"
        items, guards = self._guards(list(tree))
        whole = self.sequence(items, self._flags)
        self.ends = frozenset() if self.has_conditions else frozenset(at for at, _ in whole.last)
        if not self.is_anchored:
            self._begin_anywhere(whole, guards)

    # --- building -----------------------------------------------------------------------------------

    def _guards(self, items: list) -> tuple[list, list[tuple[Chars, Chars]]]:
        """The rest of a pattern behind what must hold where it begins, and that as (not before, then next)."""
        guards = [(frozenset(), self.sample)]
        while items and items[0][0] in (op.AT, op.ASSERT, op.ASSERT_NOT):
            kind, value = items[0]
            if kind is op.AT and value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
                self.is_anchored = self.is_anchored or value is not op.AT_BEGINNING or not self._flags & re.MULTILINE
            elif kind is op.AT and value is op.AT_BOUNDARY:
                word = self._class((op.IN, [(op.CATEGORY, op.CATEGORY_WORD)]), self._flags)
                guards = [(word, word), (self.sample - word, self.sample - word)]
            elif kind is not op.AT and value[0] < 0 and len(value[1]) == 1:
                before = self._class(value[1][0], self._flags)
                guards = [(before if kind is op.ASSERT_NOT else self.sample - before, self.sample)]
            else:
                break
            items = items[1:]
        return items, guards

    def _begin_anywhere(self, whole: _Part, guards: list[tuple[Chars, Chars]]) -> None:
        self.follow[0][0] = self.sample
        for not_before, then in guards:
            gate = 0
            if not_before:
                gate = self._position(self.sample - not_before)
                self.follow[0][gate] = self.classes[gate]
            for at, without in whole.first:
                self._join(gate, at, (self.classes[at] & then) - without)

    def _position(self, chars: Chars) -> int:
        self.classes.append(chars)
        self.follow.append({})
        return len(self.classes) - 1

    def _join(self, one: int, other: int, chars: Chars) -> None:
        known = self.follow[one].get(other, frozenset())
        if known & chars:
            self.doubled.add((one, other))
        if chars:
            self.follow[one][other] = known | chars

    def _class(self, node: tuple, flags: int) -> Chars:
        kind, value = node
        flags |= re.ASCII if self._is_bytes else 0
        if kind is op.ANY:
            return self.sample if flags & re.DOTALL else self.sample - {"\n"}
        items = value if kind is op.IN else [(op.LITERAL, value)]
        found = {c for c in self.sample for item in items if _is_in(c, item, flags)}
        is_negated = kind is op.NOT_LITERAL or (kind is op.IN and items[0][0] is op.NEGATE)
        return self.sample - found if is_negated else frozenset(found)

    def sequence(self, items: list, flags: int) -> _Part:
        whole = _Part()
        for item in items:
            whole = self._then(whole, self._part(item, flags))
        return whole

    def _then(self, one: _Part, other: _Part) -> _Part:
        for end, after in one.last:
            for begin, before in other.first:
                self._join(end, begin, self.classes[begin] - after - before)
        first, last = list(one.first), list(other.last)
        if one.may_be_empty:
            first += [(at, without | one.not_when_skipped) for at, without in other.first]
        if other.may_be_empty:
            last += [(at, without | other.not_when_skipped) for at, without in one.last]
        skipped = one.not_when_skipped | other.not_when_skipped
        return _Part(one.may_be_empty and other.may_be_empty, first, last, skipped)

    def _part(self, item: tuple, flags: int) -> _Part:
        kind, value = item
        if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            at = self._position(self._class(item, flags))
            return _Part(False, [(at, frozenset())], [(at, frozenset())])
        if kind is op.SUBPATTERN:
            return self.sequence(value[3], (flags | value[1]) & ~value[2])
        if kind is op.ATOMIC_GROUP:
            return self.sequence(value, flags)
        if kind is op.BRANCH:
            parts = [self.sequence(choice, flags) for choice in value[1]]
            first, last = [x for part in parts for x in part.first], [x for part in parts for x in part.last]
            return _Part(any(part.may_be_empty for part in parts), first, last)
        if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
            self.has_conditions = True
            return _Part()
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            return self._repeat(value, flags, is_possessive=kind is op.POSSESSIVE_REPEAT)
        raise CannotBeJudged(str(kind))

    def _repeat(self, value: tuple, flags: int, *, is_possessive: bool) -> _Part:
        low, high, items = value
        whole = _Part()
        for _ in range(min(low, _MOST_COPIES)):
            whole = self._then(whole, self.sequence(items, flags))
        if high is op.MAXREPEAT or high > _SHORT or (high > _MOST_COPIES and _has_loop(items)):
            rest = self._loop(items, flags)
        else:
            rest = _Part()
            for _ in range(min(high - low, _MOST_COPIES)):  # a?, a(a?)?, ...: one way to read each text
                rest = self._then(self.sequence(items, flags), rest)
                rest.may_be_empty = True
        if is_possessive:
            chars = frozenset(c for at, without in rest.first for c in self.classes[at] - without)
            rest.last = [(at, without | chars) for at, without in rest.last]
            rest.not_when_skipped = chars
        return self._then(whole, rest)

    def _loop(self, items: list, flags: int) -> _Part:
        body = self.sequence(items, flags)
        for end, after in body.last:
            for begin, before in body.first:
                self._join(end, begin, self.classes[begin] - after - before)
        return _Part(True, body.first, body.last)

    # --- judging ------------------------------------------------------------------------------------

    def problem(self) -> str:
        """What makes it take more than linear time, "" for nothing."""
        loops = [at for at in range(len(self.classes)) if at in self._reached(at)]
        for one, other in self.doubled:
            if one in self._reached(other) and other not in self.ends:
                return f"a repeat within a repeat reads {self._shown(other)} in two ways"
        for later in loops:
            if later in self.ends:
                continue  # a match ends here, and nothing is tried again
            for earlier in loops:
                if earlier != later and later in self._reached(earlier) and self._read_the_same(earlier, later):
                    begins = "every beginning of a search" if earlier == 0 else f"the repeat of {self._shown(earlier)}"
                    return f"{begins} and the repeat of {self._shown(later)} read the same text"
        return ""

    def _shown(self, at: int) -> str:
        return repr("".join(sorted(self.classes[at])[:12]))

    def _reached(self, begin: int) -> set[int]:
        seen, left = set(), [begin]
        while left:
            left += [at for at in self.follow[left.pop()] if at not in seen and not seen.add(at)]
        return seen

    def _read_the_same(self, earlier: int, later: int) -> bool:
        """Whether some text leads from `earlier` to itself, from it to `later`, and from `later` to itself."""
        begin, wanted = (earlier, earlier, later), (earlier, later, later)
        seen, left = {begin}, [begin]
        while left:
            one, two, three = left.pop()
            for a, chars_a in self.follow[one].items():
                for b, chars_b in self.follow[two].items():
                    if not chars_a & chars_b:
                        continue
                    for c, chars_c in self.follow[three].items():
                        state = (a, b, c)
                        if state not in seen and chars_a & chars_b & chars_c:
                            if state == wanted:
                                return True
                            seen.add(state)
                            left.append(state)
        return False


def _characters_in(node: object) -> Iterator[str]:
    """Every character that stands in the pattern, with its neighbours and in the other case."""
    if isinstance(node, int) and not isinstance(node, bool) and type(node) is int:
        for code in (node - 1, node, node + 1):
            if 0 <= code < 0xD800:
                yield from {chr(code), chr(code).lower()[:1], chr(code).upper()[:1]}
    elif isinstance(node, list | tuple | parser.SubPattern):
        for part in node:
            yield from _characters_in(part)


def _has_loop(items: list) -> bool:
    """Whether the items can be of different lengths by more than a few characters."""
    low, high = items.getwidth()
    return high - low > _MOST_COPIES


def _is_in(c: str, item: tuple, flags: int) -> bool:
    kind, value = item
    forms = {c, c.lower(), c.upper()} if flags & re.IGNORECASE else {c}
    if kind is op.LITERAL or kind is op.NOT_LITERAL:
        return any(form == chr(value) for form in forms)
    if kind is op.RANGE:
        return any(len(form) == 1 and value[0] <= ord(form) <= value[1] for form in forms)
    if kind is op.CATEGORY:
        name = str(value).rpartition("CATEGORY_")[2]
        letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[name.removeprefix("NOT_")]
        return bool(re.match("\\" + (letter.upper() if name.startswith("NOT_") else letter), c, flags & re.ASCII))
    return False  # NEGATE, which the class looks at


def problem_of(use: Use) -> str:
    """Why this use of a pattern can take more than linear time, "" when it cannot. Each choice at its top is judged by
    itself, as one of them can cost no more than a constant times itself.
    """
    tree = parser.parse(use.pattern, use.flags)
    text = use.pattern
    if (
        len(tree) == 1
        and tree[0][0] is op.BRANCH
        and "|" in (text.decode("latin-1") if isinstance(text, bytes) else text)
    ):
        return next((found for part in _choices(use) if (found := problem_of(part))), "")
    try:
        return _Automaton(use).problem()
    except CannotBeJudged as error:
        return f"{error} cannot be judged"


def _choices(use: Use) -> list[Use]:
    """The pattern's choices at its top, each as a pattern."""
    text = use.pattern.decode("latin-1") if isinstance(use.pattern, bytes) else use.pattern
    cuts, depth, at, in_class = [-1], 0, 0, False
    while at < len(text):
        c = text[at]
        if c == "\\":
            at += 1
        elif in_class:
            in_class = c != "]" or text[at - 1] == "["
        elif c == "[":
            in_class = True
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c == "|" and depth == 0:
            cuts.append(at)
        at += 1
    parts = [text[a + 1 : b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    if len(parts) < 2:
        return []
    encoded = [part.encode("latin-1") if isinstance(use.pattern, bytes) else part for part in parts]
    return [Use(part, use.flags, use.method, use.where) for part in encoded]


def uses_in(path: str, text: str) -> Iterator[Use | str]:
    """Every regular expression in a module with each way it is used; a sentence for one that is no plain text.

    A compiled one that is passed on, or that other modules may use, counts as searched with.
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "re":
            yield f"{path}:{node.lineno}: write `import re`, so that its patterns are found"
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("re."):
            continue
        method, where = ast.unparse(node.func).removeprefix("re."), f"{path}:{node.lineno}"
        if method not in _METHODS | {"compile"}:
            continue
        pattern = node.args[0] if node.args else None
        if not isinstance(pattern, ast.Constant):
            yield f"{where}: {ast.unparse(node)[:60]} is no plain text and cannot be judged"
            continue
        ways = _ways(tree, node) if method == "compile" else {method}
        for way in sorted({"search" if way in _SEARCHES else way for way in ways}):
            yield Use(pattern.value, _flags_of(node, method), way, where)


def _ways(tree: ast.Module, call: ast.Call) -> set[str]:
    """How the name that the compiled pattern has is used in its module."""
    targets = [node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign) and node.value is call]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or not targets[0].id.startswith("_"):
        return {"search"}
    name = targets[0].id
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name]
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    return {node.attr for node in called} if len(called) == len(used) - 1 else {"search"}


def _flags_of(call: ast.Call, method: str) -> int:
    number = {"compile": 1, "match": 2, "fullmatch": 2, "search": 2, "findall": 2, "finditer": 2, "split": 3}.get(
        method, 4
    )
    given = call.args[number] if len(call.args) > number else None
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "flags"), given)
    names = [node.attr for node in ast.walk(given) if isinstance(node, ast.Attribute)] if given is not None else []
    flags = 0
    for name in names:
        flags |= int(getattr(re, name))
    return flags
