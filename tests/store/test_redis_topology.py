"""The topology of a cluster: slots, servers, and the slot of a command."""

from typing import Any

import pytest

from app.store.redis_topology import Address, SlotRange, Topology, slot_of

A, B = Address("a", 1), Address("b", 2)


def test_a_slot_has_the_server_of_its_range() -> None:
    topology = Topology([SlotRange(100, 200, B), SlotRange(0, 99, A), SlotRange(300, 300, A)])
    found = [topology.address_of(slot) for slot in (0, 99, 100, 200, 201, 299, 300, 301)]
    assert found == [A, A, B, B, None, None, A, None]
    assert topology.addresses == {A, B}


def test_no_topology_has_no_servers() -> None:
    assert Topology().address_of(7) is None
    assert not Topology().addresses


def test_a_server_without_a_host_has_the_asked_one() -> None:
    answer = [[0, 1, [b"10.0.0.1", 7, b"id", []], [b"10.0.0.9", 9, b"id", []]]]
    answer += [[2, 2, [None, 8, b"id"]], [3, 3, [b"", 8, b"id"]], [4, 4, [b"?", 8, b"id"]]]
    topology = Topology.read(answer, Address("asked", 1))
    assert [topology.address_of(slot) for slot in range(5)] == [Address("10.0.0.1", 7)] * 2 + [Address("asked", 8)] * 3


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "optim:{123456789}:head"),
        ("ZADD", b"optim:{123456789}:history", 1, "x"),
        ("EVALSHA", "sha", 2, "optim:{123456789}:head", "optim:{other}:head"),
        ("EVAL", "text", 1, "{123456789}"),
        ("SET", "123456789", memoryview(b"x")),
    ],
)
def test_a_command_has_the_slot_of_its_key(command: Any) -> None:
    assert slot_of(command) == 0x31C3  # as the cluster's specification says


def test_a_command_without_a_key_has_a_slot() -> None:
    assert slot_of(("TIME",)) == 0
