"""What RFC 9112 demands of a request's head and the parser does not check. Pure.

The parser (llhttp) refuses control characters, folded lines, blanks before a colon and conflicting lengths by itself.
Left to us: the version, `Host`, which transfer coding, and the form of the target. What is refused here was never
handed to the application.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.domain.errors import NotHttp

Header = tuple[bytes, bytes]

_HOST = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%:[]"  # RFC 3986, 3.2.2
_SCHEMES = (b"http", b"https")


def target_to_serve(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """The request's target as `/path?query`, or `*`. `headers` have names in lower case. Raises NotHttp."""
    if version not in ("1.1", "1.0"):
        raise NotHttp(f"HTTP/{version} is not spoken on this connection. Send HTTP/1.1.")
    hosts, codings = [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip())
        elif name == b"transfer-encoding":
            codings.append(value.strip().lower())
    _check_host(hosts, version)
    _check_coding(codings, version)
    return _origin_form(method, target)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """The same head, as bytes, without its `Upgrade`: what a server that takes no upgrade sees (RFC 9110, 7.8)."""
    lines = [b"%s: %s\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, target, version.encode(), b"".join(lines))


def _check_host(hosts: Sequence[bytes], version: str) -> None:
    """RFC 9112, 3.2. An HTTP/1.0 request may have none: checks of balancers are sent so."""
    if len(hosts) > 1:
        raise NotHttp("The request has more than one Host header. Send one.")
    if not hosts and version != "1.0":
        raise NotHttp("The request has no Host header. Send one.")
    if hosts and hosts[0].translate(None, _HOST):
        raise NotHttp("The Host header is not a host with an optional port.")


def _check_coding(codings: Sequence[bytes], version: str) -> None:
    """RFC 9112, 6.1: a body whose end two readers could see in different places is never read."""
    if not codings:
        return
    if version == "1.0":
        raise NotHttp("HTTP/1.0 has no Transfer-Encoding. Send Content-Length, or HTTP/1.1.")
    if list(codings) != [b"chunked"]:
        raise NotHttp("The only Transfer-Encoding understood here is chunked.")


def _origin_form(method: bytes, target: bytes) -> bytes:
    """RFC 9112, 3.2: the path and query of each form that a target may have."""
    if method == b"CONNECT":
        raise NotHttp("This is no proxy: CONNECT is not supported.")
    if b"#" in target:
        raise NotHttp("The request's target has a fragment. Leave out # and what follows it.")
    if target == b"*":
        if method != b"OPTIONS":
            raise NotHttp("Only OPTIONS may have the target *. Send a path.")
        return target
    if target.startswith(b"/"):
        return target
    # Absolute form: its authority stands above Host (3.2.2), and nothing here depends on either.
    scheme, _, rest = target.partition(b"://")
    authority_bytes = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:authority_bytes], rest[authority_bytes:]
    if scheme.lower() not in _SCHEMES or not authority or authority.translate(None, _HOST):
        raise NotHttp("The request's target is neither a path nor an http:// address of this server.")
    return path if path.startswith(b"/") else b"/" + path
