"""What no linter knows. Each rule is a function from a file to what is wrong in it, and is seen failing below."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.settings import BackendSettings, Settings

ROOT = Path(__file__).parent.parent

# --- exceptions, each with its reason -----------------------------------------------------------

WITHOUT_TEST_OF_THEIR_OWN = {
    "gateway/__main__.py": "two lines; every test of a process goes through them",
}
# Folders whose files are parts of one thing, tested as that one thing: where its tests stand.
TESTED_AS_A_WHOLE = {
    "gateway/adapters/redis/": "tests/contracts/",  # the same suites run on it and on its oracle
    "gateway/adapters/sql/": "tests/contracts/sql/",  # the same suite runs on every database
    "gateway/simulator/sdnext/": "tests/simulator/",  # held to recordings of a real server
}
MAY_BE_LONG = {
    "gateway/cli/sim_backend.py": "every line of its head is a flag of the command",
}
RUN_BY_IMPORT = {
    "gateway/adapters/sql/migrations/env.py": "Alembic runs it by importing it",
}
MAY_PAUSE = {
    "tests/support/processes.py": "the pause between two looks at a condition, with a deadline",
    "tests/support/fake_backends.py": "the way to a server, in virtual time",
    "tests/flow/world.py": "the way to a store, in virtual time",
    "tests/simulator/sdnext/test_clock.py": "the clock's own pause, in virtual time, is what is tested",
    "tests/chaos/arena.py": "the pace of a load, and the length of an outage, are what is asked",
    "tests/chaos/balancer.py": "how often a balancer asks for /readyz",
}
ERRORS_WITHOUT_ROW = {
    "GatewayError": "the root, never raised itself",
    "CallerError": "a group, never raised itself",
    "CapacityError": "a group, never raised itself",
}

# --- what a rule works on -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file of the project: its path from the root, with `/`, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def is_python_in(self, *folders: str) -> bool:
        return self.path.endswith(".py") and self.path.startswith(tuple(f"{folder}/" for folder in folders))


def project_paths() -> list[str]:
    """What is or would be committed; without git, everything that is not hidden, built or a cache."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        every = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*"))
        listed = [
            path for path in every if not re.search(r"(^|/)(\.(?!ci/|github/)|__pycache__|dist/|bench/results)", path)
        ]
    return sorted(path for path in listed if (ROOT / path).is_file())


def project_files() -> Iterator[File]:
    for path in project_paths():
        try:
            yield File(path, (ROOT / path).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # a picture or another binary file has no lines to judge


# --- the rules ----------------------------------------------------------------------------------

Rule = Callable[[File], list[str]]


def lines_stay_within_their_budget(file: File) -> list[str]:
    """A module has at most 400 lines, a function at most 40, docstring included."""
    if not file.is_python_in("gateway"):
        return []
    count = len(file.text.splitlines())
    found = [f"{file.path}: {count} lines, 400 are allowed"] if count > 400 else []
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > 40 and file.path not in MAY_BE_LONG:
                found.append(f"{file.path}:{node.lineno}: {node.name} has {length} lines, 40 are allowed")
    return found


def a_module_keeps_no_state_and_does_nothing_on_import(file: File) -> list[str]:
    """No `global`, no mutable container under a name that is not a constant's, no bare call at module level."""
    if not file.is_python_in("gateway") or file.path in RUN_BY_IMPORT:
        return []
    found = [f"{file.path}:{node.lineno}: global" for node in ast.walk(file.tree) if isinstance(node, ast.Global)]
    for node in file.tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found.append(f"{file.path}:{node.lineno}: a call on import")
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _is_mutable(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found += [f"{file.path}:{node.lineno}: {name} is state" for name in names if not _is_constant(name)]
    return found


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return name in {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter"}
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _is_constant(name: str) -> bool:
    return name.isupper() or (name.startswith("__") and name.endswith("__"))


def a_lua_file_begins_with_its_header(file: File) -> list[str]:
    """Comment lines at its head: purpose, KEYS, ARGV, what it returns, which Python function is its oracle."""
    if not file.path.endswith(".lua"):
        return []
    head = []
    for line in file.text.splitlines():
        if not line.startswith("--"):
            break
        head.append(line)
    wanted = ["-- purpose:", "-- KEYS", "-- ARGV", "-- returns", "-- oracle"]
    return [
        f"{file.path}: no line begins with {part!r}" for part in wanted if not any(x.startswith(part) for x in head)
    ]


def nothing_is_left_for_later_in_a_comment(file: File) -> list[str]:
    """Work to be done is written where work is planned, not in a file."""
    marks = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b")  # so that the rule does not find itself
    lines = enumerate(file.text.splitlines(), start=1)
    return [f"{file.path}:{number}: {line.strip()}" for number, line in lines if marks.search(line)]


def no_registry_and_no_path_of_one_machine(file: File) -> list[str]:
    """Neither the address of a package registry nor somebody's home or work directory."""
    registry = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|--(extra-)?index-url[ =]\S|/opt/py[p]i")
    private = re.compile(r"(?<![\w.\-/])/(?:home|Users|root|work)/\w")
    lines = enumerate(file.text.splitlines(), start=1)
    return [f"{file.path}:{n}: {line.strip()}" for n, line in lines if registry.search(line) or private.search(line)]


def a_test_never_sleeps(file: File) -> list[str]:
    """No pause but in virtual time; `asyncio.sleep(0)` only lets others run.

    A test is in virtual time by its own decorator or the module's `pytestmark`, a helper if anything in its file is.
    """
    if not file.is_python_in("tests") or file.path in MAY_PAUSE:
        return []
    calls = _calls_by_clock(file, r"virtual_time|VirtualTimeLoop")
    return [f"{file.path}:{call.lineno}: {ast.unparse(call)}" for call, virtual in calls if _pauses(call, virtual)]


def _calls_by_clock(file: File, clock: str) -> Iterator[tuple[ast.Call, bool]]:
    """Every call, and whether it goes by such a clock."""
    marks = [ast.unparse(node) for node in file.tree.body if isinstance(node, ast.Assign)]
    whole = any(re.search(clock, mark) for mark in marks if mark.startswith("pytestmark"))
    for part in file.tree.body:
        is_test = getattr(part, "name", "").startswith("test_")
        around = "".join(map(ast.unparse, getattr(part, "decorator_list", []))) if is_test else file.text
        is_set = whole or re.search(clock, around) is not None
        yield from ((node, is_set) for node in ast.walk(part) if isinstance(node, ast.Call))


def _pauses(call: ast.Call, virtual: bool) -> bool:
    name = ast.unparse(call.func)
    if name != "asyncio.sleep":
        return name.rpartition(".")[2] == "sleep"
    only_yields = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
    return not virtual and not only_yields


def a_test_waits_patiently(file: File) -> list[str]:
    """What must come is waited for PATIENCE_S: a shorter limit fails on a busy machine and says nothing of the code.

    Less than a second is meant to run out, and a minute or more is patient; on a clock that tests set all is allowed.
    """
    if not file.is_python_in("tests") or file.path in MAY_PAUSE:
        return []
    calls = _calls_by_clock(file, r"virtual_time|VirtualTimeLoop|hand_set_time")
    hasty = [call for call, is_set in calls if not is_set and _limits_of(call)]
    return [f"{file.path}:{call.lineno}: {ast.unparse(call)}" for call in hasty]


def _limits_of(call: ast.Call) -> list[float]:
    given = [word.value for word in call.keywords if word.arg in {"timeout", "timeout_s", "within_s", "total"}]
    if ast.unparse(call.func).rpartition(".")[2] in {"timeout", "join", "wait"}:
        given += call.args[:1]
    values = [each.value for each in given if isinstance(each, ast.Constant)]
    return [value for value in values if isinstance(value, int | float) and 1 <= value < 60]


def a_test_replaces_nothing_of_ours(file: File) -> list[str]:
    """Fakes pass the contract suite of what they stand for; mocks and patches promise nothing."""
    if not file.is_python_in("tests"):
        return []
    mocks = re.compile(
        r"^\s*(from unittest(\.mock)? import .*mock|import unittest\.mock|from unittest\.mock)", re.MULTILINE
    )
    patches = re.compile(r"""(?:setattr|patch)\(\s*['"]gateway\.""")
    return [f"{file.path}: {found[0].strip()}" for rule in (mocks, patches) for found in rule.finditer(file.text)]


def the_name_of_a_test_is_a_sentence(file: File) -> list[str]:
    """At least four words after `test_`."""
    if not file.is_python_in("tests"):
        return []
    functions = [node for node in ast.walk(file.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [node.name for node in functions if node.name.startswith("test_")]
    return [f"{file.path}: {name}" for name in names if len(name.split("_")) < 5]


RULES: list[Rule] = [
    lines_stay_within_their_budget,
    a_module_keeps_no_state_and_does_nothing_on_import,
    a_lua_file_begins_with_its_header,
    nothing_is_left_for_later_in_a_comment,
    no_registry_and_no_path_of_one_machine,
    a_test_never_sleeps,
    a_test_waits_patiently,
    a_test_replaces_nothing_of_ours,
    the_name_of_a_test_is_a_sentence,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule):
    assert [problem for file in project_files() for problem in rule(file)] == []


LUA = "-- purpose: x\n-- KEYS[1] a\n-- ARGV[1] b (ms)\n-- returns c\n-- oracle: gateway.domain.limits.f\nreturn 1\n"


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (lines_stay_within_their_budget, "gateway/a.py", "\n" * 401),
        (lines_stay_within_their_budget, "gateway/a.py", "def f():\n" + "    a = 1\n" * 40),
        (lines_stay_within_their_budget, "gateway/a.py", "async def f():\n    '''\n" + "x\n" * 40 + "    '''\n"),
        (a_module_keeps_no_state_and_does_nothing_on_import, "gateway/a.py", "cache = {}"),
        (a_module_keeps_no_state_and_does_nothing_on_import, "gateway/a.py", "_seen: set[str] = set()"),
        (a_module_keeps_no_state_and_does_nothing_on_import, "gateway/a.py", "def f():\n    global x\n    x = 1"),
        (a_module_keeps_no_state_and_does_nothing_on_import, "gateway/a.py", "import logging\nlogging.basicConfig()"),
        *[
            (a_lua_file_begins_with_its_header, "gateway/a.lua", LUA.replace(part, "-- "))
            for part in ("-- purpose:", "-- KEYS", "-- ARGV", "-- returns", "-- oracle")
        ],
        (a_lua_file_begins_with_its_header, "gateway/a.lua", LUA.replace("-- oracle", "local a = 1\n-- oracle")),
        (nothing_is_left_for_later_in_a_comment, "docs/a.md", "# TO~DO: more"),
        (nothing_is_left_for_later_in_a_comment, "gateway/a.py", "a = 1  # FIX~ME"),
        (no_registry_and_no_path_of_one_machine, "a.lock", "--index-url~ https://example.org/simple"),
        (no_registry_and_no_path_of_one_machine, "a.md", "see https://pypi~.org/project/a"),
        (no_registry_and_no_path_of_one_machine, "a.md", "in /ho~me/someone/project"),
        (no_registry_and_no_path_of_one_machine, "a.md", "in /wo~rk/project"),
        (a_test_never_sleeps, "tests/test_a.py", "import time\ntime.sleep(1)"),
        (a_test_never_sleeps, "tests/test_a.py", "from time import sleep\nsleep(0)"),
        (a_test_never_sleeps, "tests/test_a.py", "async def f():\n    await asyncio.sleep(0.1)"),
        (a_test_never_sleeps, "tests/test_a.py", "pytestmark = mark.virtual_time\ndef f():\n    time.sleep(1)"),
        (
            a_test_never_sleeps,
            "tests/test_a.py",
            "@mark.virtual_time\ndef f(): ...\ndef test_b():\n    asyncio.sleep(1)",
        ),
        (a_test_waits_patiently, "tests/test_a.py", "async def f():\n    async with asyncio.timeout(5): ..."),
        (a_test_waits_patiently, "tests/test_a.py", "def f():\n    wait_until(g, 'it is', within_s=15)"),
        (a_test_waits_patiently, "tests/test_a.py", "requests.get(url, timeout=10.0)"),
        (a_test_waits_patiently, "tests/test_a.py", "process.wait(30)"),
        (a_test_replaces_nothing_of_ours, "tests/test_a.py", "from unittest import mock"),
        (a_test_replaces_nothing_of_ours, "tests/test_a.py", "from unittest.mock import AsyncMock"),
        (a_test_replaces_nothing_of_ours, "tests/test_a.py", "monkeypatch.setattr('gateway~.flow.serve.x', 1)"),
        (the_name_of_a_test_is_a_sentence, "tests/test_a.py", "def test_restart_works():\n    pass"),
    ],
)
def test_a_planted_violation_is_reported(rule, path, text):
    # A planted text is broken by `~`, where it would otherwise be a violation of this file.
    assert len(rule(File(path, text.replace("~", "")))) == 1


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (lines_stay_within_their_budget, "gateway/a.py", "def f():\n" + "    a = 1\n" * 39),
        (lines_stay_within_their_budget, "gateway/a.py", "a = 1\n" * 400),
        (
            a_module_keeps_no_state_and_does_nothing_on_import,
            "gateway/a.py",
            "TABLE = {1: 2}\n__all__ = ['f']\nx = f()",
        ),
        (a_lua_file_begins_with_its_header, "gateway/a.lua", LUA),
        (no_registry_and_no_path_of_one_machine, "a.md", "src/work/list and a/root/b"),
        (a_test_never_sleeps, "tests/test_a.py", "async def f():\n    await asyncio.sleep(0)"),
        (a_test_never_sleeps, "tests/test_a.py", "pytestmark = pytest.mark.virtual_time\nasyncio.sleep(9)"),
        (a_test_never_sleeps, "tests/test_a.py", "@mark.virtual_time\ndef test_b():\n    asyncio.sleep(9)"),
        (a_test_never_sleeps, "tests/test_a.py", "def f():\n    asyncio.sleep(9)\n@virtual_time\ndef test_b(): f()"),
        (a_test_waits_patiently, "tests/test_a.py", "process.wait(PATIENCE_S)\nget(timeout=0.3)\nget(timeout=60)"),
        (a_test_waits_patiently, "tests/test_a.py", "@mark.virtual_time\ndef test_b():\n    asyncio.timeout(5)"),
        (the_name_of_a_test_is_a_sentence, "tests/test_a.py", "def test_a_restart_is_quick():\n    pass"),
    ],
)
def test_what_is_allowed_is_not_reported(rule, path, text):
    assert rule(File(path, text)) == []


# --- rules over more than one file --------------------------------------------------------------


def unpaired(files: list[File], exceptions: dict[str, str], wholes: dict[str, str]) -> list[str]:
    """Modules that decide something but have no test file: `gateway/x/y.py` wants `tests/x/test_y.py`.

    `test_y_more.py` counts too, and a package's own code is tested in `tests/x/test_x.py`. Values without a decision in
    them need no test of their own, nor do the files of a whole whose tests exist. Needless exceptions are reported.
    """
    paths = {file.path for file in files}
    lacking = set()
    for file in files:
        if not file.is_python_in("gateway") or not _decides(file.tree):
            continue
        if any(file.path.startswith(whole) and _has_tests(paths, tests) for whole, tests in wholes.items()):
            continue
        folder, _, name = file.path.removeprefix("gateway/").removesuffix(".py").rpartition("/")
        name = folder.rpartition("/")[2] if name == "__init__" else name
        wanted = re.compile(re.escape("/".join(filter(None, ["tests", folder, f"test_{name}"]))) + r"(_\w+)?\.py")
        if not any(wanted.fullmatch(path) for path in paths):
            lacking.add(file.path)
    return sorted(lacking ^ exceptions.keys())


def _has_tests(paths: set[str], folder: str) -> bool:
    return any(path.startswith(folder) and re.search(r"/test_\w+\.py$", path) for path in paths)


def _decides(tree: ast.Module) -> bool:
    choices = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.BoolOp, ast.comprehension)
    return any(isinstance(node, choices) and not _is_for_types(node) for node in ast.walk(tree))


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_every_module_that_decides_something_has_its_test_file():
    assert unpaired(list(project_files()), WITHOUT_TEST_OF_THEIR_OWN, TESTED_AS_A_WHOLE) == []


def test_a_module_without_its_test_file_and_a_needless_exception_are_reported():
    decision = "def f(x):\n    return 1 if x else 2"
    files = [
        File("gateway/flow/enter.py", decision),
        File("gateway/flow/leave.py", decision),
        File("gateway/flow/__init__.py", decision),
        File("gateway/flow/values.py", "class A:\n    x: int = 1"),
        File("gateway/top.py", decision),
        File("gateway/engine/part.py", decision),
        File("gateway/motor/part.py", decision),
        File("tests/engine/test_all.py", ""),
        File("tests/motor/builders.py", ""),
        File("tests/flow/test_enter.py", ""),
        File("tests/flow/test_flow_whole.py", ""),
        File("tests/test_topmost.py", ""),
    ]
    wholes = {"gateway/engine/": "tests/engine/", "gateway/motor/": "tests/motor/"}
    lacking = ["gateway/flow/leave.py", "gateway/gone.py", "gateway/motor/part.py", "gateway/top.py"]
    assert unpaired(files, {"gateway/gone.py": "a reason"}, wholes) == lacking


def errors_without_row(errors: str, table: str, exceptions: dict[str, str]) -> list[str]:
    """The error classes of one module's text that are no key of a mapping, or first in a pair, in the other's."""
    classes = {node.name for node in ast.parse(errors).body if isinstance(node, ast.ClassDef)}
    rows = set()
    for node in ast.walk(ast.parse(table)):
        keys = node.keys if isinstance(node, ast.Dict) else node.elts[:1] if isinstance(node, ast.Tuple) else []
        rows |= {key.attr if isinstance(key, ast.Attribute) else getattr(key, "id", "") for key in keys}
    return sorted(classes - rows - exceptions.keys())


def test_every_error_has_its_row_in_the_table_of_statuses():
    table = ROOT / "gateway/api/errors.py"
    if not table.exists():
        assert not (ROOT / "gateway/asgi.py").exists(), "an application without its table of errors"
        return
    errors = (ROOT / "gateway/domain/errors.py").read_text()
    assert errors_without_row(errors, table.read_text(), ERRORS_WITHOUT_ROW) == []


@pytest.mark.parametrize(
    "table", ["T = {errors.A: 401, Root: 500}", "T = {A: 1}", "T = ((A, 401), (errors.Root, 500))"]
)
def test_an_error_without_a_row_is_reported(table):
    errors = "class Root(Exception): ...\nclass A(Root): ...\nclass B(A): ..."
    assert errors_without_row(errors, table, {"Root": "never raised"}) == ["B"]


def undescribed(model: type[BaseModel]) -> list[str]:
    """The fields of a settings type that no docstring describes."""
    return [name for name, field in model.model_fields.items() if not (field.description or "").strip().endswith(".")]


@pytest.mark.parametrize("model", [Settings, BackendSettings])
def test_every_setting_is_described_in_a_sentence(model):
    assert undescribed(model) == []


def test_a_setting_without_description_is_reported():
    class Planted(BaseModel):
        bare: int = 1

    assert undescribed(Planted) == ["bare"]


def test_the_rules_look_at_the_files_of_the_project():
    paths = set(project_paths())
    assert {"gateway/settings.py", "tests/test_house_rules.py", "Makefile", "requirements.lock"} <= paths
    assert not [path for path in paths if path.startswith(".venv/")]
