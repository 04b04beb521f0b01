"""The page of /docs: complete, self-contained, and safe for any schema."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from app.errors import ERRORS
from app.main import create_app
from app.routes.docs_page import pretty, render
from app.routes.page import page_files
from app.settings import Settings

LOADS = {"script", "img", "iframe", "object", "embed", "link", "form", "input"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text, as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, given in self.elements if (value := given.get(name)) is not None]


@pytest.fixture(scope="module")
def schema() -> Any:
    return create_app(Settings(store="memory:")).openapi()


@pytest.fixture(scope="module")
def page(schema: Any) -> Page:
    return Page(render(schema))


def operations(schema: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


@pytest.mark.long
def test_every_operation_and_schema_has_an_anchor_and_a_link(schema: Any, page: Page) -> None:
    places = {operation["operationId"] for _, _, operation in operations(schema)} | schema["components"][
        "schemas"
    ].keys()
    assert places <= set(page.attributes("id"))
    assert {f"#{place}" for place in places} <= set(page.attributes("href"))


def test_every_link_on_the_page_leads_somewhere(page: Page) -> None:
    inner = {href.removeprefix("#") for href in page.attributes("href") if href.startswith("#")}
    assert inner <= set(page.attributes("id"))
    assert len(page.attributes("id")) == len(set(page.attributes("id")))


def test_every_word_of_an_operation_is_on_the_page(schema: Any, page: Page) -> None:
    for method, path, operation in operations(schema):
        words = [method.upper(), path, operation["summary"], operation["description"].replace("`", "")]
        words += [parameter["name"] for parameter in operation.get("parameters", [])]
        for status, answer in operation["responses"].items():
            words += [status, answer["description"].replace("`", ""), *answer.get("content", {})]
        for word in words:
            assert word in page.text


def test_every_error_is_on_the_page(page: Page) -> None:
    answered = ERRORS.keys() - {"route_not_found", "method_not_allowed"}
    assert {code for code in answered if code not in page.text} == set()


def test_the_page_loads_only_its_own_files(page: Page) -> None:
    loaded = [(tag, given.get("src") or given.get("href")) for tag, given in page.elements if tag in LOADS]
    assert loaded == [
        ("link", "page/icon.svg"), ("script", "page/theme.js"), ("link", "page/theme.css"), ("link", "page/docs.css"),
        ("script", "page/try.js"), ("img", "page/icon.svg"),
    ]  # fmt: skip
    assert {address.removeprefix("page/") for _, address in loaded if address} <= page_files().keys()
    assert not [name for _, given in page.elements for name in given if name.startswith("on") or name == "style"]
    assert "style" not in [tag for tag, _ in page.elements]


def test_each_call_can_be_tried(schema: Any, page: Page) -> None:
    buttons = [
        given.get("data-operation") for tag, given in page.elements if tag == "button" and given.get("class") == "try"
    ]
    assert buttons == [operation["operationId"] for _, _, operation in operations(schema)]


def test_whatever_a_schema_says_is_text() -> None:
    bad = "<script>alert(1)</script>&amp;\"'`<marquee>`"
    operation = {
        "tags": ["tag"], "operationId": "op", "summary": bad, "description": bad,
        "parameters": [{"name": bad, "in": "query", "description": bad, "schema": {"type": bad, "default": bad}}],
        "requestBody": {"content": {bad: {"schema": {"$ref": f"#/x/{bad}"}, "example": {bad: bad}}}},
        "responses": {
            "200": {"description": bad, "headers": {bad: {"schema": {"enum": [bad]}}}}, "400": {"description": bad},
        },
    }  # fmt: skip
    schemas = {bad: {"title": bad, "properties": {bad: {"oneOf": [{"title": bad, "properties": {bad: {}}}]}}}}
    about = {"title": bad, "version": bad, "summary": bad}
    page = Page(render({"info": about, "paths": {f"/{bad}": {"get": operation}}, "components": {"schemas": schemas}}))
    assert "marquee" not in [tag for tag, _ in page.elements]
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2, "its own"
    assert page.text.count("<script>alert(1)</script>&amp;") > 12


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None], "b": {}}, '{"a": [1, 2.5, null], "b": {}}'),
        ({"long": "x" * 80, "short": [1]}, '{\n  "long": "' + "x" * 80 + '",\n  "short": [1]\n}'),
        (["x" * 50, "ü" * 50], '[\n  "' + "x" * 50 + '",\n  "' + "ü" * 50 + '"\n]'),
    ],
)
def test_json_breaks_only_lines_that_are_too_long(value: object, text: str) -> None:
    assert pretty(value) == text
