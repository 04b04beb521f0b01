"""A finding: its form for programs, and its way out."""

from app.doctor.finding import away, ok, warning


def test_a_finding_names_its_level_and_way_out() -> None:
    assert warning("disk", "is slow", "Use another").document() == {
        "check": "disk", "level": "warning", "found": "is slow", "way_out": "Use another"
    }  # fmt: skip
    assert ok("disk", "is quick").document()["way_out"] is None


def test_the_note_of_an_error_is_the_way_out() -> None:
    error = ConnectionError("no answer")
    assert away("store", error, "See its log").way_out == "See its log"
    error.add_note("Start it")
    finding = away("store", error, "See its log")
    assert (finding.found, finding.way_out, finding.is_away) == ("no answer", "Start it", True)
