"""The reference of the Python client: `python docs/clients/make_python.py` writes python.md from the docstrings.

It reads the source without importing it, so torch and optax need not be installed.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients/python"
PAGE = Path(__file__).with_name("python.md")
PACKAGES = ("optim_client", "optim_client.compress", "optim_client.torch", "optim_client.optax")
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Example):$", re.MULTILINE)
INTRO = """\
# The Python client, name by name

[The README](../../clients/python/README.md) is the way in. This page is made from the docstrings, by
`python docs/clients/make_python.py`.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """A class or function, and the module that defines it."""

    module: str
    node: ast.ClassDef | Function

    @property
    def text(self) -> str:
        return ast.get_docstring(self.node) or ""


def page() -> str:
    """Return the reference."""
    parts = [INTRO]
    for package in PACKAGES:
        found = {name: resolved(package, name) for name in public(package)}
        errors = [name for name, each in found.items() if "OptimError" in lineage(each)]
        words, _, _ = (ast.get_docstring(tree(package)) or "").partition("\n\n")
        rest = sorted(found.keys() - set(errors), key=lambda name: rank(name, found[name]))
        links = " · ".join(f"[`{name}`](#{anchor(title(name, found[name].node))})" for name in rest)
        parts.append(f"\n## `{package}`\n\n{words}\n\n{links}{' · [errors](#errors)' if errors else ''}\n")
        parts += [entry(name, found[name], found.keys()) for name in rest]
        if errors:
            parts.append(of_errors(found, errors))
    return "".join(parts)


def rank(name: str, definition: Definition) -> tuple[bool, bool, str]:
    """Return the place of a name on the page: classes with verbs first, asynchronous twins last."""
    return name.startswith("Async"), any(fields(definition)), name


@cache
def tree(module: str) -> ast.Module:
    """Return the parsed source of a module."""
    path = SOURCE / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def public(package: str) -> list[str]:
    """Return the names of a package's `__all__`."""
    for node in tree(package).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() as names):
                return [str(ast.literal_eval(name)) for name in names.elts]
    raise LookupError(f"{package} has no __all__")


@cache
def resolved(module: str, name: str) -> Definition:
    """Return the definition of a name, wherever the module has it from. Raises `LookupError`."""
    for node in ast.walk(tree(module)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() if node.name == name:
                return Definition(module, node)
            case ast.ImportFrom(module=str(source), names=names) if source.startswith("optim_client"):
                for each in names:
                    if (each.asname or each.name) == name:
                        return resolved(source, each.name)
    raise LookupError(f"{module} does not define {name}")


def bases(definition: Definition) -> list[Definition]:
    """Return the bases that this client defines."""
    if not isinstance(definition.node, ast.ClassDef):
        return []
    names = [ast.unparse(base).partition("[")[0] for base in definition.node.bases]
    found = []
    for name in names:
        try:
            found.append(resolved(definition.module, name))
        except LookupError:  # of another library
            continue
    return found


def lineage(definition: Definition) -> list[str]:
    """Return the names of the class and of its bases, nearest first."""
    return [definition.node.name, *(name for base in bases(definition) for name in lineage(base))]


def members(definition: Definition, known: Collection[str]) -> dict[str, Function]:
    """Return the public methods and properties with a docstring; not those of bases that are on the page themselves."""
    found: dict[str, Function] = {}
    for base in bases(definition):
        if base.node.name not in known:
            found |= members(base, known)
    for node in definition.node.body:
        if isinstance(node, Function) and not node.name.startswith("_") and ast.get_docstring(node):
            found[node.name] = node
    return found


def entry(name: str, definition: Definition, known: Collection[str]) -> str:
    """Return the part of the page for a class or a function; `known` are the names of the page."""
    node = definition.node
    if isinstance(node, Function):
        return f"\n### `{title(name, node)}`\n\n{in_markdown(definition.text)}\n"
    lines = [f"\n### `{name}`\n\n{in_markdown(definition.text)}\n"]
    if twin := re.fullmatch(r"Async(\w+)", name):
        return lines[0] + f"\nIts members are those of [`{twin[1]}`](#{twin[1].lower()}); calls are awaited.\n"
    _, *above = lineage(definition)
    lines += [f"\nIt has the members of [`{each}`](#{each.lower()}).\n" for each in above if each in known][:1]
    if found := [*fields(definition), *attributes(definition, known)]:
        lines.append(f"\n{notes(definition, known)}" + "".join(f"- `{each}`\n" for each in found))
    for method, each in members(definition, known).items():
        lines.append(f"\n#### `{title(method, each)}`\n\n{in_markdown(ast.get_docstring(each) or '')}\n")
    return "".join(lines)


def attributes(definition: Definition, known: Collection[str]) -> Iterator[str]:
    """Yield the public attributes that a class, or a base that is not on the page, sets at its start, with types."""
    for base in bases(definition):
        if base.node.name not in known:
            yield from attributes(base, known)
    for node in definition.node.body:
        if isinstance(node, Function) and node.name == "__init__":
            for line in node.body:
                match line:
                    case (
                        ast.Assign(targets=[ast.Attribute(attr=name) as target])
                        | ast.AnnAssign(target=ast.Attribute(attr=name) as target)
                    ) if ast.unparse(target) == f"self.{name}" and not name.startswith("_"):
                        yield f"{name}: {ast.unparse(line.annotation)}" if isinstance(line, ast.AnnAssign) else name


def notes(definition: Definition, known: Collection[str]) -> str:
    """Return the words about those attributes: the docstrings of their bases, after the first line."""
    words = []
    for base in bases(definition):
        if base.node.name not in known:
            words.append(notes(base, known))
            if any(attributes(base, known)):
                words.append(base.text.partition("\n\n")[2])
    return "".join(f"{each.strip()}\n\n" for each in words if each.strip())


def fields(definition: Definition) -> Iterator[str]:
    """Yield the fields of a dataclass or a named tuple, with types and defaults."""
    if not isinstance(definition.node, ast.ClassDef):
        return
    marks = [ast.unparse(mark) for mark in (*definition.node.decorator_list, *definition.node.bases)]
    if any(mark.startswith(("dataclass", "NamedTuple")) for mark in marks):
        for node in definition.node.body:
            if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
                yield ast.unparse(node)


def title(name: str, node: ast.stmt) -> str:
    """Return a heading: the name, with the arguments of what is called."""
    if not isinstance(node, Function) or any(ast.unparse(mark).endswith("property") for mark in node.decorator_list):
        return name
    return f"{name}{signature(node)}"


def anchor(heading: str) -> str:
    """Return the name of a heading in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def signature(node: Function) -> str:
    """Return the arguments as a caller sees them: without `self` and without types."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for each in filter(None, every):
        each.annotation = None
    arguments.args = [each for each in arguments.args if each.arg not in ("self", "cls")]
    return f"({ast.unparse(arguments)})"


def in_markdown(text: str) -> str:
    """Return a docstring with its sections as paragraphs, lists and code."""
    first, *sections = SECTION.split(text)
    parts = [first.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        lines = inspect.cleandoc(body)
        if title == "Example":
            parts.append(f"```py\n{lines}\n```")
        elif title in ("Returns", "Yields"):
            parts.append(f"**{title}** {lines}")
        else:
            parts.append(f"**{title}**\n\n{listed(lines)}")
    return "\n\n".join(part for part in parts if part)


def listed(text: str) -> str:
    """Return entries such as `name: words` as a list."""
    entries = re.split(r"\n(?! )", text)
    pairs = [entry.partition(": ") for entry in entries]
    return "\n".join(f"- `{name}`: {' '.join(textwrap.dedent(words).split())}" for name, _, words in pairs)


def of_errors(found: dict[str, Definition], names: list[str]) -> str:
    """Return the part of the page for the errors: their tree, then each one's words."""
    overview = ast.get_docstring(tree(found[names[0]].module)) or ""
    lines = [f"- `{name}`: {' '.join(found[name].text.split())}" for name in names if found[name].text]
    return f"\n### Errors\n\n{overview}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
