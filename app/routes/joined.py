"""The modules of the page as one script: a browser that asks for 40 draws its first curve much later. Knows no files.

Each module becomes a function that runs when another one first wants it, and returns what it exports. The modules keep
to these forms, each at the beginning of a line: `import { a, b } from './file.js'`, `export` before a declaration, and
`import name from './vendor/…'`, which stays an import. `await import('./file.js')` and `=> import('./file.js')` may
stand anywhere.
"""

import re
from collections.abc import Mapping

IMPORT = re.compile(r"^import \{ (\w+(?:, \w+)*) \} from '\./([\w.]+)'$", re.MULTILINE)
LATER = re.compile(r"(await|=>) import\('\./([\w.]+)'\)")
EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) (\w+))", re.MULTILINE)
VENDORED = re.compile(r"^import \w+ from '\./vendor/[\w./]+'$", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
ONCE = """const once = (make) => {
  let made = null
  return () => (made ??= make())
}"""


def joined(modules: Mapping[str, str], first: str) -> str:
    """Return a script that runs the module `first`, with all that it wants. Raises `ValueError` for another form."""
    waiting, functions, vendored = [first], dict[str, str](), dict[str, None]()
    while waiting:
        path = waiting.pop()
        if path not in functions:
            text = modules[path]
            vendored |= dict.fromkeys(VENDORED.findall(text))
            functions[path] = _function(path, VENDORED.sub("", text))
            waiting += [wanted for pattern in (IMPORT, LATER) for _, wanted in pattern.findall(text)]
    return "\n".join([*vendored, ONCE, *functions.values(), f"{_name(first)}()\n"])


def _function(path: str, text: str) -> str:
    exported = EXPORT.findall(text)
    text = IMPORT.sub(lambda found: f"const {{ {found[1]} }} = {_name(found[2])}()", text)
    text = LATER.sub(lambda found: f"{found[1]} Promise.resolve().then({_name(found[2])})", text)
    text = EXPORT.sub("", text)
    if other := OTHER.search(text):
        raise ValueError(f"app/page/{path} cannot be joined with others: it has the line {other[0]!r}")
    return f"// {path}\nconst {_name(path)} = once(() => {{\n{text}\nreturn {{ {', '.join(exported)} }}\n}})"


def _name(path: str) -> str:
    return path.replace(".", "_")
