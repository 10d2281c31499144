"""The listening socket: opened before any child, so that a taken port is one clear line and no half-started gateway."""

from __future__ import annotations

import errno
import socket

from gateway.domain.mendable import Mendable

_BACKLOG = 2048
_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how a person here reaches them


class PortUnavailable(Mendable):
    """The address cannot be listened on; the sentence says why and what to do."""


def listen(host: str, port: int, remedy: str = "--port or GATEWAY_PORT") -> socket.socket:
    """A listening TCP socket. Port 0 takes any free one. `::` also takes IPv4. Raises PortUnavailable.

    `remedy` is what the port is chosen with.
    """
    try:
        (family, *_), *_others = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except UnicodeError as error:  # what getaddrinfo raises for a name no host can have
        raise PortUnavailable(f"{host!r} is no host's name. Correct GATEWAY_HOST.") from error
    except OSError as error:
        raise PortUnavailable(_why(error, host, port, remedy)) from error


def address_of(listener: socket.socket) -> str:
    """The address a person on this machine can open: `http://host:port`."""
    host, port = listener.getsockname()[:2]
    host = _EVERY_INTERFACE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(error: OSError, host: str, port: int, remedy: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken by another program. "
            f"End that program, or choose another port with {remedy}."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has. Choose one above 1023 with {remedy}."
    return f"Cannot listen on {host}, port {port}: {error.strerror or error}. Correct GATEWAY_HOST or GATEWAY_PORT."
