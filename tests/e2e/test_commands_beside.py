"""The README's commands beside a running `gateway demo`, as a newcomer types them; and what its processes give away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import without_settings
from tests.support.processes import Gateways, wait_until

ROOT = Path(__file__).parents[2]
SECRETS = {
    "GATEWAY_ADMIN_TOKEN": "admin-token-hidden-0123456789",
    "GATEWAY_DEMO_KEY": "sk-hidden-first-0123456789",
    "GATEWAY_DEMO_KEY_2": "sk-hidden-second-0123456789",
    "PGPASSWORD": "postgres-hidden",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden",
    "SOMEBODYS_API_TOKEN": "hidden",
}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="what a process was given stands in /proc")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """`gateway demo` with two workers, ready, in a folder of its own; its operator's environment is full of secrets."""
    folder = tmp_path_factory.mktemp("newcomer")
    gateways, patch = Gateways(folder), pytest.MonkeyPatch()
    for name, value in SECRETS.items():
        patch.setenv(name, value)
    given = {name.removeprefix("GATEWAY_").lower(): value for name, value in SECRETS.items() if "GATEWAY" in name}
    try:
        # As `make run` does: the data stand in .run of the folder.
        running = gateways.start("demo", "--workers", "2", data_dir=str(folder / ".run"), **given)
        patch.undo()
        running.wait_until_ready()
        wait_until(lambda: len(running.descendants()) == 5, "two workers, two simulated servers and a Valkey run")
        yield running
    finally:
        for one in gateways.started:
            one.remove()


def typed(demo, *words, **settings):
    """What `gateway WORDS` answers in the demo's folder, from a shell that knows nothing of it."""
    environment = without_settings()
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "gateway", *words],
        cwd=demo.home.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@on_linux
def test_no_process_of_the_tree_but_the_operators_own_shows_a_secret(demo):
    for pid in demo.descendants():
        shown = (Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()).decode()
        assert "hidden" not in shown, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    assert "hidden" in Path(f"/proc/{demo.process.pid}/environ").read_text()  # what is looked for can be found
    assert "hidden" not in (demo.home.parent / ".run" / "running.json").read_text()


def test_a_tenant_made_beside_make_run_is_a_tenant_of_the_gateway_that_runs(demo):
    made = typed(demo, "tenant", "create", "alice")
    assert made.returncode == 0
    assert made.stderr == f"gateway: on the gateway at http://127.0.0.1:{demo.port}, data in .run\n"
    secret = json.loads(typed(demo, "key", "create", "alice", "laptop", "--json").stdout)["secret"]
    status, _, _ = demo.get("/sdapi/v1/sd-models", headers={"Authorization": f"Bearer {secret}"})
    assert status == 200
    assert not (demo.home.parent / "data").exists()


def test_backend_list_doctor_and_queue_show_the_same_pool_simulated_servers_too(demo):
    listed = {one["name"] for one in json.loads(typed(demo, "backend", "list", "--json").stdout)}
    queued = {one["name"] for one in json.loads(typed(demo, "queue", "--json").stdout)["backends"]}
    examined = {one["backend"] for one in json.loads(typed(demo, "doctor", "--look-only", "--json").stdout)}
    assert listed == queued == examined == {"sim-1", "sim-2"}


def test_in_another_folder_a_command_finds_nothing_makes_nothing_and_says_so(demo, tmp_path):
    told = typed(demo, "tenant", "list", data_dir=str(tmp_path / "data"))
    assert told.returncode == 1
    assert "No gateway was started here yet" in told.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [
        (("--version",), ("pydantic", "sqlalchemy", "rich")),
        (("check-config",), ("sqlalchemy", "redis", "aiohttp", "fastapi", "uvicorn", "structlog")),
        (
            ("tenant", "list"),
            ("alembic", "asyncpg", "redis", "aiohttp", "fastapi", "uvicorn", "structlog", "rich.table"),
        ),
        (("tenant", "create", "bob"), ("alembic", "asyncpg", "redis", "aiohttp", "fastapi", "uvicorn", "structlog")),
        (("usage",), ("alembic", "asyncpg", "redis", "aiohttp", "fastapi", "uvicorn", "structlog")),
        (("queue",), ("alembic", "asyncpg", "aiohttp", "fastapi", "uvicorn", "structlog")),
        (("doctor", "--look-only"), ("alembic", "asyncpg", "redis", "fastapi", "uvicorn", "structlog")),
    ],
)
def test_a_command_imports_nothing_that_it_does_not_need(words, forbidden, demo):
    program = (
        "import sys\nfrom gateway.cli import main\nsys.argv = ['gateway', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    environment = without_settings()
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", program, *words],
        cwd=demo.home.parent,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:2000]
    loaded = set(done.stderr.splitlines())
    assert [name for name in forbidden if name in loaded] == []
