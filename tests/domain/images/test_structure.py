import pytest

from gateway.domain.images.structure import Malformed, read_exactly
from tests.domain.images.files import File


def test_a_file_that_ends_before_what_it_announces_is_malformed():
    assert read_exactly(File(b"abcdef"), 2, 4) == b"cdef"
    with pytest.raises(Malformed, match="too early"):
        read_exactly(File(b"abcdef"), 2, 5)
