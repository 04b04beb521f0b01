"""HTML as elements, never as text: whatever stands in them is escaped when they are written."""

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Node: TypeAlias = Element | str


def node(tag: str, *children: Node, **attributes: str) -> Element:
    """An element. `Class` is `class`, a name that Python keeps for itself."""
    element = Element(tag, {name.lower(): value for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + child
        else:
            element.text = (element.text or "") + child
    return element


def prose(text: str) -> list[Node]:
    """Text in which `…` is code."""
    return [node("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))]


def table(rows: Iterable[Element]) -> Element:
    """A table that scrolls by itself where the page is narrow."""
    return node("div", node("table", *rows), Class="table")


def document(head: Element, body: Element) -> str:
    return "<!doctype html>" + tostring(node("html", head, body, lang="en"), "unicode", method="html")
