"""No regular expression of the gateway takes more than linear time, and the check for it is seen failing."""

from __future__ import annotations

import re

import pytest

from tests.support.patterns import Use, problem_of, uses_in
from tests.test_house_rules import File, project_files

MAY_BE_AMBIGUOUS: dict[str, str] = {}
"""Pattern -> the reason why it takes no time that anybody feels."""

FOUND = [
    Use(r"\s*gzip\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*", re.IGNORECASE, "fullmatch"),
    Use(r'\s*([\w][\w \-/]*):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)'),
    Use(rb'"(?:[^"\\]|\\.)*"', re.DOTALL),
    Use(r"<(\w+):([^>]+)>"),
    Use(r"<lora:([^:>]+)(?::([^:>]*))?[^>]*>"),
    Use(r"\s*\[[0-9a-fA-F]{6,64}\]$"),
    Use(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE),
]
"""Patterns that the gateway had: each took seconds over some text of a caller or a backend."""

AMBIGUOUS = [
    *FOUND,
    *map(
        Use,
        (
            r"(a+)+$", r"(a|a)*b", r"(a|aa)*b", r"(?:a*)*b", r"(a*b*)*c", r"(\w+\s?)*:", r"\s+$", r"[^>]+>", r"a*a*b",
            r"\s*+,", r"(?:x|\s+)y", r"x|\s+y", r".*?,.*?;", r"a{0,9999}b", r"(?:a{1,100}){1,100}b", r"\d+\d+x",
            r"(?i:[a-z]+)X", r"(?=(a+)+b)c|.+d", r"(?<!x)\s+y", r"\b[\w-]*:", r"(?:[^\"]|\\.)*+\"",
        ),
    ),
    Use(r"(\d+)*", method="fullmatch"),
    Use(r"\s*a?\s*b", method="match"),
    Use(r"x.*y.*z", method="match"),
    Use(r"(a)\1", method="match"),
    Use(r"[a-z]*[0-9a-f]*!", method="fullmatch"),
]  # fmt: skip

LINEAR = [
    *map(
        Use,
        (
            r"\d+", r"\W+", r"/{2,}", r"[a-z]{1,40}:", r"\w:\S", r"\b\w+:", r"(?<!\s)\s*+,", r"(?<![\w+.-])[\w+.-]++://\S*+",
            r"^\s*x", r"\A[^>]+>", r"<[^<>]+>", r'"[^"]*+"', r"(?:://|^\s*/)", r"\bv=(\d+)\.", r"x|^\s+y",
        ),
    ),
    Use(r'"(?:[^"\\]++|\\.)*+"', method="match"),
    Use(r"\s*+a?\s*+b", method="match"),
    Use(r"(?:\d+,)*", method="fullmatch"),
    Use(r"a*+a*b", method="match"),
    Use(rb"[A-Za-z0-9_.:-]{1,64}", method="fullmatch"),
    Use(r"/k/([^/]+)(/.*)?", method="fullmatch"),
]  # fmt: skip


@pytest.mark.parametrize("use", AMBIGUOUS, ids=lambda use: f"{use.method} {use.pattern!r}")
def test_a_pattern_that_takes_more_than_linear_time_is_reported(use):
    assert problem_of(use) != ""


@pytest.mark.parametrize("use", LINEAR, ids=lambda use: f"{use.method} {use.pattern!r}")
def test_a_pattern_that_takes_linear_time_is_not_reported(use):
    assert problem_of(use) == ""


def ambiguous(file: File, allowed: dict[str, str]) -> list[str]:
    """The patterns of a file that are reported, or cannot be judged, and are not allowed."""
    found = []
    for use in uses_in(file.path, file.text):
        problem = use if isinstance(use, str) else problem_of(use)
        if problem and (isinstance(use, str) or str(use.pattern) not in allowed):
            found.append(problem if isinstance(use, str) else f"{use.where}: {use.pattern!r}: {problem}")
    return found


def test_no_pattern_of_the_gateway_takes_more_than_linear_time():
    files = [file for file in project_files() if file.is_python_in("gateway")]
    assert [problem for file in files for problem in ambiguous(file, MAY_BE_AMBIGUOUS)] == []


def test_a_needless_exception_is_reported():
    patterns = {
        str(use.pattern)
        for file in project_files()
        if file.is_python_in("gateway")
        for use in uses_in(file.path, file.text)
        if isinstance(use, Use) and problem_of(use)
    }
    assert MAY_BE_AMBIGUOUS.keys() - patterns == set()


@pytest.mark.parametrize(
    "text",
    [
        "import re\n_A = re.compile(r'\\s*x')\n_A.match('')\n_A.sub('', '')",
        "import re\n_A = re.compile(r'\\s*x')\nf(_A)",
        "import re\nA = re.compile(r'\\s*x')\nA.match('')",
        "import re\nre.sub(r'\\s*x', '', text)",
        "import re\nre.split('B*X', text, 0, re.I | re.S)\nre.match('a*A*b', text)",
        "import re\n_A = re.compile(f'{x}')",
        "import re\nre.match(pattern, text)",
        "from re import compile",
    ],
)
def test_a_planted_pattern_is_found_however_it_is_used(text):
    assert len(ambiguous(File("gateway/a.py", text), {})) == 1


def test_a_pattern_that_is_only_matched_is_judged_as_that():
    assert ambiguous(File("gateway/a.py", "import re\n_A = re.compile(r'\\s*x')\n_A.match('').end()"), {}) == []
