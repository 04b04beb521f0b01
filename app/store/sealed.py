"""The outer form of a stored head and of a stored ledger, the same in every store.

    <format> <checksum> <version> <token> <moment, or ->
    {…}
    <document>

The second line is one line. The first line is plain text: the Redis scripts, a sweep and a person can read it without
the rest. The checksum covers all but itself. The places of format and checksum never change, so that a later format
differs from damage. Additional words of the first line are ignored: a later version of the same format may add them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import orjson

from app.store.formats import expect_format
from app.store.piece import checksum_of
from app.store.stamp import Stamp

LABEL_BYTES = 256
"""The longest first line."""


class Label(NamedTuple):
    """The content of the first line, unchecked: only `unseal` knows whether the rest is whole."""

    stamp: Stamp
    moment: float | None


class Sealed(NamedTuple):
    """The content of all three parts."""

    label: Label
    about: dict[str, Any]
    document: bytes


def seal(number: int, label: Label, about: Mapping[str, Any], document: bytes) -> bytes:
    """Return the bytes to store, of format `number`."""
    (version, token), moment = label
    first = f"{version} {token} {'-' if moment is None else repr(moment)}"
    body = b"\n".join((first.encode(), orjson.dumps(about), document))
    checksum = checksum_of(b"%d %s" % (number, body))
    return b"%d %s %s" % (number, checksum.encode(), body)


def unseal(subject: str, data: bytes, known: int, refuse: Callable[[str], NoReturn]) -> Sealed:
    """Return what `seal` was given; `known` is the last format that this version knows.

    Calls `refuse` for damage; raises `IncompatibleStore` for a later format.
    """
    number, _, rest = data.partition(b" ")
    checksum, _, body = rest.partition(b" ")
    if checksum_of(number + b" " + body).encode() != checksum:
        refuse("does not fit its checksum")
    expect_format(subject, int(number), known)
    _, about, document = body.split(b"\n", 2)
    return Sealed(label_of(data, refuse), orjson.loads(about), document)


def label_of(data: bytes | memoryview, refuse: Callable[[str], NoReturn]) -> Label:
    """Return the first line; `data` are at least its first `LABEL_BYTES`. Calls `refuse` for damage."""
    try:
        _, _, version, token, moment, *_ = bytes(data[:LABEL_BYTES]).partition(b"\n")[0].decode().split(" ")
        return Label(Stamp(int(version), token), None if moment == "-" else float(moment))
    except ValueError:
        refuse("has no readable first line")
