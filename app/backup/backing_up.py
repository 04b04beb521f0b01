"""The making of a backup from a store in use, session by session."""

import asyncio
import os
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app.backup.manifest import File, Flaw, Manifest
from app.backup.verification import damage_in
from app.backup.volume import VOLUME_BYTES, VolumeWriter
from app.private_files import new_folder
from app.store.snapshot import About, Source
from app.store.stamp import VersionConflict

TRIES = 50
"""The most tries to read a session that is stepped all the time."""
PAUSE_SECONDS = 0.02


async def back_up(source: Source, folder: Path) -> Manifest:
    """Back up all sessions of an open source into a new folder; return the manifest. If it fails, nothing is left."""
    with new_folder(folder):
        return await Making(source, folder).run()


class Making:
    """One backup under way."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._files: list[File] = []
        self._missed: list[Flaw] = []
        self._volume: VolumeWriter | None = None

    async def run(self) -> Manifest:
        """Write all volumes, read them again, and write the manifest."""
        began_at = _now()
        try:
            async for about in self._source.sessions():
                await self._back_up(about)
            async for member in self._source.claims():
                self._opened().put_claims(member)
            self._end_volume()
        finally:
            if self._volume is not None:
                self._volume.close()
        manifest = Manifest(
            id=os.urandom(16).hex(),
            made_by=f"optim-service {version('optim-service')}",
            began_at=began_at,
            ended_at=_now(),
            store=self._source.kind,
            store_format=self._source.format,
            of_one_moment=self._source.is_of_one_moment,
            files=tuple(self._files),
            damaged=damage_in(self._folder, self._files),
            missed=tuple(self._missed),
        )
        manifest.write(self._folder)
        return manifest

    async def _back_up(self, about: About) -> None:
        """Write one session as it is at one moment."""
        volume = self._opened()
        for tried in range(TRIES):
            try:
                with volume.session():
                    async for member in self._source.members(about):
                        volume.put(about.session_id, member)
                break
            except VersionConflict:
                await asyncio.sleep(tried * PAUSE_SECONDS)
        else:
            self._missed.append(Flaw(about.session_id, f"it changed during each of {TRIES} tries to read it"))
        if volume.size >= VOLUME_BYTES:
            self._end_volume()

    def _opened(self) -> VolumeWriter:
        """Return the volume that takes the next session."""
        if self._volume is None:
            self._volume = VolumeWriter(self._folder / f"sessions-{len(self._files) + 1:04}.tar")
        return self._volume

    def _end_volume(self) -> None:
        volume, self._volume = self._volume, None
        if volume is not None:
            with closing(volume):
                self._files.append(volume.finish())


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
