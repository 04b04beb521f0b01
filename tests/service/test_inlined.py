"""A page with its style sheets and scripts in it, and the policy that names them."""

from base64 import b64encode
from hashlib import sha256

import pytest

from app.routes.html import policy
from app.routes.inlined import inlined

PAGE = """<script src="page/theme.js"></script>
<link rel="stylesheet" href="page/a.css">
<link rel="stylesheet" href="page/b.css">
<script type="module" blocking="render" src="page/main.js"></script>"""
FILES = {
    "index.html": PAGE,
    "theme.js": "let theme",
    "a.css": "a {}",
    "b.css": "b {}",
    "main.js": "import { log } from './log.js'\n",
    "log.js": "export function log() {}\n",
}


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_files_come_in_place_of_the_links_to_them() -> None:
    text = inlined("index.html", FILES).text
    assert text.startswith("<script>let theme</script>\n<style>a {}</style>\n<style>b {}</style>\n")
    assert "page/" not in text


def test_a_module_comes_with_those_that_it_wants() -> None:
    assert "function log() {}" in inlined("index.html", FILES).text


def test_the_policy_names_the_files_by_their_hashes() -> None:
    page = inlined("index.html", FILES)
    module = page.text.partition('<script type="module" blocking="render">')[2].partition("</script>")[0]
    scripts, styles = map(hash_of, ["let theme", module]), map(hash_of, ["a {}", "b {}"])
    assert page.policy == policy(" ".join(scripts), " ".join(styles))


@pytest.mark.parametrize("text", ["'</script>'", "'</SCRIPT '", "'<!--'", "'</style>'"])
def test_a_text_that_ends_a_script_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot have"):
        inlined("index.html", FILES | {"log.js": text})
