"""Which heads may be served, and what an upgrade that is not taken leaves of one."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import NotHttp
from gateway.launcher.request_heads import target_to_serve, without_upgrade

HOST = (b"host", b"h:80 ")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/a?b=http://u@h", b"/a?b=http://u@h"),
        (b"GET", b"//a", b"//a"),
        (b"OPTIONS", b"*", b"*"),
        (b"GET", b"http://h", b"/"),
        (b"GET", b"http://h?a/b", b"/?a/b"),
        (b"GET", b"HTTPS://[::1]:80//a", b"//a"),
    ],
)
def test_every_form_of_target_names_a_path(method, target, expected):
    assert target_to_serve(method, target, "1.1", [HOST]) == expected


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("2.0", [HOST]),
        ("1.1", []),
        ("1.0", [HOST, HOST]),
        ("1.1", [(b"host", b"a b")]),
        ("1.1", [(b"host", b"\xff")]),
        ("1.0", [(b"transfer-encoding", b"chunked")]),
        ("1.1", [HOST, (b"transfer-encoding", b"chunked, chunked")]),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(version, headers):
    with pytest.raises(NotHttp, match=r"\.$"):
        target_to_serve(b"GET", b"/", version, headers)


def test_an_empty_host_and_any_spelling_of_chunked_are_allowed():
    headers = [(b"host", b""), (b"transfer-encoding", b"Chunked ")]
    assert target_to_serve(b"POST", b"/", "1.1", headers) == b"/"


class Seen:
    def __init__(self):
        self.headers, self.parser = [], httptools.HttpRequestParser(self)

    def on_header(self, name, value):
        self.headers.append((name, value))


TOKENS = st.text("abcXYZ019-_!~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
OTHERS = {b"upgrade", b"content-length", b"transfer-encoding", b"host"}


@given(
    st.lists(
        st.tuples(TOKENS.filter(lambda name: name.lower() not in OTHERS), VALUES.map(lambda v: v.encode("latin-1")))
    )
)
def test_all_but_the_upgrade_of_a_head_comes_through_unchanged(others):
    headers = [(b"host", b"h"), (b"connection", b"upgrade"), (b"upgrade", b"h2c"), *others, (b"upgrade", b"x")]
    seen = Seen()
    seen.parser.feed_data(without_upgrade(b"POST", b"/a?b", "1.1", headers))
    assert seen.headers == [header for header in headers if header[0] != b"upgrade"]
    assert (seen.parser.get_method(), seen.parser.should_upgrade()) == (b"POST", False)
