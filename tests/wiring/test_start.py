from __future__ import annotations

import pytest

from gateway.adapters.sql.engine import DatabaseFailed
from gateway.domain.errors import InvalidRequest
from gateway.settings import load_settings
from gateway.wiring.start import StartFailed, database_named, failing_in_one_sentence


def test_errors_of_ours_and_foreseen_ones_fail_the_start_with_their_sentence_and_defects_stay_defects():
    with pytest.raises(StartFailed, match="mend it"), failing_in_one_sentence():
        raise InvalidRequest("mend it")
    with pytest.raises(StartFailed, match="foreseen"), failing_in_one_sentence(LookupError):
        raise KeyError("foreseen")
    with pytest.raises(KeyError), failing_in_one_sentence():
        raise KeyError("a defect")


@pytest.mark.parametrize(
    ("given", "remedy"),
    [({}, r"gateway\.db: correct GATEWAY_DATA_DIR"), ({"database_url": "postgresql://u:hidden@h/n"}, "DATABASE_URL")],
)
def test_a_database_that_fails_a_start_is_told_with_what_to_correct_and_without_its_password(given, remedy, tmp_path):
    with pytest.raises(StartFailed, match=remedy) as caught, database_named(load_settings(data_dir=tmp_path, **given)):
        raise DatabaseFailed("The database cannot be reached: connection refused.")
    assert "hidden" not in str(caught.value)
