"""A running checksum is that of the whole, whoever takes its parts."""

import threading

import numpy as np
import xxhash

from app.running_checksum import RunningChecksum

DATA = memoryview(np.random.default_rng(0).bytes(1 << 20))


def test_parts_give_the_checksum_of_the_whole() -> None:
    running = RunningChecksum(DATA, xxhash.xxh3_128())
    for end in (0, 1000, 999, 70_000, 70_000):
        running.advance(end)
    assert running.whole().hexdigest() == running.whole().hexdigest() == xxhash.xxh3_128_hexdigest(DATA)


def test_threads_that_advance_together_take_each_byte_once() -> None:
    running = RunningChecksum(DATA, xxhash.xxh3_64())

    def advance(first: int) -> None:
        for end in range(first, len(DATA), 4000):
            running.advance(end)

    threads = [threading.Thread(target=advance, args=[first]) for first in (0, 1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert running.whole().intdigest() == xxhash.xxh3_64_intdigest(DATA)


def test_no_byte_is_taken_before_it_is_final() -> None:
    data = bytearray(1000)
    running = RunningChecksum(memoryview(data), xxhash.xxh3_64())
    running.advance(500)
    data[500:] = b"1" * 500
    assert running.whole().intdigest() == xxhash.xxh3_64_intdigest(data)
