"""The preferences of a request: `Prefer`, and `Preference-Applied` in the answer (RFC 7240).

A preference that is unknown, or has another value, is ignored. One that stands twice counts as it stands first.
"""

import re
from collections.abc import Mapping

from starlette.requests import Request

MINIMAL = "return=minimal"
LONGEST_WAIT = 60
"""The most seconds that a request waits."""
QUOTED = r'"(?:[^"\\]|\\.)*"'
PREFERENCES = re.compile(rf'(?:{QUOTED}|[^",]|")+')
"""The parts between commas, of which a quoted string may hold some."""
PREFERENCE = re.compile(rf'\s*([^\s;="]+)\s*(?:=\s*({QUOTED}|[^\s;"]*))?\s*(?:;.*)?', re.DOTALL)
"""A name, and a value if it has one; parameters follow."""
WHOLE = re.compile("[0-9]+", re.ASCII)
"""A number of seconds."""


def prefers_minimal(request: Request) -> bool:
    """Return true for a request that prefers an answer without parameters."""
    headers = request.headers.getlist("prefer")
    return bool(headers) and _preferences(", ".join(headers)).get("return") == "minimal"


def wait_seconds(request: Request) -> int:
    """Return the seconds that a request prefers to wait for its answer, at most `LONGEST_WAIT`; 0 if it names none."""
    headers = request.headers.getlist("prefer")
    seconds = _preferences(", ".join(headers)).get("wait", "") if headers else ""
    return min(int(seconds[:9]), LONGEST_WAIT) if WHOLE.fullmatch(seconds) else 0


def applied(*, minimal: bool) -> dict[str, str]:
    """Return the header of an answer that names the preference it follows."""
    return {"Preference-Applied": MINIMAL} if minimal else {}


def _preferences(header: str) -> Mapping[str, str]:
    """Return the preferences by name in small letters; the first of each name."""
    found = dict[str, str]()
    for part in PREFERENCES.findall(header):
        if match := PREFERENCE.fullmatch(part):
            found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    return found
