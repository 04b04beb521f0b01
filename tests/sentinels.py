"""Real sentinels for tests, which watch a Redis and its replica."""

from pathlib import Path
from typing import Self

from tests.redis_cluster import command, until
from tests.servers import RedisServer, Replica, redis_binary

SERVICE = "optim"
DOWN_MS = 500


class SentinelServer(RedisServer):
    """One sentinel, which watches a primary alone."""

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        super().__init__(folder)
        (folder / "sentinel.conf").write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )

    @property
    def command(self) -> list[str]:
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [redis_binary(), str(self.folder / "sentinel.conf"), "--sentinel", *own]


class Watched:
    """A primary, its replica, and a sentinel that watches them."""

    def __init__(self, folder: Path) -> None:
        for name in ("primary", "replica", "sentinel"):
            (folder / name).mkdir()
        self.primary = RedisServer(folder / "primary")
        self.replica = Replica(folder / "replica", self.primary)
        self.sentinel = SentinelServer(folder / "sentinel", self.primary)

    def url(self, *others: str) -> str:
        """Return the URL by this sentinel and others."""
        return f"redis+sentinel://{','.join([f'127.0.0.1:{self.sentinel.port}', *others])}/{SERVICE}"

    def start(self) -> Self:
        self.primary.start()
        self.replica.start().follow()
        self.sentinel.start()
        until(lambda: len(command(self.sentinel, "SENTINEL", "REPLICAS", SERVICE)) == 1)
        return self

    def kill(self) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.kill()
