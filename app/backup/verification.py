"""The check of a backup: its files are as they were written, and its sessions as their checksums say."""

from collections.abc import Iterable
from pathlib import Path

from app.backup.manifest import File, Flaw, Manifest, NoBackup
from app.backup.volume import grouped, members
from app.backup.wholeness import Wholeness


def damage_in(folder: Path, files: Iterable[File]) -> tuple[Flaw, ...]:
    """Return the sessions of these files that are damaged. Raises `NoBackup` if a file is not as it was written."""
    flaws: list[Flaw] = []
    for file in files:
        for group in grouped(members(folder, file)):
            found = Wholeness()
            for member in group:
                found.take(member)
            if found.damage:
                flaws.append(Flaw(found.session_id, found.damage))
    return tuple(flaws)


def verify(folder: Path) -> Manifest:
    """Return the manifest of a backup after a look at every byte. Raises `NoBackup` for one that is not as written."""
    manifest = Manifest.read(folder)
    if damage_in(folder, manifest.files) != manifest.damaged:
        raise NoBackup(f"the backup in {folder} has other damaged sessions than its manifest says: restore another one")
    return manifest
