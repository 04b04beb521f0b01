"""The manifest of a backup: what its files are, and what could not be backed up whole. A backup without one is not
done."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import orjson

from app.private_files import opened, sync, sync_folder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 1
"""The format number of a backup. Raise it when earlier versions must not restore one."""
NAME = "manifest.json"

Row = TypeVar("Row", bound="DataclassInstance")


class NoBackup(ValueError):
    """A backup that is not as it was written, or that a newer version wrote."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a backup: its length, its SHA-256, and the number of sessions in it."""

    name: str
    bytes: int
    sha256: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Flaw:
    """A session that is damaged in the store and in the backup, or that is not in the backup, and why."""

    session_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of the file. Members that this version does not know are ignored."""

    id: str
    made_by: str
    began_at: str
    ended_at: str
    store: str
    store_format: int
    of_one_moment: bool
    files: tuple[File, ...]
    damaged: tuple[Flaw, ...] = ()
    missed: tuple[Flaw, ...] = ()
    format: int = FORMAT

    @property
    def sessions(self) -> int:
        return sum(file.sessions for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def write(self, folder: Path) -> None:
        """Write the file, as the last one: all others are on the disk before it has its name."""
        part = folder / f"{NAME}.part"
        with opened(part) as file:
            file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
            sync(file)
        part.rename(folder / NAME)
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the manifest of a backup. Raises `NoBackup`, and `FileNotFoundError` where there is none."""
        path = folder / NAME
        try:
            found = orjson.loads(path.read_bytes())
            if found["format"] > FORMAT:
                raise NoBackup(
                    f"the backup in {folder} has format {found['format']}, of a newer version of this service; this "
                    f"version reads up to format {FORMAT}: run the newer version"
                )
            tables: dict[str, type[Any]] = {"files": File, "damaged": Flaw, "missed": Flaw}
            rows = {name: tuple(_known(row, of) for row in found[name]) for name, of in tables.items()}
            return _known({**found, **rows}, cls)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"no whole backup in {folder}: {NAME} is missing, as after an interrupted backup"
            ) from None
        except NoBackup:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise NoBackup(f"{path} cannot be read ({error}): restore another backup") from error


def _known(found: dict[str, Any], kind: type[Row]) -> Row:
    """Return a row without members that this version does not know."""
    return kind(**{field.name: found[field.name] for field in fields(kind)})
