"""The references of the clients in other languages: every public name, and no others; and the READMEs' short loops."""

import re
from collections.abc import Callable, Mapping

import pytest

from tests.docs.blocks import blocks, read

LONGEST_LOOP = 14
"""Lines of the loop in a README."""


def names_in_c() -> set[str]:
    """Return the names that `optim.h` declares, with the members of its structs."""
    header = re.sub(r"/\*.*?\*/", "", read("clients/c/optim.h"), flags=re.DOTALL)
    structs = "".join(re.findall(r"typedef struct \{(.*?)\}", header, re.DOTALL))
    members = {name for name in re.findall(r"(\w+)\)?(?:\[\w+\]|\([^)]*\))?[;,]", structs) if name != "context"}
    return members | set(re.findall(r"\b(?:optim|OPTIM)_\w+", header)) - {"OPTIM_H"}


def names_in_shell() -> set[str]:
    """Return the functions and variables of `optim.sh` that are not its own."""
    return set(re.findall(r"^(optim_\w+)(?:\(\)|=)", read("clients/shell/optim.sh"), re.MULTILINE))


def names_in_go() -> set[str]:
    """Return the exported names of `optim.go` and the fields of its structs, without the methods of Go's interfaces."""
    source = read("clients/go/optim.go")
    structs = re.findall(r"^type [A-Z]\w* struct \{\n(.*?)^\}", source, re.DOTALL | re.MULTILINE)
    fields = re.findall(r"^\t([A-Z]\w*) ", "".join(structs), re.MULTILINE)
    declared = re.findall(
        r"^(?:func(?: \(\w+ \*?[A-Z]\w*\))?|type|const) ([A-Z]\w*)|^\t(\w+) +DType = ", source, re.MULTILINE
    )
    return {*fields, *(a or b for a, b in declared)} - {"Error", "Unwrap", "UnmarshalJSON"}


def names_in_java() -> set[str]:
    """Return the public names of `Optim.java`, with the components of records, the clock's methods and the dtypes."""
    source = read("clients/java/optim/Optim.java")
    types = re.findall(r"public (?:static |abstract |final )*(?:class|record|enum|interface) (\w+)", source)
    methods = re.findall(r"(?:public(?: static)?|default) [\w<>\[\], .]+ (\w+)\(", source)
    records = re.findall(r"public record \w+\((.*?)\) \{", source, re.DOTALL)
    components = [part.split()[-1] for record in records for part in re.sub(r"<.*?>", "", record).split(",")]
    dtypes = re.findall(r"\b([BFI]+\d+)\(\d\)", source)
    return {*types, *methods, *components, *dtypes} - OVERRIDDEN


OVERRIDDEN = {"getBody", "onSubscribe", "onNext", "onError", "onComplete", "iterator", "hasNext", "next", "toString"}
"""Methods that Java's own interfaces make public."""
NAMES: Mapping[str, Callable[[], set[str]]] = {
    "c": names_in_c,
    "go": names_in_go,
    "java": names_in_java,
    "shell": names_in_shell,
}
"""The public names of a client by the name of its folder."""
CALLS = r"`(?:[^`]*\W)?(\w+)\([^`]*`"
PREFIXED = r"\b((?:optim|OPTIM)_\w+)"
CLAIMS = {"c": PREFIXED, "go": CALLS, "java": CALLS, "shell": PREFIXED}
"""The public names that a reference says: all that have the prefix, else all that are called."""
OTHERS = {"OPTIM_BASE_URL", "OPTIM_API_KEY", "Default", "Is"}


@pytest.mark.parametrize("language", NAMES)
def test_the_reference_has_every_public_name(language: str) -> None:
    words = set(re.findall(r"\w+", read(f"docs/clients/{language}.md")))
    assert NAMES[language]() - words == set()


@pytest.mark.parametrize("language", NAMES)
def test_the_reference_has_no_name_that_is_not_there(language: str) -> None:
    words = re.findall(CLAIMS[language], read(f"docs/clients/{language}.md"))
    assert set(words) - NAMES[language]() - OTHERS == set()


@pytest.mark.parametrize(("language", "fence"), [("c", "c"), ("go", "go"), ("java", "java"), ("shell", "sh")])
def test_the_readmes_loop_is_short(language: str, fence: str) -> None:
    loop, *_ = blocks(read(f"clients/{language}/README.md"), fence)
    assert loop.count("\n") <= LONGEST_LOOP


@pytest.mark.parametrize(
    ("language", "file"), [("go", "clients/go/example_test.go"), ("java", "clients/java/FirstLoop.java")]
)
def test_the_readmes_loop_is_built(language: str, file: str) -> None:
    loop, *_ = blocks(read(f"clients/{language}/README.md"), language)
    lines = [line.strip() for line in read(file).splitlines()]
    assert [line for line in map(str.strip, loop.splitlines()) if line not in lines] == []
