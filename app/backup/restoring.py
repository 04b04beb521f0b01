"""The restore of a backup into an empty store of any kind."""

from dataclasses import dataclass
from pathlib import Path

from app.backup.manifest import Manifest
from app.backup.verification import verify
from app.backup.volume import grouped, members
from app.store.formats import STORE_FORMAT, expect_format
from app.store.snapshot import About, Target


@dataclass(slots=True)
class Restored:
    """The outcome of a restore. Expired sessions were left out, and claims whose tenants LMDB could not name."""

    manifest: Manifest
    sessions: int = 0
    expired: int = 0
    claims_left_out: int = 0


async def restore(folder: Path, target: Target) -> Restored:
    """Restore a backup, once all of it was verified; the backup stays as it is."""
    manifest = verify(folder)
    expect_format(f"the backup in {folder}", manifest.store_format, STORE_FORMAT)
    restored = Restored(manifest)
    try:
        await target.begin(manifest.id)
        for file in manifest.files:
            for group in grouped(members(folder, file)):
                first = next(group)
                if first.kind == "claims":
                    for member in (first, *group):
                        restored.claims_left_out += await target.put_claims(member)
                elif await target.put(About.decode(first.data), bytes(next(group).data), group):
                    restored.sessions += 1
                else:
                    restored.expired += 1
        await target.finish()
    finally:
        await target.close()
    return restored
