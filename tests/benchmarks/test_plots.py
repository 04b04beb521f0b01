"""The benchmarks' pictures."""

from itertools import pairwise
from xml.etree import ElementTree

from benchmarks.plots import LABEL_GAP, Chart, Line, draw

SVG = "{http://www.w3.org/2000/svg}"


def chart(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(draw(Chart("a < b", "medians", "ms", lines)))


def test_each_line_is_drawn_with_dots_and_name() -> None:
    picture = chart(Line("one", "c0", [(1e3, 1), (1e6, 10)]), Line("two", "c1 peer", [(1e3, 2)]))
    assert [circle.get("class") for circle in picture.iter(f"{SVG}circle")] == ["c0", "c0", "c1 peer"]
    assert {"one", "two", "a < b", "1 k", "1 M", "1 ms", "10 ms"} <= {text.text for text in picture.iter(f"{SVG}text")}


def test_equal_ratios_are_drawn_at_equal_distances() -> None:
    picture = chart(Line("one", "c0", [(1e3, 1), (1e4, 10), (1e5, 100)]))
    places = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in picture.iter(f"{SVG}circle")]
    ways = {(round(x2 - x1), round(y2 - y1)) for (x1, y1), (x2, y2) in pairwise(places)}
    assert len(ways) == 1
    assert all(right > 0 > up for right, up in ways)


def test_no_label_overlaps_another() -> None:
    lines = [Line(f"line {i}", "c0", [(1e3, 1), (1e6, 100 + i)]) for i in range(8)]
    names = [text for text in chart(*lines).iter(f"{SVG}text") if (text.text or "").startswith("line")]
    places = sorted(float(text.get("y", "")) for text in names)
    assert all(below - above >= LABEL_GAP - 0.11 for above, below in pairwise(places))
