from gateway.domain.parameters.table import Does, Kind, Row, choice, drops, floats, ints, raws, table_of, text


def test_rows_are_found_by_name_and_each_says_what_it_does():
    table = table_of(ints(0, 5, "a", "b"), floats(0, 1, "c", does=Does.CAP), raws("d"), drops("e", quiet=(False,)))
    assert table["b"] == Row("b", Does.PASS, Kind.INT, 0, 5)
    assert (table["c"].does, table["d"].kind, table["e"].quiet) == (Does.CAP, Kind.RAW, (False,))


def test_a_text_is_bounded_by_its_characters_and_a_choice_by_its_words():
    assert text("a", most=7)[0].high == 7
    assert choice("a", "x", "y")[0].choices == ("x", "y")
