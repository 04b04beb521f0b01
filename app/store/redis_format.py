"""The mark in a Redis database: the format number."""

from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT, expect_format
from app.store.redis_client import Client
from app.store.redis_names import FORMAT_KEY


async def mark_format(client: Client) -> None:
    """Mark the database with this version's format. Raises `IncompatibleStore` if this version cannot read it."""
    (found,) = await client.ask(("GET", FORMAT_KEY))
    if found is None:
        _, found = await client.ask(("SET", FORMAT_KEY, STORE_FORMAT, "NX"), ("GET", FORMAT_KEY))
    if not found.isdigit():
        raise IncompatibleStore(f"{FORMAT_KEY} in this Redis is not of this service: name another database")
    expect_format("this Redis", int(found), STORE_FORMAT)
    if int(found) < STORE_FORMAT:
        await client.ask(("SET", FORMAT_KEY, STORE_FORMAT))
