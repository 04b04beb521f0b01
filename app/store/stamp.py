"""The identity of a stored head or ledger, and the conflict of a change that was made from another one."""

from typing import NamedTuple


class VersionConflict(Exception):
    """The store holds another head or ledger (or none) than the one that the change was made from."""


class Stamp(NamedTuple):
    """The identity of one head among a session's heads, or of one ledger among its ledgers. The version alone is not
    enough: a store that lost its last saves (a failover, an old backup) gives their versions out again."""

    version: int
    token: str


def expect(subject: str, held: Stamp | None, expected: Stamp | None) -> None:
    """Raise `VersionConflict` unless the store holds of the subject what a change was made from."""
    if held != expected:
        raise VersionConflict(f"{subject}: the store holds {held}, not {expected}")
