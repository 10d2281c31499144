"""A command line on a database of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import backend, db, key, plan, queue, tenant, usage
from gateway.cli.desk import Desk
from gateway.cli.job import job
from gateway.settings import BackendSettings
from tests.contracts.sql.databases import migrated_file
from tests.support.patience import STORE_TIMEOUT_S

__all__ = ["migrated_file"]

NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
APPS = {module.__name__.rpartition(".")[2]: module.app for module in (backend, db, key, plan, queue, tenant, usage)}
APPS["job"] = typer.Typer()
APPS["job"].command()(job)


@dataclass
class CommandLine:
    """Runs commands as they are typed after `gateway`, at a fixed time."""

    url: str
    now: float = NOW
    redis_url: str = ""
    backends: tuple[BackendSettings, ...] = ()
    runner: CliRunner = field(default_factory=CliRunner)

    def __call__(self, *words, status=0, given=None):
        """What the command wrote, both streams; it must end with `status`."""
        settings = SimpleNamespace(
            sql_url=self.url,
            redis_url=self.redis_url,
            namespace="gateway",
            backends=self.backends,
            store_timeout_s=STORE_TIMEOUT_S,
        )
        desk = Desk(lambda: settings, lambda: self.now, "cli:tester")
        done = self.runner.invoke(APPS[words[0]], list(words[1:]), obj=desk, input=given)
        assert done.exit_code == status, (done.output, done.exception)
        return done.output

    def json(self, *words, given=None):
        """The command's answer to --json."""
        return json.loads(self(*words, "--json", given=given))


@pytest.fixture
def gateway(tmp_path, migrated_file):
    """The command line on a database as a first start leaves it, but for the first credentials."""
    shutil.copy(migrated_file, tmp_path / "gateway.db")
    return CommandLine(f"sqlite:///{tmp_path}/gateway.db")
