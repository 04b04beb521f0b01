"""docs/workers.md: its lines of curl give what is printed, and its pictures are those that their script draws."""

import json
import os
import subprocess
from collections.abc import Callable

from docs.images.make_workers_pictures import pictures
from tests.docs.blocks import ROOT, blocks, read, section

PAGE = read("docs/workers.md")
TRY = section(PAGE, "Try it with curl")


def test_the_curl_lines_of_workers_give_what_is_printed(here: Callable[[str], str], path: str) -> None:
    script = "\necho\n".join(blocks(TRY, "sh"))
    result = subprocess.run(
        ["sh", "-euc", here(script)], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    printed = [json.loads(block) for block in blocks(TRY, "json")]
    assert len(printed) == 3
    assert [json.loads(line) for line in result.stdout.splitlines() if line] == printed


def test_the_pictures_are_those_of_their_script() -> None:
    for name, picture in pictures().items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == picture
        assert f"](images/{name})" in PAGE
