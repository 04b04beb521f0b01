"""The roles of API keys."""

from enum import IntEnum


class Role(IntEnum):
    """The permissions of a key; each role includes those before it."""

    read = 1
    write = 2
    admin = 3
