"""The least user of Redis, as docs/stores.md tells an operator to create it."""

from urllib.parse import urlsplit

import redis

from tests.docs.blocks import blocks, read, section

NAME, PASSWORD = "optim", "secret"
IN_A_CLUSTER = ("+asking", "+cluster|slots")
"""The further commands that a cluster needs, as docs/stores.md says."""


def documented() -> list[str]:
    """Return the words of the documented command."""
    (line,) = blocks(section(read("docs/stores.md"), "The least user"), "text")
    return line.replace("PASSWORD", PASSWORD).split()


def made(url: str) -> str:
    """Create the user in the Redis at `url`; return the URL for it."""
    with redis.Redis.from_url(url, protocol=2) as admin:
        admin.execute_command(*documented())
    return url.replace("redis://", f"redis://{NAME}:{PASSWORD}@")


def admin_s(url: str) -> str:
    """Return the URL of the same Redis for its administrator."""
    return url.replace(urlsplit(url).netloc, urlsplit(url).netloc.rpartition("@")[2])
