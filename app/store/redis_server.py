"""The servers behind the store in Redis: what they say about their memory and about what they keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.store.redis_client import Client, Refused
from app.store.redis_commands import Commands

SECTIONS = ("server", "memory", "persistence")
SETTINGS = ("appendfsync", "save")
LOSSES = {
    "always": "an answered step survives a power cut",
    "everysec": "a power cut of Redis's machine loses up to 2 seconds of steps",
    "no": "a power cut of Redis's machine loses the steps that it had not written, about 30 seconds of them",
}
"""The words for what a power cut loses, by `appendfsync`."""


@dataclass(frozen=True)
class RedisServer:
    """The answers of one Redis: those of `INFO`, and its settings as far as this user may read them."""

    info: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def may_evict(self) -> bool:
        """Return whether it drops keys when its memory is full."""
        return self.info.get("maxmemory", "0") != "0" and self.info.get("maxmemory_policy") != "noeviction"

    @property
    def appends(self) -> bool:
        """Return whether it has an append-only file, if it says so."""
        return self.info.get("aof_enabled", "0") != "0"

    @property
    def used_bytes(self) -> int:
        """Return the bytes of its memory that are in use."""
        return int(self.info["used_memory"])

    @property
    def limit_bytes(self) -> int | None:
        """Return the most bytes that it may use, `None` without a limit."""
        return int(self.info.get("maxmemory", "0")) or None

    @property
    def durability(self) -> str:
        """Return what a crash loses, in words."""
        if not self.appends:
            return "a crash of Redis loses the steps since its last snapshot"
        fsync = self.settings.get("appendfsync")
        return LOSSES.get(fsync or "", "an answered step survives a crash of Redis; its appendfsync is not known here")


async def asked(commands: Commands, settings: Sequence[str] = ()) -> list[RedisServer]:
    """Ask each server that has keys, also for settings. Raises `Refused` where this user may not ask at all."""
    return [await _asked(client, settings) for client in commands.servers]


async def _asked(client: Client, settings: Sequence[str]) -> RedisServer:
    info: dict[str, str] = {}
    for answer in await client.ask(*(("INFO", section) for section in SECTIONS)):
        info |= dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    try:
        pairs = await client.ask(*(("CONFIG", "GET", name) for name in settings))
    except Refused:  # the least user may not
        return RedisServer(info, {})
    return RedisServer(info, {name.decode(): value.decode() for name, value in pairs})


def durability(servers: Sequence[RedisServer]) -> str:
    """Return what a crash loses, in words; of servers that differ, all that one of them may lose."""
    words = sorted({server.durability for server in servers})
    if len(servers) > 1:
        words.append("a failover of the cluster loses the steps that its replica had not received")
    return "; ".join(words)
