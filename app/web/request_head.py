"""A request's head after it was parsed: its version, its target, and the offer of another protocol.

What RFC 9112 asks of a server beyond what the parser checks. Knows no connection.
"""

import re
from collections.abc import Sequence

from app.errors import MalformedHeader

Fields = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came, their names in small letters."""

VERSIONS = ("1.0", "1.1")
SINGLE = {b"authorization", b"content-length", b"content-type", b"idempotency-key", b"origin", b"sec-fetch-site"}
"""Fields of which two would say two things."""
LISTS = {b"accept", b"content-encoding", b"if-match", b"if-none-match", b"prefer"}
"""Fields whose values are lists: two are as good as one with a comma between (RFC 9110, section 5.3)."""
ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
"""A target with an authority: (authority, path and query)."""


def check_version(version: str) -> None:
    """Raise `MalformedHeader` for a version of HTTP that is not spoken here."""
    if version not in VERSIONS:
        raise MalformedHeader(f"HTTP/{version} is not spoken here: send HTTP/1.1")


def origin_form(target: bytes, fields: Fields) -> bytes:
    """Return the path and query of a target, and put the authority of an absolute one in place of `Host`.

    RFC 9112, section 3.2.2. Where there is no `Host`, or more than one, it stays so, and is refused as such.
    """
    if target.startswith(b"/") or target == b"*":
        return target
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedHeader(f"the target {target.decode('latin-1')!r:.80} is neither a path nor an http URL")
    authority, rest = absolute.groups()
    at = [place for place, (name, _) in enumerate(fields) if name == b"host"]
    if len(at) == 1:
        fields[at[0]] = (b"host", authority)
    return rest if rest.startswith(b"/") else b"/" + rest


def joined(fields: Fields) -> Fields:
    """Return the fields with each list in one. Raises `MalformedHeader` for two of what may stand once."""
    seen: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in seen:
            seen[name] = value
        elif name in LISTS:
            seen[name] += b", " + value
        elif name in SINGLE:
            raise MalformedHeader(f"{name.decode().title()} stands there twice: send it once")
    if len(seen) == len(fields):
        return fields
    lists = [(name, value) for name, value in seen.items() if name in LISTS]
    return [*(field for field in fields if field[0] not in LISTS), *lists]


def without_upgrade(method: bytes, target: bytes, version: str, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Write the head anew without its `Upgrade` fields, which a server may ignore (RFC 9110, section 7.8)."""
    kept = [b"%b: %b\r\n" % field for field in fields if field[0] != b"upgrade"]
    return b"".join([b"%b %b HTTP/%b\r\n" % (method, target, version.encode()), *kept, b"\r\n"])
