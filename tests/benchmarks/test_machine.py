"""The facts about the machines on which the benchmarks ran."""

import platform
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.machine import facts, plain, redis_of, slug
from tests.servers import RedisServer


@pytest.mark.parametrize("machine", [results["machine"] for results in page.load().values()])
def test_the_machine_is_described_without_name_or_path(machine: dict[str, str]) -> None:
    said = " ".join(machine.values())
    assert "/" not in said
    assert platform.node() not in said.split()


@pytest.mark.parametrize(
    ("model", "name", "file"),
    [
        ("AMD EPYC", "AMD EPYC", "amd-epyc"),
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763", "amd-epyc-7763"),
        ("Intel(R) Xeon(R) Platinum 8581C CPU @ 2.30GHz", "Intel Xeon Platinum 8581C", "intel-xeon-platinum-8581c"),
        ("INTEL(R) XEON(R) PLATINUM 8581C CPU", "INTEL XEON PLATINUM 8581C", "intel-xeon-platinum-8581c"),
        ("Intel(R) Core(TM) i7-8700", "Intel Core i7-8700", "intel-core-i7-8700"),
        ("aarch64", "aarch64", "aarch64"),
    ],
)
def test_a_processor_has_a_plain_name_and_a_file(model: str, name: str, file: str) -> None:
    assert plain(model) == name
    assert slug(name) == file


@pytest.mark.parametrize(
    ("said", "server", "allocator"),
    [
        (
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d\n",
            "Redis 7.0.15",
            "jemalloc-5.3.0",
        ),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536\n", "Valkey 9.1.2", "libc"),
        ("another server\n", "another server", "unknown"),
    ],
)
def test_a_redis_is_named_with_its_allocator(said: str, server: str, allocator: str) -> None:
    assert redis_of(said) == (server, allocator)


def test_the_allocator_is_that_of_the_redis_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.machine.LIBRARIES", ("numpy",))  # torch and Ray are elsewhere
    redis = RedisServer(tmp_path).start()
    try:
        with redis.client() as client:
            assert facts()["redis server's allocator"] == client.info("memory")["mem_allocator"]
    finally:
        redis.kill()
