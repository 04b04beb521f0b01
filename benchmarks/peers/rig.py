"""The servers of a run: processes on free ports of 127.0.0.1. Each is started at its first use and ended with the rig.
Needs torch and Ray.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from benchmarks.peers.disk import bare_lmdb, file
from benchmarks.peers.echo import echo, echoes
from benchmarks.peers.floor import floor
from benchmarks.peers.plain import plain_fastapi
from benchmarks.peers.ray_actor import ray_actor
from benchmarks.peers.service import Service
from benchmarks.peers.session import Session
from benchmarks.peers.torch_rpc import torch_rpc
from tests.servers import RedisServer


class Rig:
    """The servers, for use in a `with`. Each computes with `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def redis(self) -> RedisServer:
        """Return a Redis with its defaults but no snapshots and no append-only file."""
        return self._redis("redis", "--appendonly", "no")

    @cached_property
    def redis_always(self) -> RedisServer:
        """Return a Redis that writes to disk before it answers."""
        return self._redis("redis-always", "--appendonly", "yes", "--appendfsync", "always")

    @cached_property
    def memory(self) -> Service:
        return self._service("memory:")

    @cached_property
    def unix(self) -> Service:
        """Return a service on `memory:` whose Python client shares memory with it."""
        return self._service("memory:", unix_socket=self._folder / "optim.sock")

    @cached_property
    def traced(self) -> Service:
        """Return a service that sends a span of each request and of its phases to a collector: the echo."""
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.echo_port}"}
        return self._service("memory:", environment=os.environ | collector)

    @cached_property
    def lmdb(self) -> Service:
        return self._service(f"lmdb:{self._folder / 'store'}")

    @cached_property
    def lmdb_relaxed(self) -> Service:
        return self._service(f"lmdb:{self._folder / 'relaxed'}", "--lmdb-sync=relaxed")

    @cached_property
    def on_redis(self) -> Service:
        return self._service(self.redis.url)

    @cached_property
    def on_redis_always(self) -> Service:
        return self._service(self.redis_always.url)

    @cached_property
    def echo_port(self) -> int:
        return self._stack.enter_context(echo())

    @property
    def echo(self) -> Session:
        return echoes(self.echo_port)

    @property
    def file(self) -> Session:
        return file(self._folder)

    @property
    def bare_lmdb(self) -> Session:
        return bare_lmdb(self._folder, sync=True)

    @property
    def bare_lmdb_relaxed(self) -> Session:
        return bare_lmdb(self._folder, sync=False)

    @cached_property
    def torch_rpc(self) -> Session:
        return torch_rpc(self._threads)

    @cached_property
    def ray(self) -> Session:
        return self._stack.enter_context(ray_actor(self._threads, str(self._folder / "ray")))

    @cached_property
    def plain_fastapi(self) -> dict[str, Session]:
        return self._stack.enter_context(plain_fastapi(self.redis.url))

    @cached_property
    def floor(self) -> dict[str, Session]:
        return self._stack.enter_context(floor(self.redis.port, self._threads))

    def _redis(self, name: str, *options: str) -> RedisServer:
        folder = self._folder / name
        folder.mkdir()
        server = RedisServer(folder, *options)
        self._stack.callback(server.kill)
        return server.start()

    def _service(
        self,
        store: str,
        *flags: str,
        unix_socket: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Service:
        log = self._folder / "server.log"
        server = Service(store, log, self._threads, *flags, unix_socket=unix_socket, environment=environment)
        self._stack.callback(server.kill)
        server.start()
        return server
