"""Whether a server can be trusted with the gateway's state; asked once, at start."""

from __future__ import annotations

from typing import Any

from gateway.adapters.redis.connection import Connection

SERVER_MS = 30 * 86_400_000
OLDEST_MAJOR = 7


class UnfitServer(Exception):
    """The server answers, but must not hold the gateway's state; the sentence says why and what to change."""


async def check_server(connection: Connection) -> None:
    """Return if the server fits. Raises UnfitServer if it is older than 7 or evicts, StoreUnavailable if it is silent.

    Valkey tells the Redis version it is compatible with as `redis_version`. The policy is read from INFO, because
    managed servers refuse CONFIG.
    """
    server: dict[str, Any] = await connection.command("INFO", "server")
    version = str(server.get("redis_version", ""))
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_MAJOR:
        raise UnfitServer(
            f"The Redis server is version {version or 'unknown'}; the gateway needs {OLDEST_MAJOR} or newer, "
            "or any Valkey. Upgrade it, or name another in GATEWAY_REDIS_URL."
        )
    memory: dict[str, Any] = await connection.command("INFO", "memory")
    policy = str(memory.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        raise UnfitServer(
            f"The Redis server evicts keys (maxmemory-policy is {policy}); slots and quotas would be granted twice. "
            "Set maxmemory-policy to noeviction, or name another server in GATEWAY_REDIS_URL."
        )


async def check_deployment(connection: Connection, deployment_id: str) -> bool:
    """Whether this store belonged to no deployment until now. Raises UnfitServer if it belongs to another one.

    Two databases on one namespace would count and grant past each other; a store that lost its data is taken anew.
    """
    key = connection.key("deployment")
    was_set = await connection.command("SET", key, deployment_id, "NX")
    kept = (await connection.command("GET", key) or b"").decode()
    if kept != deployment_id:
        raise UnfitServer(
            f"The namespace {connection.namespace} in this Redis belongs to another gateway's database ({kept}, not "
            f"{deployment_id}). Set another GATEWAY_NAMESPACE, or name the Redis and the database that belong together."
        )
    return was_set is not None


async def end_lease_of_another_start(connection: Connection) -> None:
    """A server that was started anew over kept data holds the dispatcher's lease of a process that may be gone with it:
    until it ran out, what the data say of the backends would be believed. Whoever leads takes it again at once.
    """
    server = await connection.server()
    before = (await connection.command("GET", connection.key("server")) or b"").decode()
    if before not in ("", server):
        await connection.command("DEL", connection.key("lease"))
    await connection.command("SET", connection.key("server"), server, "PX", SERVER_MS)
