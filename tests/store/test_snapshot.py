"""Members of a session: their frames, and the names that tell what they are."""

from collections.abc import AsyncIterator

import pytest

from app.errors import StateDamaged
from app.store import snapshot
from app.store.keys import key_digest
from app.store.lmdb_rows import digest
from app.store.snapshot import About, Frame, Member, framed, frames_of

FRAMES = [Frame([n, f"{n}"], b"row\n" * n) for n in range(100)]


async def _frames() -> AsyncIterator[Frame]:
    for frame in FRAMES:
        yield frame


async def test_frames_are_read_as_they_were_written() -> None:
    (member,) = [member async for member in framed("history", _frames())]
    assert (member.name, member.kind) == ("history/1", "history")
    assert list(frames_of(member)) == FRAMES


async def test_many_frames_go_into_several_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MEMBER_BYTES", 1000)
    members = [member async for member in framed("keys", _frames())]
    assert [member.name for member in members] == [f"keys/{n + 1}" for n in range(len(members))]
    assert 10 < len(members) < 30
    assert [frame for member in members for frame in frames_of(member)] == FRAMES


@pytest.mark.parametrize("data", [b"garbage\n", b"[1, 2", b"7\n", b'[1, "long"]\n', b"[1, 100]\nshort\n"])
def test_damaged_frames_are_refused(data: bytes) -> None:
    with pytest.raises(StateDamaged, match="history/1 of a backup cannot be read"):
        list(frames_of(Member("history/1", data)))


def test_a_session_names_its_tenant_by_digest_too() -> None:
    about = About.of("session-1", "tenant ü")
    assert about.tenant_digest == digest("tenant ü").hex() == key_digest("tenant ü")
    assert About.decode(about.member().data) == about
