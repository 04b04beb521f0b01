"""An OpenAPI schema as one page in the clothes of the page at `/`, complete without scripts. Knows only the schema."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.etree.ElementTree import Element

from app.routes.docs_schema import Document, row, shape, type_of
from app.routes.html import Node, document, node, prose, table

WIDTH = 88
"""Characters in a line of JSON."""


class Operation(NamedTuple):
    method: str
    path: str
    about: Document


def render(schema: Document) -> str:
    """Return the whole page."""
    groups, info, schemas = _by_tag(schema["paths"]), schema["info"], schema["components"]["schemas"]
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="color-scheme", content="light dark"),
        node("title", info["title"]),
        node("link", rel="icon", href="page/icon.svg", type="image/svg+xml"),
        node("script", src="page/theme.js"),
        node("link", rel="stylesheet", href="page/theme.css"),
        node("link", rel="stylesheet", href="page/docs.css"),
        node("script", type="module", src="page/try.js"),
    )
    intro = node(
        "header",
        node("h1", info["title"], " ", node("small", info["version"])),
        node("p", info.get("summary", ""), Class="lead"),
        node("p", "The same for programs: ", node("a", "openapi.json", href="openapi.json"), "."),
        *(_key(scheme) for scheme in schema["components"].get("securitySchemes", {}).values()),
    )
    sections = [node("section", node("h2", tag, id=tag), *map(_operation, group)) for tag, group in groups.items()]
    named = [node("article", node("h3", name), *shape(value), id=name) for name, value in schemas.items()]
    sections.append(node("section", node("h2", "schemas", id="schemas"), *named))
    main = node("main", intro, *sections, id="main", tabindex="-1")
    announcer = node("p", id="announcer", Class="hidden", role="status")
    return document(head, node("body", *_bar(), node("div", _contents(groups, schemas), main, Class="docs"), announcer))


def _bar() -> list[Element]:
    """Return the head of the page, as `app/page/index.html` has it."""
    brand = node("img", src="page/icon.svg", alt="", width="24", height="24"), node("span", "Optim Service")
    pages = node("a", "Sessions", href="./"), node("a", "API", href="docs", aria_current="page")
    header = node(
        "header",
        node("a", *brand, Class="brand", href="./", aria_label="Optim Service"),
        node("nav", *pages, aria_label="Pages"),
        node("button", "Forget key", type="button", Class="quiet", id="forget", hidden=""),
        node("button", type="button", Class="quiet icon", id="theme"),
        Class="bar",
    )
    return [node("a", "Skip to the content", Class="skip", href="#main"), header]


def _by_tag(paths: Mapping[str, Mapping[str, Document]]) -> dict[str, list[Operation]]:
    groups: dict[str, list[Operation]] = {}
    for path, methods in paths.items():
        for method, about in methods.items():
            groups.setdefault(about["tags"][0], []).append(Operation(method, path, about))
    return groups


def _contents(groups: Mapping[str, Iterable[Operation]], schemas: Iterable[str]) -> Element:
    links: list[Node] = []
    for tag, group in groups.items():
        links.append(node("a", tag, href=f"#{tag}", Class="tag"))
        for method, _, about in group:
            links.append(node("a", _method(method), node("span", about["summary"]), href=f"#{about['operationId']}"))
    links.append(node("a", "schemas", href="#schemas", Class="tag"))
    names = (node("a", name, href=f"#{name}", Class="schema") for name in schemas)
    return node("nav", *links, *names, aria_label="Calls", Class="contents")


def _operation(operation: Operation) -> Element:
    method, path, about = operation
    button = node("button", "Try it", type="button", Class="try", hidden="", data_operation=about["operationId"])
    parts: list[Node] = [
        node("h3", about["summary"]),
        node("p", _method(method), node("code", path), button, Class="path"),
        node("p", *prose(about.get("description", ""))),
    ]
    if parameters := about.get("parameters"):
        parts += [node("h4", "Parameters"), table(_parameter(parameter) for parameter in parameters)]
    if "requestBody" in about:
        parts += [node("h4", "Request"), *_forms(about["requestBody"]["content"])]
    refusals = {status: answer for status, answer in about["responses"].items() if status >= "400"}
    for status, answer in about["responses"].items():
        if status not in refusals:
            parts += [node("h4", "Answer ", _status(status)), *_answer(answer)]
    parts.append(_refusals(refusals))
    return node("article", *parts, id=about["operationId"])


def _key(scheme: Document) -> Element:
    header = node("code", f"Authorization: {scheme['scheme'].title()} <key>")
    return node("p", "Where the service wants a key, each request says ", header, ".")


def _method(method: str) -> Element:
    return node("b", method.upper(), Class=f"method {method}")


def _status(status: str) -> Element:
    return node("b", status, Class="status bad" if status >= "400" else "status")


def _parameter(parameter: Document) -> Element:
    about = {**parameter["schema"], **parameter}
    return row(parameter["name"], about, place=parameter["in"])


def _answer(answer: Document) -> list[Node]:
    headers = answer.get("headers", {})
    rows = [row(name, {**header["schema"], **header}, place="header") for name, header in headers.items()]
    words = node("p", *prose(answer["description"]))
    return [words, *_forms(answer.get("content", {})), *([table(rows)] if rows else [])]


def _forms(content: Mapping[str, Document]) -> list[Node]:
    parts: list[Node] = []
    for media_type, form in content.items():
        what = type_of(form["schema"]) if form.get("schema") else ["text"]
        parts.append(node("p", node("code", media_type), " · ", *what))
        examples = [form["example"]] if "example" in form else [e["value"] for e in form.get("examples", {}).values()]
        parts += [node("pre", pretty(example), tabindex="0") for example in examples[:1]]
    return parts


def _refusals(answers: Mapping[str, Document]) -> Element:
    rows = [
        node("tr", node("th", _status(status), scope="row"), node("td", *prose(answer["description"])))
        for status, answer in answers.items()
    ]
    example = next((_forms(answer["content"]) for answer in answers.values() if "content" in answer), [])
    return node("details", node("summary", "Refusals: ", " ".join(answers)), table(rows), *example)


def pretty(value: object, indent: str = "") -> str:
    """Return JSON whose lines break only if they would be too long."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent + line) <= WIDTH or not isinstance(value, dict | list):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name, ensure_ascii=False)}: {pretty(part, inner)}" for name, part in value.items()]
    else:
        parts = [pretty(part, inner) for part in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}{end}"
