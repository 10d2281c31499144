import pytest

from gateway.domain.errors import InvalidRequest, refuse_all


def test_every_fault_of_a_body_is_told_in_one_refusal():
    refuse_all([])
    faults = [InvalidRequest("a must be b.", "a"), InvalidRequest("c must be d.", "c")]
    with pytest.raises(InvalidRequest, match=r"a must be b\. c must be d\.") as caught:
        refuse_all(faults)
    told = [(fault.field, fault.sentence) for fault in (caught.value, *caught.value.others)]
    assert told == [("a", "a must be b."), ("c", "c must be d.")]
