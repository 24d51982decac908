"""The order of systems by candidate rule, on numbers whose order is plain."""

from papers_repro.orders import told, turned, values
from papers_repro.paper import Paper
from papers_repro.verdicts import Line, Mean

ABOUT = Paper("t", "a", "v", "l", "d", "p", rule="full", rules=("pop-100",))


def line(value: float) -> Line:
    """A line of one seed."""
    return Line((1,), {"ndcg@10": Mean(value, None)}, {}, {}, (), 0, 1.0)


LINES = {
    "c": line(0.1),
    "c @ pop-100": line(0.6),
    "a": line(0.3),
    "a @ pop-100": line(0.5),
    "b": line(0.2),
    "b @ pop-100": line(0.4),
    "alone": line(0.9),  # has no row under the other rule
}


def test_systems_are_in_the_order_of_the_first_rule_and_have_every_rule() -> None:
    assert list(values(ABOUT, LINES)) == ["a", "b", "c"]


def test_pairs_that_change_places_are_those_of_opposite_order() -> None:
    found = values(ABOUT, LINES)
    assert turned(found, "full", "pop-100") == [("a", "c"), ("b", "c")]
    assert turned(found, "full", "full") == []


def test_equal_values_change_no_places() -> None:
    found = {"a": {"full": 0.2, "pop-100": 0.1}, "b": {"full": 0.2, "pop-100": 0.3}}
    assert turned(found, "full", "pop-100") == []


def test_the_table_shows_places_and_says_what_changed() -> None:
    text = "\n".join(told(ABOUT, LINES))
    assert "| a | .3000 (1) | .5000 (2) |" in text
    assert "| c | .1000 (3) | .6000 (1) |" in text
    assert "Under pop-100, 2 of 3 pairs change places: c before a, c before b." in text


def test_a_paper_of_one_rule_has_no_such_table() -> None:
    assert told(Paper("t", "a", "v", "l", "d", "p", rule="full"), LINES) == []
