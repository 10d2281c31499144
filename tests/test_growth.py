"""Whatever a caller or a backend sends, eight times as much of it takes about eight times as long.

Each function that reads text from outside stands here with the shapes that would hurt it. The time is this thread's
own, so that a busy machine changes little, and only its growth is judged: quadratic work grows 64 times.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import time
import zlib
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from types import ModuleType
from typing import Any

import msgspec
import pytest

from gateway.adapters import tracing
from gateway.api import account, addresses, captions, compression, cors, credentials, middleware, pictures
from gateway.domain import keys, masking, models, options, picture_text, progress, samplers, tags, upscalers, wildcards
from gateway.domain.catalogue import BackendInventory, inventory, merge, merged, names
from gateway.domain.errors import GatewayError
from gateway.domain.images import base64_text, jpeg, structure
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants
from gateway.domain.parameters import OperatorPolicy, nesting, reading, shape, shaping
from gateway.domain.parameters import scripts as script_rules
from gateway.domain.parameters.table import table_of, text
from gateway.domain.replies import blame, infotext, verify, verifying
from tests.domain.pool import CONTEXT, PICTURE, backend, context, png, shaped
from tests.domain.replies.answers import info
from tests.test_house_rules import File, project_files

TIMES = 8
WORST = 4.0  # times as long as linear growth says: caches and memory account for two
RUNS = 5
LEAST_S = 0.004  # what takes less at the larger size says nothing of its growth, and hurts nobody

POOL = CONTEXT.catalogue
TRUSTED = (ip_network("10.0.0.0/8"),)


FRAME = b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"  # 64x64, three components
JPEG_HEAD = b"\xff\xd8" + FRAME + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00"


def encoded(picture: bytes) -> base64_text.EncodedBytes:
    """As the walk of a picture reads it: base64, decoded piece by piece."""
    return base64_text.as_json(b2a_base64(picture, newline=False))[1]


def refused(read: Callable[[], object]) -> None:
    """A picture that is none is refused, which must not take long either."""
    with suppress(base64_text.NotBase64, structure.Malformed):
        read()


@dataclass(frozen=True, slots=True)
class Case:
    """A function with shapes of input; `n` is the smaller size, in pieces of a shape."""

    read: Callable[[Any], object]
    of: ModuleType
    n: int
    shapes: dict[str, Callable[[int], Any]]


def texts(*shapes: str) -> dict[str, Callable[[int], str]]:
    """Shapes written as `begin~piece~end`, of which the piece is repeated."""
    return {one: partial(repeated, *one.split("~")) for one in shapes}


def repeated(begin: str, piece: str, end: str, n: int) -> str:
    return begin + piece * n + end


def bodies(*shapes: str) -> dict[str, Callable[[int], bytes]]:
    return {name: (lambda n, make=make: make(n).encode()) for name, make in texts(*shapes).items()}


def body(**fields: Any) -> bytes:
    return json.dumps({"sd_model_checkpoint": "tiny-a", "prompt": "a"} | fields).encode()


def generation(**fields: Any) -> None:
    allowed = context(operator=OperatorPolicy(scripts={"xyz grid": 1.0}))
    shape(Operation.TXT2IMG, body(**fields), allowed)


def with_text(chunk: bytes) -> bytes:
    """A PNG with this in its `zTXt`, packed."""
    data = b"parameters\0\0" + zlib.compress(chunk)
    whole = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    small = png(8, 8)
    return small[:33] + whole + small[33:]


def read_picture(chunk: bytes) -> None:
    picture_text.parameters_in(picture_text.text_of(with_text(chunk))[0])


def answered(**parts: Any) -> None:
    told = info(1, **parts)
    raw = json.dumps({"images": [PICTURE], "info": json.dumps(told)}).encode()
    verify(shaped({}), backend(), 200, raw)


def models_merged(entries: list[dict[str, str]]) -> None:
    files = inventory.parse_models(entries)
    merge([BackendInventory("a", models=files), BackendInventory("b", models=files)])


def lora_pool(entries: list[dict[str, str]]) -> None:
    merge([BackendInventory("a", loras=inventory.parse_loras(entries))])


ANGLES = (
    "~<a:~",
    "~<a:~>",
    ">~<a:~",
    "~<a:b>~",
    "<~a~:x",
    "<a:~b~",
    "~<~>",
    "{~<~}",
    "{~{a|b}<x~",
    "a{~<lora:inky:1>~}",
)
CASES = [
    # --- headers, at most 32 kB ---------------------------------------------------------------------
    Case(
        compression.wants_gzip, compression, 4_000, texts("gzip~ ~x", "gzip;~ ~q", "~,~", "~gzip;q=0,~", "gzip;q=~0~")
    ),
    Case(
        lambda value: credentials.credential_of({"authorization": value, "x-api-key": value}),
        credentials,
        4_000,
        texts("Basic~ ~x", "Basic ~A~", "Basic ~-~:", "Bearer~ ~x", "sk-~a~!", "~ ~"),
    ),
    Case(
        lambda value: cors.Cors().preflight({b"access-control-request-headers": value}),
        cors,
        4_000,
        bodies("~,~", "~a~!", "~ ~", "~a,~"),
    ),
    Case(lambda value: middleware.request_id_of({b"x-request-id": value}), middleware, 4_000, bodies("~a~!", "~:~")),
    Case(middleware._as_meant, middleware, 4_000, texts("~/~x", "/k/~a~\n", "/k/~/~\n", "/k/a~/b/~\n", "/k/~\n~")),
    Case(
        lambda value: addresses.caller_address("10.0.0.1", [value], TRUSTED),
        addresses,
        4_000,
        texts("~,~", "~1.~", "~:~", "~ ~", "[~1~", "~10.0.0.1,~", "~[~"),
    ),
    Case(
        lambda value: tracing.parent_of([(b"traceparent", value), (b"tracestate", value)]),
        tracing,
        4_000,
        bodies("~ ~x", "~a=b,~", "~a~", "00-~0~", "~=~"),
    ),
    Case(keys.has_key_form, keys, 4_000, texts("sk-~a~!", "~sk-~")),
    # --- bodies, at most some tens of megabytes -----------------------------------------------------
    Case(
        lambda value: reading.read_body(value, 10**9),
        reading,
        500_000,
        bodies(
            '{"z": ["", "~A~", []]}',
            '{"z": ["~\\"~", []]}',
            '{"z": [~[],~1]}',
            '{"z": ~[~',
            '{"z": "~é~"}',
            "~{~",
            '{~"a":1,~"b":1}',
        ),
    ),
    Case(
        lambda value: nesting.nests_deeper(value, 32),
        nesting,
        100_000,
        bodies("~[~", "~[]~", '~"[",~', '~["]",~', '~\\"[~', "~\\\\[~", '["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[~A~"]'),
    ),
    Case(
        lambda value: account.operation_of("", value),
        account,
        500_000,
        bodies('~"~', '~"init_image~', '~"init_images~'),
    ),
    Case(
        lambda value: captions.caption_body(value, 10**9),
        captions,
        500_000,
        bodies('{"image": "~A~"}', '{"model": "~a~"}'),
    ),
    Case(
        pictures._told_of, pictures, 100_000, bodies('{"image": "~A~"}', '{"image": "data:~,~"}', '{"image": "~\\n~"}')
    ),
    Case(
        lambda value: reading.coerced(table_of(text("t", most=10**9))["t"], value),
        reading,
        100_000,
        texts("~a~", "~a:~", "~a:~ ", "~ ~", "~:~"),
    ),
    Case(
        options.sorted_out,
        options,
        250,
        {
            "names": lambda n: {f"o{number}": number for number in range(n)},
            "long names": lambda n: {"a" * 4_000 * n: 1},
            "long texts": lambda n: {"a": " " * 4_000 * n, "b": "a:" * 4_000 * n, "c": "../" * 4_000 * n},
        },
    ),
    # --- prompts, at most 100,000 characters --------------------------------------------------------
    Case(lambda value: tags.resolve_tags(value, "prompt", POOL, Grants(), str), tags, 12_000, texts(*ANGLES)),
    Case(lambda value: tags.respelled(value, {"inky": "x/inky"}), tags, 3_000, texts(*ANGLES, "<lora:x:1>~<a:~")),
    Case(wildcards.without_wildcards, wildcards, 12_000, texts("~_~", "~__a~", "__~<a:~", "~__\n~", "__~{~__")),
    Case(
        lambda value: generation(prompt=value, negative_prompt=value),
        shaping,
        3_000,
        texts("~a~", "~abcd ~", "~_~", "~-~", "~{~", "~é~", "~a:~"),
    ),
    Case(
        lambda value: generation(script_name="xyz grid", script_args=value),
        script_rules,
        60,
        {
            "many": lambda n: ["a"] * n,
            "tags": lambda n: ["<a:b>"] * n,
            "long": lambda n: [" " * 390] * n,
            "place": lambda n: ["a" * 390 + "://"] * n,
        },
    ),
    # --- pictures ---------------------------------------------------------------------------------
    Case(
        lambda value: refused(lambda: base64_text.canonical(msgspec.Raw(value.encode()))),
        base64_text,
        200_000,
        texts(
            '"~AAAA~"',
            '"~AAA\\n~"',
            '"~-_-_~"',
            '"data:~;a=b~;base64,AAAA"',
            '"data:image/png;base64,~%2B~AA"',
            '"~=~"',
        ),
    ),
    Case(
        lambda value: refused(lambda: jpeg.jpeg_structure(encoded(value))),
        jpeg,
        100_000,
        {
            "stuffed": lambda n: JPEG_HEAD + b"\xff\x00" * n,
            "restarts": lambda n: JPEG_HEAD + b"\xff\xd0" * n,
            "scans": lambda n: JPEG_HEAD + b"\xff\xda\x00\x02\x00" * n,
            "fill": lambda n: JPEG_HEAD + b"\xff" * n,
        },
    ),
    # --- names, in bodies and in lists --------------------------------------------------------------
    Case(
        lambda value: models.resolve_model(value, POOL, Grants(), {"x": "tiny-a"}),
        models,
        12_000,
        texts("~a~ [0123456789]", "~ ~[x]", "~a~ ", "~[abcdef]~", "/~/~", "~\\~", "t~iny~"),
    ),
    Case(names.without_hash, names, 12_000, texts("a~ ~x", "a~ ~[x]", "~[~", "~[abcdef] ~", "[~a~]")),
    Case(
        lambda value: names.nearest(value, [value] * 50),
        names,
        12_000,
        texts("~a~", "~ab~", "~ ~"),
    ),
    Case(
        lambda value: upscalers.resolve_upscaler(value, "u", POOL, Grants(), {}),
        upscalers,
        12_000,
        texts("~a~", "~ ~x"),
    ),
    Case(
        lambda value: samplers.resolve_sampler(value, POOL), samplers, 12_000, texts("~a~ karras", "~ karras~", "~_~")
    ),
    Case(
        models_merged,
        inventory,
        200,
        {
            "one name": lambda n: [{"title": "a", "model_name": "a", "sha256": f"{k:064x}"} for k in range(n)],
            "one file": lambda n: [{"title": f"d{k}/a", "filename": "/x/a.ckpt"} for k in range(n)],
            "long": lambda n: [{"title": " " * 1_000 * n + "x", "filename": "/" * 1_000 * n}],
        },
    ),
    Case(
        lora_pool,
        merged,
        300,
        {
            "one file": lambda n: [{"name": f"d{k}/a", "alias": "b", "path": "/x/a.pt"} for k in range(n)],
            "one name": lambda n: [{"name": "a"}] * n,
        },
    ),
    Case(
        lambda value: inventory.parse_upscalers([{"name": value}]),
        inventory,
        12_000,
        texts("~1~x", "~_1~", "~x1_~", "~1x~1", "~x~"),
    ),
    # --- what backends say --------------------------------------------------------------------------
    Case(
        infotext.last_line_of,
        infotext,
        12_000,
        texts(
            "~a~",
            "~ ~:",
            "~a: ~",
            '~a: "~',
            '~a: "x,~',
            'a: "~\\~',
            '~a:"\\\\~',
            '~a: "b"c,~',
            "~:~",
            "~,~",
            "~é~:",
            "~!~:",
        ),
    ),
    Case(lambda value: infotext.names_agree(value, "a"), infotext, 100_000, texts("~,~", "~ ~x")),
    Case(
        masking.masked,
        masking,
        100_000,
        texts(
            "~a~", "~a.~", "~1.~", "~/~", "~a:~", "~a=~", "~token=~", "~ ~=", '~"~', "~'/~", "~sk-~", "~a:b@~", "~::~"
        ),
    ),
    Case(
        lambda value: masking.masked(value, 10**9),
        masking,
        2_000,
        texts(
            "~a~",
            "~a.~",
            "~1.~",
            "~1:~",
            "~/~",
            "~(/~",
            "~a:~",
            "~a=~",
            "~token=~",
            "~token=\\~",
            "~ ~=",
            "~a ~=",
            '~"~',
        )
        | texts("~'/~", "~sk-~", "~sk-aaaaaa ~", "~a:b@~", "~a:b~@", "~::~", "~basic ~", "~bearer~", "~ab:~", "~://~"),
    ),
    Case(
        lambda value: blame.read_error(500, json.dumps({"error": value, "errors": value}).encode()),
        blame,
        100_000,
        texts("~a~", "~a.~", "~1~", "~: ~"),
    ),
    Case(
        lambda value: blame.judge_error(Operation.TXT2IMG, 422, json.dumps({"detail": value}).encode()),
        blame,
        5_000,
        {
            "places": lambda n: [{"loc": ["a"] * n, "msg": "b"}],
            "many": lambda n: [1] * n,
            "deep": lambda n: [{"loc": [["a"] * n], "msg": ["b"] * n}],
        },
    ),
    Case(
        lambda value: answered(infotexts=[value], all_seeds=[1]),
        verifying,
        12_000,
        texts("~a~", "~a: ~", "~ ~:", "~\n~", '~a: "~', "Model: ~a~"),
    ),
    Case(
        lambda value: progress.Follower().saw({"state": {"job": value}, "id": value, "progress": 0.5}),
        progress,
        100_000,
        texts("~a~", "~ ~x", "~/~"),
    ),
    # --- pictures' metadata -------------------------------------------------------------------------
    Case(
        read_picture, picture_text, 12_000, bodies("~a~", "~a: ~", "~ ~:", "~\n~", "Size: ~1~", "Size: 1x~1~", '~a:"~')
    ),
    Case(picture_text.parameters_in, picture_text, 12_000, texts("~\nSteps:~", "~\nNegative prompt:~", 'a: ~"~')),
]


def cost_s(read: Callable[[Any], object], given: Any) -> float:
    began = time.thread_time()
    with suppress(GatewayError):
        read(given)
    return time.thread_time() - began


def least_s(read: Callable[[Any], object], given: Any, enough_s: float) -> float:
    """The least of some runs, no more of them once one took no longer than `enough_s`."""
    least = cost_s(read, given)
    for _ in range(RUNS - 1):
        if least <= enough_s:
            break
        least = min(least, cost_s(read, given))
    return least


def grown_too_much(case: Case, make: Callable[[int], Any]) -> str:
    small, large = make(case.n), make(case.n * TIMES)
    small_s = max(least_s(case.read, small, 0.0), LEAST_S / TIMES / WORST)
    most_s = small_s * TIMES * WORST
    large_s = least_s(case.read, large, most_s)
    return f"{large_s / small_s:.0f} times as long for {TIMES} times as much" if large_s > most_s else ""


def flat() -> Iterator[Any]:
    for case in CASES:
        name = getattr(case.of, "__name__", str(case.of)).rpartition(".")[2]
        for shape_, make in case.shapes.items():
            yield pytest.param(case, make, id=f"{name}-{shape_}".encode("ascii", "backslashreplace").decode())


@pytest.mark.parametrize(("case", "make"), list(flat()))
def test_eight_times_as_much_takes_about_eight_times_as_long(case, make):
    assert grown_too_much(case, make) == ""


# --- nothing that reads with patterns is forgotten ------------------------------------------------

READS_NO_FOREIGN_TEXT = {
    "gateway/adapters/sql/engine.py": "the operator's own address of the database, and the words of its driver",
    "gateway/api/openapi.py": "the gateway's own routes",
    "gateway/domain/forms.py": "names that operators give",
    "gateway/flow/changes.py": "names that operators give",
    "gateway/handover.py": "names of the operator's own environment variables",
    "gateway/flow/credentials.py": "credentials that operators give",
    "gateway/launcher/embedded.py": "the version of the program that the gateway starts itself",
    "gateway/settings.py": "the operator's own settings",
}
NOT_SERVING = ("gateway/cli/", "gateway/simulator/")


def unregistered(files: list[File], registered: set[str], allowed: dict[str, str]) -> list[str]:
    """Modules that import `re` or `difflib` but stand neither in the table above nor in `allowed`; needless reasons."""
    importing = {
        file.path
        for file in files
        if file.is_python_in("gateway") and not file.path.startswith(NOT_SERVING)
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and {"re", "difflib"} & imported(node)
    }
    return sorted((importing - registered - allowed.keys()) | (allowed.keys() - importing))


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {node.module or ""} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}


def test_every_module_that_reads_foreign_text_with_patterns_stands_in_the_table():
    registered = {f"{case.of.__name__.replace('.', '/')}.py" for case in CASES}
    assert unregistered(list(project_files()), registered, READS_NO_FOREIGN_TEXT) == []


def test_a_module_that_is_not_in_the_table_and_a_needless_reason_are_reported():
    files = [
        File("gateway/a.py", "import re"),
        File("gateway/b.py", "from difflib import get_close_matches"),
        File("gateway/c.py", "import regex"),
        File("gateway/cli/d.py", "import re"),
        File("gateway/e.py", "import re"),
    ]
    found = unregistered(files, {"gateway/e.py"}, {"gateway/c.py": "a reason"})
    assert found == ["gateway/a.py", "gateway/b.py", "gateway/c.py"]


@pytest.mark.parametrize(
    ("read", "is_quadratic"),
    [
        (re.compile(r"\s*x").search, True),
        (lambda value: [max(value[at:]) for at in range(len(value))], True),
        (re.compile(r"\s+").search, False),
        (lambda value: value.split(" "), False),
    ],
)
def test_work_that_grows_with_the_square_is_seen(read, is_quadratic):
    assert (grown_too_much(Case(read, names, 400, {}), lambda n: " " * n) != "") is is_quadratic
