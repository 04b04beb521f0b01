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


NAMES: Mapping[str, Callable[[], set[str]]] = {"c": names_in_c}
"""The public names of a client by the name of its folder."""
OTHERS = {"OPTIM_BASE_URL", "OPTIM_API_KEY"}


@pytest.mark.parametrize("language", NAMES)
def test_the_reference_has_every_public_name(language: str) -> None:
    words = set(re.findall(r"\w+", read(f"docs/clients/{language}.md")))
    assert NAMES[language]() - words == set()


@pytest.mark.parametrize("language", NAMES)
def test_the_reference_has_no_name_that_is_not_there(language: str) -> None:
    words = re.findall(r"\b(?:optim|OPTIM)_\w+", read(f"docs/clients/{language}.md"))
    assert set(words) - NAMES[language]() - OTHERS == set()


@pytest.mark.parametrize(("language", "fence"), [("c", "c")])
def test_the_readmes_loop_is_short(language: str, fence: str) -> None:
    loop, *_ = blocks(read(f"clients/{language}/README.md"), fence)
    assert loop.count("\n") <= LONGEST_LOOP
