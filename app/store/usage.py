"""The room that sessions take in a store."""

from typing import NamedTuple


class Usage(NamedTuple):
    """The contents of a store in numbers; `None` is not known, or not limited."""

    sessions: int | None
    """The sessions of all tenants. Expired ones count until they are swept."""
    nbytes: int | None = None
    limit: int | None = None
    """The most bytes that the store may have."""
    free: int | None = None
    """The bytes that are free on its disk."""
