"""The user of Redis that docs/stores.md tells an operator to make."""

from urllib.parse import urlsplit

import redis

from tests.docs.blocks import blocks, read, section

NAME, PASSWORD = "optim", "secret"


def documented() -> list[str]:
    """The words of the command that makes it."""
    (line,) = blocks(section(read("docs/stores.md"), "The least user"), "text")
    return line.replace("PASSWORD", PASSWORD).split()


def made(url: str) -> str:
    """The Redis at `url`, as that user."""
    with redis.Redis.from_url(url, protocol=2) as admin:
        admin.execute_command(*documented())
    return url.replace("redis://", f"redis://{NAME}:{PASSWORD}@")


def admin_s(url: str) -> str:
    """The same Redis, as who may do everything."""
    return url.replace(urlsplit(url).netloc, urlsplit(url).netloc.rpartition("@")[2])
