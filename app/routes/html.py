"""HTML as elements, never as text: everything in them is escaped when it is written. And the policy of all pages."""

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Node: TypeAlias = Element | str


def policy(scripts: str = "'self'", styles: str = "'self'") -> str:
    """Return a policy of these scripts and style sheets.

    A browser that is told so loads nothing from elsewhere, sends nothing elsewhere, and runs no script that came into
    the page by another way.
    """
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def node(tag: str, *children: Node, **attributes: str) -> Element:
    """Return an element. `Class` stands for `class`, a keyword of Python, and `aria_label` for `aria-label`."""
    element = Element(tag, {name.lower().replace("_", "-"): value for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + child
        else:
            element.text = (element.text or "") + child
    return element


def prose(text: str) -> list[Node]:
    """Return the nodes of a text in which `…` is code."""
    return [node("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))]


def table(rows: Iterable[Element]) -> Element:
    """Return a table that scrolls by itself on a narrow page."""
    return node("div", node("table", *rows), Class="table")


def document(head: Element, body: Element) -> str:
    return "<!doctype html>" + tostring(node("html", head, body, lang="en"), "unicode", method="html")
