"""One write for a small answer."""

import asyncio
import logging

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.web.one_write import LARGEST_JOINED, WHOLE_BODY, OneWrite, with_whole_answers


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


WHOLE = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")], WHOLE_BODY: b"body"}
WRITTEN = b"HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 4\r\n\r\nbody"


def cycle_on(transport: Written, *, keep_alive: bool = True) -> RequestResponseCycle:
    log = logging.getLogger("cycle")
    return RequestResponseCycle(
        {"type": "http", "method": "POST", "extensions": {}},  # type: ignore[arg-type, typeddict-item]
        transport, FlowControl(transport), log, log, False, [(b"server", b"s")], asyncio.Event(), False, keep_alive,
        lambda: transport.parts.append(b"told"),
    )  # fmt: skip


async def answer(cycle: RequestResponseCycle, transport: Written, message: Message) -> None:
    """Answer a request with that message, as an application does."""

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        assert WHOLE_BODY in scope["extensions"]
        await send(dict(message))

    answering = with_whole_answers(app, cycle, transport)
    await answering(cycle.scope, cycle.receive, cycle.send)  # type: ignore[arg-type]


async def test_a_whole_answer_is_one_write_and_ends_its_cycle() -> None:
    transport = Written()
    cycle = cycle_on(transport)
    await answer(cycle, transport, WHOLE)
    assert transport.parts == [WRITTEN, b"told"]
    assert cycle.response_complete


async def test_a_last_whole_answer_closes_the_connection() -> None:
    transport = Written()
    await answer(cycle_on(transport, keep_alive=False), transport, WHOLE)
    assert b"connection: close" in transport.parts[0]
    assert transport.parts[1:] == [b"body", b"closed", b"told"]


async def test_a_whole_answer_waits_while_writing_is_paused() -> None:
    transport = Written()
    cycle = cycle_on(transport)
    cycle.flow.pause_writing()
    answering = asyncio.create_task(answer(cycle, transport, WHOLE))
    await asyncio.sleep(0)
    assert transport.parts == []
    cycle.flow.resume_writing()
    await answering
    assert b"".join(transport.parts) == WRITTEN + b"told"


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\0"])
async def test_a_whole_answer_cannot_smuggle_a_header_field(value: bytes) -> None:
    transport = Written()
    with pytest.raises(RuntimeError, match="control character"):
        await answer(cycle_on(transport), transport, {**WHOLE, "headers": [(b"x", value)]})
    assert transport.parts == []
