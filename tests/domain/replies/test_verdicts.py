import re

import pytest

from gateway.domain.replies.verdicts import AttemptFailed, Flaw


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flaw_is_a_label_that_metrics_can_carry(flaw):
    assert re.fullmatch(r"[a-z_]{3,20}", flaw.value)


def test_failures_are_told_apart_by_their_signature():
    assert AttemptFailed(Flaw.EMPTY, "x", "a") != AttemptFailed(Flaw.EMPTY, "x", "b")
