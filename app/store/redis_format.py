"""The mark in a Redis database: the format number."""

from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT, expect_format
from app.store.redis_commands import Commands
from app.store.redis_names import FORMAT_KEY

RESTORING = b"restoring "
"""The mark of a database that a restore fills, before the id of the backup. Earlier versions refuse it too."""


async def mark_format(client: Commands) -> None:
    """Mark the database with this version's format. Raises `IncompatibleStore` if this version cannot read it."""
    found = await format_of(client)
    if found is None:
        await client.ask(("SET", FORMAT_KEY, STORE_FORMAT, "NX"))
        found = await format_of(client)
    if found is not None and found < STORE_FORMAT:
        await client.ask(("SET", FORMAT_KEY, STORE_FORMAT))


async def format_of(client: Commands) -> int | None:
    """Return the format, `None` without a mark. Raises `IncompatibleStore` if this version cannot read it."""
    (found,) = await client.ask(("GET", FORMAT_KEY))
    if found is None:
        return None
    if found.startswith(RESTORING):
        raise IncompatibleStore(
            "a restore into this Redis is not done: run `optim restore` with the same backup again, or empty the "
            "database"
        )
    if not found.isdigit():
        raise IncompatibleStore(f"{FORMAT_KEY} in this Redis is not of this service: name another database")
    expect_format("this Redis", int(found), STORE_FORMAT)
    return int(found)
