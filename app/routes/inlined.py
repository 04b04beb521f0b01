"""A page with its style sheets and scripts in it: a browser that asks for each draws its first curve later.

Its policy names them by their hashes, so that a browser runs these and no others. Knows no files.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from app.routes.html import policy
from app.routes.joined import joined

SHEET = re.compile(r'<link rel="stylesheet" href="page/([\w./]+)">')
SCRIPT = re.compile(r'<script src="page/([\w./]+)">')
MODULE = re.compile(r'(<script type="module"[^>]*) src="page/([\w./]+)">')
ENDS = re.compile(r"</(?:script|style)|<!--", re.IGNORECASE)
"""The texts at which a browser ends a script or a style sheet, or begins a comment in it."""


class Inlined(NamedTuple):
    """A page, and the policy that lets a browser use what is in it."""

    text: str
    policy: str


def inlined(path: str, files: Mapping[str, str]) -> Inlined:
    """Return the page at a path with the files in place of its links to them; a module with all that it wants.

    Raises `ValueError` for a text that cannot be in a page.
    """
    scripts, styles = list[str](), list[str]()

    def kept(text: str, hashes: list[str]) -> str:
        if end := ENDS.search(text):
            raise ValueError(f"a script or a style sheet in a page cannot have {end[0]!r}")
        hashes.append(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'")
        return text

    page = SHEET.sub(lambda found: f"<style>{kept(files[found[1]], styles)}</style>", files[path])
    page = SCRIPT.sub(lambda found: f"<script>{kept(files[found[1]], scripts)}", page)
    page = MODULE.sub(lambda found: f"{found[1]}>{kept(joined(files, found[2]), scripts)}", page)
    return Inlined(page, policy(" ".join(scripts), " ".join(styles)))
