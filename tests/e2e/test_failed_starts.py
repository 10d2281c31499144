"""A start that cannot succeed: one sentence, status 1, nothing started again, nothing left behind."""

from __future__ import annotations

import asyncio
import socket

import asyncpg
import pytest

from gateway.settings import load_settings
from gateway.wiring.desk import migrate_schema
from tests.contracts.sql.postgres import postgres
from tests.support.ports import free_port
from tests.support.processes import wait_until

__all__ = ["postgres"]

DEMO = ("demo",)
SERVE = ("serve",)
TWO = ("serve", "--workers", "2")


def refused(gateway, *parts):
    """It ended with status 1 and wrote one sentence with these parts."""
    assert gateway.ended() == 1
    lines = gateway.output.splitlines()
    assert len(lines) == 1, gateway.output
    assert lines[0].startswith("gateway: ")
    assert all(part in lines[0] for part in parts), lines[0]
    assert gateway.left_behind() == []


@pytest.mark.parametrize("words", [SERVE, TWO])
def test_a_redis_that_evicts_ends_the_start_in_one_sentence_whoever_serves(words, gateways, valkey):
    valkey.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        refused(gateways.start(*words, redis_url=valkey.url, alone="true"), "maxmemory-policy is allkeys-lru")
    finally:
        valkey.client.config_set("maxmemory-policy", "noeviction")


def test_a_database_restored_beside_another_gateways_redis_ends_the_start_in_one_sentence(gateways, valkey):
    valkey.client.set("{gateway}:deployment", "d_another")
    refused(gateways.start(*TWO, redis_url=valkey.url, alone="true"), "belongs to another gateway's database")


def test_a_wrong_password_of_postgresql_ends_the_start_in_one_sentence(gateways, postgres, valkey):
    asyncio.run(_ask_for_passwords(postgres))
    url = postgres.replace("postgres@", "guarded:wrong@").format(database="postgres")
    refused(
        gateways.start(*SERVE, redis_url=valkey.url, database_url=url),
        'password authentication failed for user "guarded"',
        "Correct GATEWAY_DATABASE_URL",
    )


async def _ask_for_passwords(server):
    connection = await asyncpg.connect(server.format(database="postgres"))
    try:
        await connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        # The first rule that fits counts; this one is for the one role.
        (file,) = await connection.fetchrow("SHOW hba_file")
        rules = await connection.fetchval("SELECT pg_read_file($1)", file)
        await connection.execute("CREATE TEMP TABLE rules (line text)")
        text = f"local all guarded scram-sha-256\n{rules}"
        await connection.executemany("INSERT INTO rules VALUES ($1)", [(line,) for line in text.splitlines() if line])
        await connection.execute(f"COPY rules TO '{file}'")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


def test_a_postgresql_that_is_not_there_ends_the_start_in_one_sentence_with_workers_and_embedded_valkey(gateways):
    url = "postgresql://u:hidden@127.0.0.1:1/n"
    gateway = gateways.start(*TWO, database_url=url)
    refused(gateway, "The database cannot be reached: connection refused. Correct GATEWAY_DATABASE_URL")
    assert "hidden" not in gateway.output


def test_a_database_file_that_is_none_ends_the_start_in_one_sentence_that_names_it(gateways, tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "gateway.db").write_text("this is no database " * 100)
    refused(gateways.start(*SERVE, data_dir=str(folder)), "file is not a database", str(folder / "gateway.db"))


@pytest.mark.parametrize("words", [SERVE, DEMO])
def test_a_data_directory_that_cannot_be_made_ends_the_start_in_one_sentence(words, gateways, tmp_path):
    (tmp_path / "file").write_text("")
    refused(gateways.start(*words, data_dir=str(tmp_path / "file" / "data")), "GATEWAY_DATA_DIR", "Not a directory")


def test_a_data_directory_that_cannot_be_made_is_told_by_one_process_alone_too(gateways, tmp_path, valkey):
    (tmp_path / "file").write_text("")
    given = {"redis_url": valkey.url, "alone": "true", "data_dir": str(tmp_path / "file" / "data")}
    refused(gateways.start(*SERVE, **given), "GATEWAY_DATA_DIR", "not a directory")


def test_a_taken_port_for_metrics_ends_the_start_in_one_sentence(gateways):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(gateways.start(*SERVE, metrics_port=port), f"port {port}", "Choose another GATEWAY_METRICS_PORT")


def test_a_taken_port_of_a_simulated_server_is_one_sentence(gateways):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(gateways.start("sim-backend", "--port", str(port)), f"Port {port} of 127.0.0.1 is taken", "with --port")


@pytest.mark.parametrize(("redis_url", "why"), [("redis://127.0.0.1:{}", "connection refused")])
def test_a_redis_that_is_not_there_yet_ends_no_start_and_is_told_without_a_trace(redis_url, why, gateways, tmp_path):
    asyncio.run(migrate_schema(load_settings(data_dir=tmp_path / "data")))
    given = {"redis_url": redis_url.format(free_port()), "alone": "true", "data_dir": str(tmp_path / "data")}
    gateway = gateways.start(*SERVE, drain_delay_s="0", **given)
    wait_until(lambda: gateway.get_json("/readyz"), "it answers")
    assert why in gateway.get_json("/readyz")["store"]["reason"]
    wait_until(lambda: "start_waits_for_store" in gateway.output, "it says what it waits for")
    gateway.process.terminate()
    assert gateway.ended() == 0
    assert "Traceback" not in gateway.output
