"""The servers of a Redis Cluster: a client for each, and the topology that they tell."""

import asyncio
import random
from pathlib import Path

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore
from app.store.redis_address import ClusterAddress
from app.store.redis_client import Client, Refused
from app.store.redis_topology import Address, Topology

ASKED_SECONDS = 1.0
"""The time that a server has to tell the topology; then another one is asked."""


class Nodes:
    """The servers of one cluster. They belong to the event loop that opened them."""

    def __init__(self, url: str, timeout: float) -> None:
        self._cluster = ClusterAddress.parse(url)
        self.timeout = timeout
        self._clients = {address: self._made(address) for address in self._cluster.servers}
        self._asking = asyncio.Lock()
        self.topology = Topology()

    @property
    def secret_files(self) -> list[Path]:
        """Return the path of the client's private key, if there is one."""
        return self.client(self._cluster.servers[0]).pool.secret_files

    @property
    def masters(self) -> list[Client]:
        """Return the clients of the servers that have slots."""
        return [self.client(address) for address in sorted(self.topology.addresses)]

    def open(self) -> None:
        for client in self._clients.values():
            client.open()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    def client(self, address: Address) -> Client:
        """Return the client of a server."""
        if address not in self._clients:
            self._clients[address] = self._made(address)
            self._clients[address].open()
        return self._clients[address]

    def _made(self, address: Address) -> Client:
        return Client(self._cluster.url_of(address), self.timeout)

    def forget(self, old: Topology) -> None:
        """Have the next call ask for the topology, unless there is a newer one than `old`."""
        if self.topology is old:
            self.topology = Topology()

    async def renew(self, old: Topology) -> None:
        """Ask for the topology, unless there is a newer one than `old`.

        Raises `StoreUnavailable` if no server tells it, `IncompatibleStore` if they are no cluster.
        """
        async with self._asking:
            known = [*{*self._clients, *self._cluster.servers}]
            for address in random.sample(known, len(known)):
                if self.topology is not old:
                    return
                try:
                    self.topology = await self._told(address)
                except IncompatibleStore:
                    raise
                except StoreUnavailable as error:
                    failure = error
                else:
                    await self._let_go()
            if self.topology is old:
                raise failure

    async def _told(self, address: Address) -> Topology:
        try:
            (answer,) = await self.client(address).ask(("CLUSTER", "SLOTS"), at_once_within=ASKED_SECONDS)
        except Refused as refusal:
            if "cluster support disabled" in str(refusal.__cause__):
                raise IncompatibleStore("this Redis is no cluster: write redis:// in OPTIM_STORE") from None
            raise
        return Topology.read(answer, address)

    async def _let_go(self) -> None:
        """Forget the servers that have left the cluster, or have no slots any more; close their connections."""
        for address in self._clients.keys() - self.topology.addresses - set(self._cluster.servers):
            pool = self._clients.pop(address).pool
            await pool.renew(pool.generation)
