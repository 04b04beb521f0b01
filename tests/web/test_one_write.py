"""One write for a small answer."""

import asyncio

from app.web.one_write import LARGEST_JOINED, OneWrite


class Written(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.parts.append(bytes(data))

    def close(self) -> None:
        self.parts.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.parts


def written() -> tuple[Written, OneWrite]:
    transport = Written()
    return transport, OneWrite(transport, asyncio.get_running_loop())


async def test_a_head_leaves_with_the_first_part_of_its_body() -> None:
    transport, answer = written()
    for part in (b"head", b"body", memoryview(b"more")):
        answer.write(part)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert transport.parts == [b"headbody", b"more"]


async def test_a_large_part_is_not_copied_behind_the_head() -> None:
    transport, answer = written()
    large = bytes(LARGEST_JOINED + 1)
    answer.write(b"head")
    answer.write(large)
    assert transport.parts == [b"head", large]


async def test_a_head_does_not_wait_for_a_late_body() -> None:
    transport, answer = written()
    answer.write(b"head")
    assert transport.parts == []
    await asyncio.sleep(0)
    assert transport.parts == [b"head"]
    answer.write(b"body")
    assert transport.parts == [b"head", b"body"]


async def test_a_head_alone_leaves_before_the_connection_closes() -> None:
    transport, answer = written()
    answer.write(b"head")
    answer.close()
    await asyncio.sleep(0)
    assert transport.parts == [b"head", b"closed"]
    assert answer.is_closing()
