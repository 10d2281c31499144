from __future__ import annotations

import os
import socket
import sys

import pytest

from gateway.launcher.listening import PortUnavailable, address_of, listen


def test_connections_are_queued_from_the_first_moment():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as caller:
        accepted, address = listener.accept()
        accepted.close()
        assert address == caller.getsockname()


def test_a_taken_port_is_told_with_the_way_out():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortUnavailable, match=rf"^Port {port} of 127.0.0.1 is taken .* choose another port"):
            listen("127.0.0.1", port)


def test_a_port_just_left_can_be_taken_again_at_once():
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as caller:
            accepted, _ = listener.accept()
            accepted.close()  # our side closes first, so the connection lingers in TIME_WAIT
            caller.recv(1)
    with listen(*address) as again:
        assert again.getsockname() == address


def test_an_address_that_is_not_ours_is_told_with_the_setting_to_correct():
    with pytest.raises(PortUnavailable, match=r"^Cannot listen on 192.0.2.1, port 0: .*GATEWAY_HOST"):
        listen("192.0.2.1", 0)  # set aside for documentation (RFC 5737): nobody's


def test_a_name_no_host_can_have_is_told_with_the_setting_to_correct():
    with pytest.raises(PortUnavailable, match=r"is no host's name\. Correct GATEWAY_HOST"):
        listen("x" * 64, 0)


@pytest.mark.skipif(os.geteuid() == 0 or sys.platform == "darwin", reason="this user may take any port")
def test_a_port_for_which_rights_are_missing_is_told_with_the_way_out():
    with pytest.raises(PortUnavailable, match="above 1023"):
        listen("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1"),
        ("0.0.0.0", "http://127.0.0.1"),  # noqa: S104
        ("::1", "http://[::1]"),
        ("::", "http://[::1]"),
    ],
)
def test_the_address_shown_is_one_a_person_on_this_machine_can_open(host, shown):
    try:
        listener = listen(host, 0)
    except PortUnavailable as error:
        if ":" in host:
            pytest.skip(f"no IPv6 here: {error}")
        raise
    with listener:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"{shown}:{port}"
        socket.create_connection((shown.removeprefix("http://").strip("[]"), port)).close()


def test_every_interface_in_ipv6_means_ipv4_as_well():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    try:
        listener = listen("::", 0)
    except PortUnavailable as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as caller:
        assert caller.getpeername()[0] == "127.0.0.1"
