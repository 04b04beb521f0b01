"""JSON schemas for people: types in a few words, and tables of members."""

import re
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from app.main import create_app
from app.routes.docs_page import render
from app.routes.docs_schema import row, shape, type_of
from app.routes.html import Node, node
from app.settings import Settings
from tests.service.test_docs_page import Page

PAIR = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"const": 1}}, "required": ["b"]}


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(create_app(Settings(store="memory:")).openapi()))


def said(nodes: list[Node]) -> str:
    """Return the text of nodes as a browser shows it."""
    return "".join(node("p", *nodes).itertext())


def tags(element: Element, name: str) -> list[str]:
    return ["".join(found.itertext()) for found in element.iter(name)]


def test_types_are_said_in_a_few_words(page: Page) -> None:
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        "integer ≥ 1, ≤ 100, default 20",
        "one"[:0] + '"reject" or "skip", default "reject"',
        "array of Group or null",
        "object of Tensor",
        "number ≥ 0, default 0.001",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "anything"),
        ({"type": "string", "format": "binary"}, "bytes"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "array", "items": {"type": "integer", "minimum": 0}}, "array of integer ≥ 0"),
        ({"type": ["object", "null"], "additionalProperties": {"type": "string"}}, "object of string or null"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "number > 0, < 1"),
        ({"enum": [None, "skip"]}, 'null or "skip"'),
        ({"const": "cosine"}, '"cosine"'),
        ({"type": "boolean", "default": False}, "boolean, default false"),
        ({"properties": {"a": {}, "b": {}}}, "{a, b}"),
        ({"anyOf": [{"type": "object"}, {"type": "object"}, {"type": "null"}]}, "object or null"),
    ],
)
def test_a_type_has_its_words(schema: dict[str, Any], words: str) -> None:
    assert said(type_of(schema)) == words


def test_a_reference_links_to_the_schema() -> None:
    [link] = node("p", *type_of({"$ref": "#/components/schemas/Group"})).iter("a")
    assert (link.text, link.get("href")) == ("Group", "#Group")


def test_a_table_marks_the_needed_members() -> None:
    table = node("p", *shape(PAIR | {"description": "A `pair`."}))
    assert tags(table, "th") == ["a", "b needed"]
    assert tags(table, "td") == ["integer", "1"]
    assert "A pair." in tags(table, "p")
    assert "pair" in tags(table, "code")


def test_a_row_unfolds_the_kinds_of_an_object() -> None:
    found = row("schedule", {"oneOf": [PAIR | {"title": "cosine"}, {"type": "null"}], "description": "How."})
    assert tags(found, "summary") == ["cosine"]
    assert tags(found, "th") == ["schedule", "a", "b needed"]
    assert tags(row("limit", {"type": "integer"}, place="query"), "th") == ["limit query"]
