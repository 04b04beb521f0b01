"""The wholeness of a session: each byte that its head or its ledger names."""

from pathlib import Path

import pytest

from app.backup.wholeness import Wholeness
from app.settings import Settings
from app.store import source_of
from app.store.snapshot import Member
from tests.backup.filled import made


async def members_of(tmp_path: Path, session_id: str) -> list[Member]:
    url = f"lmdb:{tmp_path / 'store'}"
    await made(url)
    async with source_of(Settings(store=url)) as source:
        async for about in source.sessions():
            if about.session_id == session_id:
                return [member async for member in source.members(about)]
    raise AssertionError


def damage_of(members: list[Member]) -> str | None:
    found = Wholeness()
    for member in members:
        found.take(member)
    return found.damage


@pytest.mark.parametrize("session_id", ["plain", "working"])
async def test_harm_to_any_member_is_found(tmp_path: Path, session_id: str) -> None:
    members = await members_of(tmp_path, session_id)
    assert damage_of(members) is None
    for i, member in enumerate(members):
        changed = Member(member.name, bytes(member.data)[:-2])
        if member.name in ("about", "thinned"):  # known by the file's SHA-256 alone
            continue
        assert damage_of([*members[:i], changed, *members[i + 1 :]]), member.name
        if member.kind == "piece":
            lost = damage_of([*members[:i], *members[i + 1 :]])
            assert lost == f"session {session_id}: piece {member.name.removeprefix('piece/')} is lost"
