"""A request's head after parsing: its version, its target, its repeated fields, and the offer of another protocol.

RFC 9112 asks these checks of a server, and the parser leaves them out. Knows no connection.
"""

import re
from collections.abc import Sequence

from app.errors import MalformedHeader

Fields = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came, their names in lower case."""

VERSIONS = ("1.0", "1.1")
SINGLE = {b"authorization", b"content-length", b"content-type", b"idempotency-key", b"origin", b"sec-fetch-site"}
"""Fields that may be sent only once: two values would contradict each other."""
LISTS = {b"accept", b"content-encoding", b"if-match", b"if-none-match", b"prefer"}
"""Fields whose values are lists: two fields mean the same as one with a comma between (RFC 9110, section 5.3)."""
ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
"""An absolute target; its groups are the authority, and the path and query."""


def check_version(version: str) -> None:
    """Raise `MalformedHeader` for another version than HTTP/1.0 or HTTP/1.1."""
    if version not in VERSIONS:
        raise MalformedHeader(f"HTTP/{version} is not supported: send HTTP/1.1")


def origin_form(target: bytes, fields: Fields) -> bytes:
    """Return the path and query of a target, and replace `Host` by the authority of an absolute one.

    RFC 9112, section 3.2.2. A head with no `Host`, or with several, stays as it is: the host gate refuses it.
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
    """Return the fields with each list in one field. Raises `MalformedHeader` for two of a `SINGLE` field."""
    seen: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in seen:
            seen[name] = value
        elif name in LISTS:
            seen[name] += b", " + value
        elif name in SINGLE:
            raise MalformedHeader(f"{name.decode().title()} was sent twice: send it once")
    if len(seen) == len(fields):
        return fields
    lists = [(name, value) for name, value in seen.items() if name in LISTS]
    return [*(field for field in fields if field[0] not in LISTS), *lists]


def without_upgrade(method: bytes, target: bytes, version: str, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the head without its `Upgrade` fields, which a server may ignore (RFC 9110, section 7.8)."""
    kept = [b"%b: %b\r\n" % field for field in fields if field[0] != b"upgrade"]
    return b"".join([b"%b %b HTTP/%b\r\n" % (method, target, version.encode()), *kept, b"\r\n"])
