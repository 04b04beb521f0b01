"""The modules of the page as one script: a browser that asks for 40 draws its first curve much later. Knows no files.

Each module becomes a function that runs when another one first wants it, and returns what it exports. The modules keep
to these forms, each at the beginning of a line: `import { a, b } from './file.js'`, `import name from './vendor/…'`,
`export` before a declaration, and `export { name as default };`. `await import('./file.js')` and
`=> import('./file.js')` may stand anywhere.
"""

import re
from collections.abc import Mapping

IMPORT = re.compile(r"^import \{ (\w+(?:, \w+)*) \} from '\./([\w.]+)'$", re.MULTILINE)
LATER = re.compile(r"(await|=>) import\('\./([\w.]+)'\)")
EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) (\w+))", re.MULTILINE)
VENDORED = re.compile(r"^import (\w+) from '\./(vendor/[\w./]+)'$", re.MULTILINE)
DEFAULT = re.compile(r"^export \{ (\w+) as default \};$", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
ONCE = """const once = (make) => {
  let made = null
  return () => (made ??= make())
}"""


def joined(modules: Mapping[str, str], first: str) -> str:
    """Return a script that runs the module `first`, with all that it wants. Raises `ValueError` for another form."""
    waiting, functions = [first], dict[str, str]()
    while waiting:
        path = waiting.pop()
        if path not in functions:
            text = modules[path]
            functions[path] = _function(path, text)
            waiting += [wanted for pattern in (IMPORT, LATER, VENDORED) for _, wanted in pattern.findall(text)]
    return "\n".join([ONCE, *functions.values(), f"{_name(first)}()\n"])


def _function(path: str, text: str) -> str:
    if found := DEFAULT.search(text):  # a vendored module, which wants no other
        return _once(path, DEFAULT.sub("", text), [f"default: {found[1]}"])
    exported = EXPORT.findall(text)
    text = IMPORT.sub(lambda found: f"const {{ {found[1]} }} = {_name(found[2])}()", text)
    text = VENDORED.sub(lambda found: f"const {{ default: {found[1]} }} = {_name(found[2])}()", text)
    text = LATER.sub(lambda found: f"{found[1]} Promise.resolve().then({_name(found[2])})", text)
    text = EXPORT.sub("", text)
    if other := OTHER.search(text):
        raise ValueError(f"app/page/{path} cannot be joined with others: it has the line {other[0]!r}")
    return _once(path, text, exported)


def _once(path: str, text: str, exported: list[str]) -> str:
    return f"// {path}\nconst {_name(path)} = once(() => {{\n{text}\nreturn {{ {', '.join(exported)} }}\n}})"


def _name(path: str) -> str:
    return re.sub(r"\W", "_", path)
