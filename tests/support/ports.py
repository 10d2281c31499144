"""Free ports of the loopback interface."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1, free a moment ago."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def free_port() -> int:
    return free_ports(1)[0]
