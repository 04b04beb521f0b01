"""HTML of elements: nested, in order, and escaped."""

from html.parser import HTMLParser

import pytest

from app.routes.html import document, node, prose, table


def written(*children: object) -> str:
    """Return the text of a page with these children in its body."""
    return document(node("head"), node("body", *children))  # type: ignore[arg-type]


def test_a_document_is_an_html_page() -> None:
    page = document(node("head", node("title", "a")), node("body", "b"))
    assert page == '<!doctype html><html lang="en"><head><title>a</title></head><body>b</body></html>'


def test_text_and_elements_keep_their_order() -> None:
    assert "<body>one<b>two</b>three four<i></i>five</body>" in written(
        "one", node("b", "two"), "three", " four", node("i"), "five"
    )


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b", "&amp;", "</body>", '"', "'"])
def test_text_is_read_back_as_it_was(text: str) -> None:
    """Read the page with a parser of HTML: an element's text, and an attribute."""
    seen: list[object] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, attrs))

        def handle_data(self, data: str) -> None:
            seen.append(data)

    Reader().feed(written(node("p", text, title=text)))
    assert seen[-2:] == [("p", [("title", text)]), text]


def test_an_attribute_has_a_lower_case_name() -> None:
    assert node("p", Class="lead", id="X").attrib == {"class": "lead", "id": "X"}


def test_an_empty_element_has_no_end_tag() -> None:
    assert '<body><meta charset="utf-8"></body>' in written(node("meta", charset="utf-8"))


def test_words_between_backticks_are_code() -> None:
    assert "<body>set <code>lr</code> and <code>eps</code></body>" in written(*prose("set `lr` and `eps`"))


def test_a_table_lies_in_a_box_that_scrolls() -> None:
    rows = (node("tr", node("td", text)) for text in "ab")
    expected = '<div class="table"><table><tr><td>a</td></tr><tr><td>b</td></tr></table></div>'
    assert expected in written(table(rows))
